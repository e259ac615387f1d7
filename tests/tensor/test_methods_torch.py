"""Tensor's methods equal those of PyTorch's tensors of the same name."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from graphc.tensor import tensor  # noqa: E402

pytestmark = pytest.mark.torch
CASES = {
    "view": lambda x: x.view(x.size(0), -1),
    "view of all": lambda x: x.view(-1, x.shape[2]),
    "reshape": lambda x: x.reshape(4, 6),
    "flatten": lambda x: x.flatten(1),
    "transpose": lambda x: x.transpose(0, 2),
    "permute": lambda x: x.permute(2, 0, 1),
    "mT": lambda x: x.mT,
    "squeeze": lambda x: x[:1].squeeze(0),
    "squeeze of another size": lambda x: x.squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(-1).unsqueeze(0),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1),
    "sum": lambda x: x.sum(dim=-1, keepdim=True),
    "sum over two": lambda x: x.sum(dim=(0, 2)),
    "mean": lambda x: x.mean(1),
    "max": lambda x: x.max(),
    "max over an axis": lambda x: x.max(dim=1).values,
    "where the max is": lambda x: x.max(dim=-1, keepdim=True).indices,
    "min over an axis": lambda x: x.min(dim=0)[0],
    "amax": lambda x: x.amax(dim=(0, 1)),
    "argmax": lambda x: x.argmax(dim=1),
    "argmax of all": lambda x: x.argmax(),
    "argmin": lambda x: x.argmin(dim=-1),
    "softmax": lambda x: x.softmax(dim=1),
    "log_softmax": lambda x: x.log_softmax(dim=-1),
    "clamp": lambda x: x.clamp(min=-0.5, max=0.7),
    "clamp below": lambda x: x.clamp(min=0),
    "elementwise": lambda x: x.exp() + x.abs().log() - x.tanh() * x.sigmoid() / x.relu().add(1).sqrt(),
    "powers": lambda x: x.pow(2) + x**3 - x.square(),
    "operators": lambda x: 1 - x / 2 + 3 * x - (-x) + abs(x),
    "comparisons": lambda x: ((x > 0) & (x <= 1)) | (x < -1) | ~(x != x),
    "matmul": lambda x: x.matmul(x.transpose(1, 2)) + x @ x.mT,
    "bmm": lambda x: x.bmm(x.permute(0, 2, 1)),
    "chunk": lambda x: x.chunk(2, dim=2)[1],
    "chunk unevenly": lambda x: x.chunk(3, dim=2)[1],
    "split": lambda x: x.split(3, dim=2)[1],
    "split by sizes": lambda x: x.split([1, 3], dim=2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "slices": lambda x: x[:, 1:, ::2] + x[0, 1:, ::2],
    "last": lambda x: x[..., -1] + x[:, :, -2],
    "none": lambda x: x[:, None, 0],
    "masked_fill": lambda x: x.masked_fill(x > 0, 9.0),
    "repeat": lambda x: x.repeat(2, 1, 3),
    "conversions": lambda x: x.float().double() + x.long() + x.int() + x.bool(),
    "clone": lambda x: x.clone() + x.detach(),
    "rounding": lambda x: x.floor() + x.ceil() - x.round() + x.trunc(),
    "whole quotients": lambda x: x // 0.3 + x % 0.7 + x.remainder(-0.4) + x.fmod(0.9),
    "angles": lambda x: x.atan() + x.tan() + (x / 9).asin() - (x / 9).acos() + x.atan2(x + 1),
    "hyperbolic": lambda x: x.sinh() + x.cosh() + x.asinh() + (x.abs() + 1).acosh() + (x / 9).atanh(),
    "powers of 2": lambda x: x.exp2() + x.abs().log2() + x.abs().log10() + x.expm1() + x.abs().log1p(),
    "prod": lambda x: x.prod(dim=1),
    "cumsum": lambda x: x.cumsum(dim=1) + x.cumprod(dim=2),
    "sort": lambda x: x.sort(dim=1)[0] + x.sort(dim=2, descending=True).values,
    "argsort": lambda x: x.argsort(dim=1) + x.argsort(2, descending=True),
    "topk": lambda x: x.topk(2, dim=2).values - x.topk(2, dim=2, largest=False)[0],
    "where the largest are": lambda x: x.topk(3, dim=1).indices,
    "scatter": lambda x: x.scatter(2, x[:, :, :2].argsort(2), x[:, :, 1:3]),
    "scatter_add": lambda x: x.scatter_add(1, x.argsort(1), x * 2),
    "triangles": lambda x: x.tril() + x.triu(1),
    "roll": lambda x: x.roll(1, 2) + x.roll(shifts=(1, -1), dims=(0, 1)) + x.roll(2),
    "contiguous": lambda x: x.transpose(0, 1).contiguous().view(-1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_method(case):
    x = np.random.default_rng(6).normal(size=(2, 3, 4))
    ours, theirs = CASES[case](tensor(x)).numpy(), CASES[case](torch.tensor(x)).numpy()
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if ours.dtype.kind == "f":
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=64 * np.finfo(ours.dtype).eps * scale)
    else:
        np.testing.assert_array_equal(ours, theirs)
