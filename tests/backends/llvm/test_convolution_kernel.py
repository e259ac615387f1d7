"""Convolutions with constant weights, in blocks of channels: the layout's way in and out, both kinds of epilogue."""

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.convolution_kernel import plan_convolution
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.target import host
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from graphc.passes.fuse import fuse

# channels, size, outputs, kernel, stride, padding, dilation, groups
CASES = [
    (16, (7, 9), 16, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (17, (11, 5), 19, (3, 2), (2, 1), ((1, 0), (0, 1)), (1, 1), 1),
    (3, (13, 12), 33, (5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 1),
    (64, (4, 4), 48, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (64, (7, 7), 32, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    (32, (9, 9), 32, (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 2),
]


def graph_of(case, dtype: str, residual: bool):
    channels, size, outputs, kernel, strides, padding, dilation, groups = case
    with Builder("convolution") as b:
        x = b.leaf("input", "x", parse_type(f"{dtype}[N,{channels},{size[0]},{size[1]}]"))
        w = b.leaf(
            "parameter", "w", parse_type(f"{dtype}[{outputs},{channels // groups},{kernel[0]},{kernel[1]}]")
        )
        c = b.leaf("parameter", "c", parse_type(f"{dtype}[{outputs}]"))
        y = ops.conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
        y = y + ops.reshape(c, shape=(outputs, 1, 1))
        if residual:
            y = y + b.leaf("input", "r", y.type)
        y = ops.relu(y)
    graph = b.finish([y], ["y"])
    rng = np.random.default_rng(0)
    return graph.with_(
        data={v.name: rng.normal(size=v.shape).astype(v.dtype.numpy) for v in graph.parameters}
    )


@pytest.mark.parametrize("residual", [False, True], ids=["bias", "residual"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_convolution(case, dtype: str, residual: bool) -> None:
    graph = graph_of(case, dtype, residual)
    partition = fuse(graph)
    assert len(partition.kernels) == 1
    assert plan_convolution(partition.kernels[0], host(), frozenset(graph.parameters), {}) is not None
    function = compile_plan(native_plan(partition)).load()
    wide = {name: array.astype(np.float64) for name, array in graph.data.items()}
    magnitude = {name: np.abs(array) for name, array in wide.items()}
    exact, bound = graph_of(case, "f64", residual), graph_of(case, "f64", residual)
    for n in (0, 1, 3):
        rng = np.random.default_rng(n)
        shapes = [[n if not isinstance(d, int) else d for d in v.shape] for v in graph.inputs]
        arrays = [rng.normal(size=shape).astype(graph.inputs[0].dtype.numpy) for shape in shapes]
        y = function(*arrays)
        (z,) = interpret(exact, [a.astype(np.float64) for a in arrays], wide)
        (most,) = interpret(bound, [np.abs(a).astype(np.float64) for a in arrays], magnitude)
        terms = case[0] // case[7] * case[3][0] * case[3][1] + 2
        assert (np.abs(y - z) <= terms * np.finfo(y.dtype).eps * most).all()
