"""Max pooling with positions and its gradient, whose windows overlap, hang over the edge, skip elements."""

from itertools import product

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.max_pooling import windows_of
from graphc.backends.llvm.target import host, level
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.partition import Kernel
from graphc.ir.types import parse_type
from tests.backends.llvm.running import compile_kernel, run_kernel, whole

# size, kernel, strides, padding, dilation, ceil
CASES = [
    ((30, 30), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False),
    ((13, 37), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False),
    ((6, 201), (3, 2), (1, 2), ((0, 0), (0, 0)), (1, 1), False),
    ((11, 67), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), False),
    ((7, 40), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), False),
    ((9, 50), (3, 4), (3, 4), ((0, 0), (2, 1)), (1, 1), True),
    ((9, 33), (2, 2), (3, 3), ((0, 0), (1, 0)), (1, 1), False),  # windows leave gaps
    ((12, 29), (3, 2), (2, 1), ((2, 1), (1, 1)), (2, 3), False),
    ((53,), (5,), (2,), ((2, 2),), (1,), False),
    ((3, 4, 21), (2, 2, 3), (1, 2, 2), ((0, 0), (1, 0), (1, 1)), (1, 1, 1), False),
]
MACHINES = [("f32", host()), ("f64", host()), ("f32", level("x86-64-v3")), ("f32", level("x86-64-v2"))]


def graph_of(case, dtype: str, part: str):
    size, kernel, strides, padding, dilation, ceil = case
    with Builder("pool") as b:
        x = b.leaf("input", "x", parse_type(f"{dtype}[N,3,{','.join(map(str, size))}]"))
        y, at = ops.max_pool(x, kernel=kernel, strides=strides, padding=padding, dilation=dilation, ceil=ceil)
        results = [y] if part == "maxima" else [y, at]
        if part == "backward":
            c = b.leaf("input", "c", y.type)
            dx = ops.max_pool_dx(c, at, size=size)
            results = [ops.where(ops.greater(x, x * 0.0), dx, dx * 0.5)]
    return b.finish(results, [f"y{i}" for i in range(len(results))])


def images(case, n: int, dtype) -> np.ndarray:
    """Few different numbers, so that there are ties, with infinities and NaN among them."""
    x = np.random.default_rng(n).integers(-3, 4, (n, 3, *case[0])).astype(dtype)
    x.flat[5::41], x.flat[11::97], x.flat[17::71] = -np.inf, np.nan, -0.0
    return x


@pytest.mark.parametrize("case", CASES)
def test_maxima_and_positions(case) -> None:
    """With positions and without, which other code computes for windows of two columns."""
    for part, (dtype, target) in product(("forward", "maxima"), MACHINES):
        graph = graph_of(case, dtype, part)
        kernel = whole(graph)
        code = compile_kernel(kernel, ("N",), target)
        for n in (0, 1, 3):
            x = images(case, n, graph.inputs[0].dtype.numpy)
            found = run_kernel(code, kernel, {graph.inputs[0]: x}, {"N": n}, target, at_start=n == 1)
            wanted = interpret(graph, [x])
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found, wanted, strict=True))


def graph_shape(graph, n: int) -> tuple[int, ...]:
    return (n, *graph.inputs[1].shape[1:])


@pytest.mark.parametrize("case", CASES)
def test_gradients_have_the_bits_of_a_scatter(case) -> None:
    for dtype, target in MACHINES:
        graph = graph_of(case, dtype, "backward")
        node = next(n for n in graph.nodes if n.op.name == "max_pool_dx")
        assert windows_of(node) is not None
        c, at = node.inputs
        nodes = graph.nodes[graph.nodes.index(node) :]
        read = {v for n in nodes for v in n.inputs if v.leaf is not None}
        inputs = (*(v for v in graph.leaves if v in read), at)
        kernel = Kernel("k0", "pooling", node, nodes, inputs, graph.outputs)
        code = compile_kernel(kernel, ("N",), target)
        (x, _) = graph.inputs
        for n in (0, 1, 3):
            given = images(case, n, x.dtype.numpy)
            gradient = np.random.default_rng(9).normal(size=graph_shape(graph, n)).astype(given.dtype)
            pool = windows_of(node)
            positions = pool.op.reference(given, **pool.attributes)[1]
            values = {x: given, c: gradient, at: positions}
            (found,) = run_kernel(code, kernel, values, {"N": n}, target, at_start=n == 1)
            (wanted,) = interpret(graph, [given, gradient])
            assert found.tobytes() == wanted.tobytes()


def test_positions_of_unknown_windows_are_scattered() -> None:
    with Builder("other") as b:
        x = b.leaf("input", "x", parse_type("f32[N,2,8,8]"))
        attributes = {"strides": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "ceil": False}
        y, at = ops.max_pool(x, kernel=(2, 2), **attributes)
        dx = ops.max_pool_dx(y, at, size=(16, 4))  # not the size of x
    graph = b.finish([dx], ["dx"])
    node = graph.nodes[-1]
    assert windows_of(node) is None
