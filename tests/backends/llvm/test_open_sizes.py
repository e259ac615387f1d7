"""Models whose sizes are left open, compiled once and run at several: composites, sorting, borders, joining along N."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc.interpret import interpret

EPS = np.finfo(np.float32).eps


def sorting(x):
    values, places = x.topk(2, dim=1)
    return np.sort(x, axis=0) * 2, values, places, x.sort(0, descending=True).indices


def running(x):
    return np.cumsum(x, axis=0), np.cumprod(x, axis=1), np.prod(x, axis=1)


def borders(x):
    wide = np.pad(x, ((2, 1), (0, 0)), mode="edge")
    return (
        wide,
        np.pad(x, ((1, 2), (1, 1)), mode="reflect"),
        np.roll(x, 1, 0),
        np.pad(x, ((2, 0), (0, 1)), mode="wrap"),
    )


def joining(x):
    both = np.concatenate([x, x * 2, x[1:]], axis=0)
    return both[3:], both


def positions(x):
    order = x.argsort(0)
    return x.scatter(0, order, x * 2), x.scatter_add(0, order, x)


def sizes(x):
    return F.interpolate(np.expand_dims(x, (1,)), size=9, mode="linear"), np.tril(x), x // 0.3, x % 0.7


@pytest.mark.parametrize("function", [sorting, running, borders, joining, positions, sizes])
@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_any_number_of_rows(function, backend):
    graph = graphc.trace(function, x="float32[N,5]", dims={"N": (3, 1000)})
    compiled = graphc.compile(graph, backend=backend)
    for n in (3, 4, 17):
        x = np.random.default_rng(n).normal(size=(n, 5)).astype(np.float32)
        found, wanted = compiled(x), interpret(graph, [x])
        for y, z in zip(found, wanted, strict=True):
            assert y.dtype == z.dtype and y.shape == z.shape
            np.testing.assert_allclose(y, z, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.concatenate([x, x * 2, x[1:]], axis=0),
        lambda x: np.pad(np.roll(x, 1, 0), ((1, 2), (1, 1)), mode="reflect"),
        lambda x: np.cumsum(x, 0) + np.cumprod(x, 0) + np.prod(x, 0),
        lambda x: np.sort(x, axis=0)[1:],
        lambda x: np.concatenate([x[:, None, None], x[:, None, None] * 3], axis=2),
    ],
    ids=["concat", "borders", "running", "sort", "images"],
)
def test_gradients_along_the_open_axis(function):
    joint = graphc.differentiate(
        graphc.trace(lambda x: (function(x) ** 2).sum(), x="float64[N,3]", dims={"N": (3, 99)}), wrt=["x"]
    )
    compiled = graphc.compile(joint)
    for n in (3, 6):
        x = np.random.default_rng(n).normal(size=(n, 3))
        direction = np.random.default_rng(n + 1).normal(size=(n, 3))
        loss, gradient = compiled(x)
        ends = [interpret(joint, [x + h * direction])[0] for h in (1e-6, -1e-6)]
        slope = (ends[0] - ends[1]) / 2e-6
        assert abs(float((gradient * direction).sum()) - float(slope)) <= 1e-6 * max(abs(float(loss)), 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_many_operands_are_copied(axis):
    """600 operands, one of them a repeated number: code and time grow by a call for each."""

    def many(x, h):
        parts = [h if i % 3 else np.zeros_like(x) if i == 0 else x for i in range(600)]
        return np.concatenate(parts, axis) * 2, np.stack(parts, axis)

    graph = graphc.trace(many, inputs={"x": "float32[N,3,2]", "h": "float32[N,3,2]"})
    compiled = graphc.compile(graph)
    joins = [k for k in compiled.plan.order if k.kind == "join"]
    assert len(joins) == 2 and compiled.llvm_ir.count("call void @graphc.copy_rows") >= 1200 // 2
    x, h = np.random.default_rng(5).normal(size=(2, 4, 3, 2)).astype(np.float32)
    for y, z in zip(compiled(x, h), interpret(graph, [x, h]), strict=True):
        np.testing.assert_array_equal(y, z)
