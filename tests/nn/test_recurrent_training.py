"""A training step of recurrent layers: the native one and the generated NumPy go the same way."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim


class Reader(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = getattr(nn, kind)(3, 5, batch_first=True, num_layers=2)

    def forward(self, x):
        return self.cell(x)[0]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_both_backends_take_the_same_way(kind):
    """Weights change between calls, so the loop packs them itself; they are written where the loop read them."""
    own, found = np.random.default_rng(0), []
    x, y = (own.normal(size=(8, 6, size)).astype(np.float32) for size in (3, 5))
    for backend in ("llvm", "numpy"):
        graphc.manual_seed(3)
        net = Reader(kind)
        step = graphc.compile_step(net, F.mse_loss, optim.SGD(net.parameters(), lr=0.5), backend=backend)
        losses = [float(step(x, y)) for _ in range(8)]
        assert losses[-1] < losses[0]
        found.append(losses)
    # A loss is a mean of 240 squares; a step turns the error of a gradient, 60 roundings, into one of the next loss.
    np.testing.assert_allclose(*found, rtol=8 * 60 * 2.0**-24)
