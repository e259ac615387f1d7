"""Long, wide and deep graphs go from the builder to native code with 200 frames of stack to spare."""

import sys

import numpy as np
import pytest

from graphc import ops
from graphc.autodiff import differentiate
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from graphc.pipeline import lower
from tests.fuzz.comparing import bound, compare_outputs
from tests.fuzz.native import Native


@pytest.fixture
def shallow():
    """A recursion limit of 200 above the test."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 200)
    yield
    sys.setrecursionlimit(before)


def chain(length):
    with Builder("chain") as b:
        x = b.leaf("input", "x", parse_type("f64[N,8]"))
        y = x
        for i in range(length):
            y = (ops.relu(y), y - 0.25, ops.maximum(y + x, -1.0))[i % 3]
    return b.finish([y], ["y"])


def wide(count):
    with Builder("wide") as b:
        parts = [b.leaf("input", f"x{i}", parse_type("f64[N,3]")) for i in range(count)]
        y = ops.concat(*parts, axis=1)
    return b.finish([y], ["y"])


def unrolled(steps):
    with Builder("unrolled") as b:
        x = b.leaf("input", "x", parse_type("f64[N,4]"))
        w = b.leaf("parameter", "w", parse_type("f64[4,4]"))
        h = x
        for _ in range(steps):
            h = ops.tanh(ops.matmul(h, w) + x)
        loss = ops.sum(h * h, axes=(0, 1))
    return differentiate(b.finish([loss], ["loss"], data={"w": np.eye(4) * 0.25}), ["w"])


@pytest.mark.parametrize(("make", "size"), [(chain, 10_000), (wide, 300), (unrolled, 100)])
def test_large(make, size, shallow):
    graph = make(size)
    lowered = lower(graph, training=True)
    native = Native(lowered.partition)
    rng = np.random.default_rng(0)
    for n in (0, 3):
        arrays = {v.name: rng.integers(-4, 5, (n, v.shape[1])) / 8 for v in graph.inputs}
        outputs = native.run(arrays)
        if graph.name == "unrolled":
            compare_outputs(outputs, bound(graph, arrays, 0), f"N = {n}")
        else:
            np.testing.assert_array_equal(outputs[0], interpret(graph, arrays)[0])
