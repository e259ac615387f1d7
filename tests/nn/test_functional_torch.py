"""Padding modes and resizing equal PyTorch's, in value and gradient."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
X = np.random.default_rng(12).normal(size=(2, 3, 5, 4))
CASES = {
    "reflect": lambda F, x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "replicate": lambda F, x: F.pad(x, (1, 2, 2, 1), mode="replicate"),
    "circular": lambda F, x: F.pad(x, (1, 2, 2, 1), mode="circular"),
    "nearest": lambda F, x: F.interpolate(x, size=(7, 3)),
    "twice": lambda F, x: F.interpolate(x, scale_factor=2),
    "one and a half": lambda F, x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"),
    "bilinear": lambda F, x: F.interpolate(x, size=7, mode="bilinear"),
    "bilinear by 1.7": lambda F, x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear"),
    "bilinear with corners": lambda F, x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True),
    "bicubic": lambda F, x: F.interpolate(x, size=(9, 2), mode="bicubic"),
    "linear": lambda F, x: F.interpolate(x[0], size=9, mode="linear"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient(case):
    theirs = torch.tensor(X, requires_grad=True)
    wanted = CASES[case](torch.nn.functional, theirs)
    wanted.square().sum().backward()
    ours = graphc.tensor(X, requires_grad=True)
    found = CASES[case](F, ours)
    np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), rtol=1e-12, atol=1e-13)
    found.square().sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-12)
