"""Derivatives of convolution on blocks of channels, and convolutions whose weights are packed at run time."""

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.convolution_kernel import plan_convolution
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.target import Target, host, level
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from graphc.passes.fuse import fuse

# channels, size, outputs, kernel, strides, padding, dilation, groups
CASES = {
    "3x3": (16, (7, 9), 32, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "odd": (17, (11, 5), 19, (3, 2), (1, 1), ((1, 0), (0, 1)), (1, 1), 1),
    "stride": (16, (9, 8), 48, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    "stride beyond the window": (31, (8, 7), 16, (1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    "wide window": (16, (12, 13), 20, (5, 7), (3, 2), ((2, 2), (3, 3)), (1, 1), 1),
    "no padding": (18, (9, 9), 33, (3, 3), (2, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "more padding than window": (16, (5, 5), 16, (2, 2), (1, 2), ((3, 3), (2, 2)), (1, 1), 1),
    "dilation": (16, (9, 9), 16, (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 1),
    "groups": (32, (7, 7), 64, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
    "one pixel": (64, (1, 1), 48, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
}


def graph_of(case, op: str, dtype: str, weights: str = "input"):
    """`relu(op + r)`; `weights` are an input, or a parameter whose array is known."""
    channels, size, outputs, kernel, strides, padding, dilation, groups = case
    attributes = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    with Builder("derivative") as b:
        x = b.leaf("input", "x", parse_type(f"{dtype}[N,{channels},{size[0]},{size[1]}]"))
        shape = f"{outputs},{channels // groups},{kernel[0]},{kernel[1]}"
        w = b.leaf(weights, "w", parse_type(f"{dtype}[{shape}]"))
        if op == "conv":
            y = ops.conv(x, w, **attributes)
        else:
            infer = ops.conv.infer(x.type, w.type, **attributes)
            c = b.leaf("input", "c", infer)
            if op == "conv_dx":
                y = ops.conv_dx(c, w, size=size, **attributes)
            else:
                y = ops.conv_dw(x, c, kernel=kernel, **attributes)
        y = ops.relu(y + b.leaf("input", "r", y.type))
    return b.finish([y], ["y"])


RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.cpu)
@pytest.mark.parametrize("op", ["conv", "conv_dx", "conv_dw"])
@pytest.mark.parametrize("name", CASES)
def test_derivative(name: str, op: str, target: Target) -> None:
    case = CASES[name]
    graph = graph_of(case, op, "f32")
    partition = fuse(graph)
    (kernel,) = partition.kernels
    anchor = kernel.anchor
    assert anchor is not None
    if op != "conv_dw":
        assert plan_convolution(kernel, target, frozenset(), {}) is not None
    function = compile_plan(native_plan(partition, target=target), target=target).load()
    for n in (0, 1, 3):
        rng = np.random.default_rng(n)
        shapes = [[n if not isinstance(d, int) else d for d in v.shape] for v in graph.inputs]
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        values = {v: a.astype(np.float64) for v, a in zip(graph.inputs, arrays)}
        first, second = (values[v] for v in anchor.inputs)
        exact = anchor.op.reference(first, second, **anchor.attributes)
        most = anchor.op.reference(np.abs(first), np.abs(second), **anchor.attributes)
        added = values[graph.inputs[-1]]
        function(*(np.full_like(a, np.nan) for a in arrays))
        y = function(*arrays)
        terms = first.size // max(first.shape[1], 1) if op == "conv_dw" else case[2] * case[3][0] * case[3][1]
        terms = max(terms, case[0] * case[3][0] * case[3][1]) + 2
        bound = terms * np.finfo(np.float32).eps * (most + np.abs(added))
        assert (np.abs(y - np.maximum(exact + added, 0)) <= bound).all()


@pytest.mark.parametrize("name", CASES)
def test_transposed_convolution_with_constant_weights(name: str) -> None:
    case = CASES[name]
    graph = graph_of(case, "conv_dx", "f32", "parameter")
    rng = np.random.default_rng(1)
    w = rng.normal(size=graph.parameters[0].shape).astype(np.float32)
    graph = graph.with_(data={"w": w})
    anchor = graph.nodes[0]
    function = compile_plan(native_plan(fuse(graph))).load()
    shapes = [[2 if not isinstance(d, int) else d for d in v.shape] for v in graph.inputs]
    arrays = {v: rng.normal(size=s).astype(np.float32) for v, s in zip(graph.inputs, shapes)}
    c, r = arrays[anchor.inputs[0]].astype(np.float64), arrays[graph.inputs[-1]].astype(np.float64)
    exact = anchor.op.reference(c, w.astype(np.float64), **anchor.attributes)
    most = anchor.op.reference(np.abs(c), np.abs(w).astype(np.float64), **anchor.attributes)
    y = function(*arrays.values())
    terms = case[2] * case[3][0] * case[3][1] + 2
    assert (
        np.abs(y - np.maximum(exact + r, 0)) <= terms * np.finfo(np.float32).eps * (most + np.abs(r))
    ).all()
