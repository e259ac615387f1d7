"""Convolution of plain images and both its gradients, at sizes of several tiles with remainders."""

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.plane_convolution import plan_correlation
from graphc.backends.llvm.target import host, level
from graphc.backends.llvm.weight_gradient import plan_weight_gradient
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from tests.backends.llvm.running import compile_kernel, run_kernel, whole

# channels, size, outputs, kernel, strides, padding, dilation, groups
CASES = [
    (1, (32, 32), 6, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (6, (15, 15), 16, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (3, (9, 56), 9, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (3, (11, 67), 17, (5, 4), (2, 2), ((2, 1), (1, 3)), (1, 1), 1),
    (2, (7, 100), 3, (2, 3), (1, 3), ((0, 0), (5, 0)), (2, 2), 1),
    (4, (6, 35), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    (5, (40,), 11, (7,), (2,), ((3, 3),), (1,), 1),
]


def graph_of(case, name: str, dtype: str, long: bool):
    channels, size, outputs, kernel, strides, padding, dilation, groups = case
    attributes = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    with Builder(name) as b:
        x = b.leaf("input", "x", parse_type(f"{dtype}[N,{channels},{','.join(map(str, size))}]"))
        shape = (outputs, channels // groups, *kernel)
        w = b.leaf("input", "w", x.type.with_shape(shape))
        c = b.leaf("input", "c", ops.conv.infer(x.type, w.type, **attributes))
        if name == "conv":
            y = ops.conv(x, w, **attributes)
        elif name == "conv_dx":
            y = ops.conv_dx(c, w, size=size, **attributes)
        else:
            y = ops.conv_dw(x, c, kernel=kernel, **attributes)
        results = [ops.sigmoid(y)] if long else [y, ops.relu(y * 0.5)]
    return b.finish(results, [f"y{i}" for i in range(len(results))])


def arrays(graph, n: int, dtype) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    shapes = [[n if not isinstance(d, int) else d for d in v.shape] for v in graph.inputs]
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("name", ["conv", "conv_dx", "conv_dw"])
@pytest.mark.parametrize("case", CASES)
def test_gradients(case, name: str, long: bool) -> None:
    machines = [("f32", host()), ("f64", host()), ("f32", level("x86-64-v3"))]
    for dtype, target in machines[:1] if long else machines:
        graph = graph_of(case, name, dtype, long)
        kernel = whole(graph)
        assert kernel.anchor is not None
        plan = plan_weight_gradient if name == "conv_dw" else plan_correlation
        assert plan(kernel.anchor, target) is not None
        code = compile_kernel(kernel, ("N",), target)
        exact = graph_of(case, name, "f64", long)
        magnitudes = graph_of(case, name, "f64", False)
        for n in (0, 1, 2, 19) if name == "conv_dw" else (0, 1, 2):
            given = arrays(graph, n, kernel.outputs[0].dtype.numpy)
            values = dict(zip(graph.inputs, given))
            found = run_kernel(code, kernel, values, {"N": n}, target, at_start=n == 1)
            wide = [a.astype(np.float64) for a in given]
            (most, _) = interpret(magnitudes, [np.abs(a) for a in wide])
            terms = {"conv": graph.inputs[1].type.size, "conv_dx": graph.inputs[1].type.size}.get(
                name, given[2].size
            )
            eps = np.finfo(given[0].dtype).eps
            for y, z in zip(found, interpret(exact, wide), strict=True):
                # The slope of relu and sigmoid is at most 1; sigmoid itself has an error of 4 units.
                assert (np.abs(y - z) <= terms * eps * most + 4 * eps).all()
