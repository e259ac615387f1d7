"""Padding and adaptive pooling: sizes left open, what does not fit, both backends."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.errors import ShapeError, UnsupportedError
from graphc.interpret import interpret

NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
X = np.random.default_rng(0).normal(size=(2, 3, 6, 5))


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("pads", [(2, 1), (0, 3, 4, 0), (1, 1, 2, 2)])
def test_padding_equals_numpys(mode, pads):
    widths = [(0, 0)] * (4 - len(pads) // 2) + list(zip(pads[::2], pads[1::2]))[::-1]
    expected = np.pad(X, widths, mode=NUMPY[mode])
    np.testing.assert_array_equal(F.pad(graphc.tensor(X), pads, mode=mode).numpy(), expected)
    graph = graphc.trace(lambda x: F.pad(x, pads, mode=mode), x="float64[N,3,H,W]")
    np.testing.assert_array_equal(interpret(graph, [X])[0], expected)
    one = graphc.trace(lambda x: F.pad(x, pads, mode=mode), x="float64[2,3,H,5]")
    for backend in ("numpy", "llvm"):
        np.testing.assert_array_equal(graphc.compile(one, backend=backend)(X), expected)


@pytest.mark.parametrize("mode, least", [("reflect", 6), ("circular", 5), ("replicate", 1)])
def test_an_axis_that_is_too_short(mode, least):
    F.pad(graphc.tensor(np.zeros((1, least))), (5, 0), mode=mode)
    with pytest.raises(ShapeError, match=f"at least {least} elements"):
        F.pad(graphc.tensor(np.zeros((1, least - 1))), (5, 0), mode=mode)
    graph = graphc.trace(lambda x: F.pad(x, (5, 0), mode=mode), x="float64[L]")
    assert graph.dims["L"][0] == least  # compiled code refuses what is shorter
    with pytest.raises(ShapeError):
        graphc.compile(graph)(np.zeros(least - 1))


def test_modes_that_do_not_exist():
    with pytest.raises(UnsupportedError, match="mirror"):
        F.pad(graphc.tensor([1.0]), (1, 1), mode="mirror")
    with pytest.raises(UnsupportedError, match="padding_mode='edge'"):
        nn.Conv2d(1, 1, 3, padding_mode="edge")
    with pytest.raises(UnsupportedError, match="padding_mode='reflect'"):
        nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(ShapeError, match="3 axes"):
        F.pad(graphc.tensor([[1.0]]), (1,) * 6)


@pytest.mark.parametrize("size", [1, 2, (3, 2), (4, 5)])
def test_adaptive_maxima_on_both_backends(size):
    net = nn.AdaptiveMaxPool2d(size)
    graph = graphc.trace(net, x="float64[N,3,6,5]")
    expected = interpret(graph, [X])[0]
    for backend in ("numpy", "llvm"):
        np.testing.assert_array_equal(graphc.compile(graph, backend=backend)(X), expected)


def test_adaptive_pooling_of_an_open_size():
    graph = graphc.trace(nn.AdaptiveMaxPool2d(1), x="float64[N,3,H,W]")
    np.testing.assert_array_equal(interpret(graph, [X])[0], X.max(axis=(2, 3), keepdims=True))
    with pytest.raises(UnsupportedError, match="left open"):
        graphc.trace(nn.AdaptiveMaxPool1d(2), x="float64[N,3,L]")
    with pytest.raises(ShapeError, match="to a size of 0"):
        nn.AdaptiveAvgPool1d(0)(graphc.tensor(np.zeros((1, 1, 4))))
