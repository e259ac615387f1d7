"""Row kernels: several sweeps, every place a reduced axis can stand, every number of rows."""

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.target import level
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from graphc.ops.reduction import spread
from tests.backends.llvm.running import compile_kernel, run_kernel, whole

EPS = np.finfo(np.float64).eps


def softmax(x, axes):
    e = ops.exp(x - spread(ops.max(x, axes=axes), x, axes))
    return [e / spread(ops.sum(e, axes=axes), x, axes)]


def log_softmax(x, axes):
    """A row output and one for every element, from the same sweeps."""
    z = x - spread(ops.max(x, axes=axes), x, axes)
    total = ops.log(ops.sum(ops.exp(z), axes=axes))
    return [z - spread(total, x, axes), total]


def normalized(x, axes):
    n = 1
    for axis in axes:
        n = n * x.shape[axis]
    count = float(n) if isinstance(n, int) else ops.dim_size(dim=n, dtype=x.dtype)
    mean = ops.sum(x, axes=axes) / count
    centred = x - spread(mean, x, axes)
    variance = ops.sum(centred * centred, axes=axes) / count
    return [centred * spread(1.0 / ops.sqrt(variance + 1e-5), x, axes), mean, variance]


def extremes(x, axes):
    """Several reductions in one sweep."""
    return [ops.sum(x, axes=axes), ops.max(ops.abs(x), axes=axes), ops.min(x * 2.0, axes=axes)]


CASES = [
    ("N,10", (1,)), ("N,37", (1,)), ("N,331", (1,)), ("N,10", (0,)), ("N,3,5,7", (0, 2, 3)), ("N,3,5,7", (1,)),
    ("N,3,8,8", (0, 1, 2, 3)), ("5,N", (1,)), ("N,4,33", (0, 1)), ("33,N", (0,)), ("N,16,1,4", (1, 3)), ("N", (0,)),
]  # fmt: skip


def kernel_of(function, dtype, shape, axes):
    with Builder("rows") as b:
        x = b.leaf("input", "x", parse_type(f"{dtype}[{shape}]"))
        outputs = function(x, axes)
    graph = b.finish(outputs, [f"y{i}" for i in range(len(outputs))])
    return graph, whole(graph, "row")


def sample(shape, n, dtype):
    return (
        np.random.default_rng(n)
        .normal(size=[n if s == "N" else int(s) for s in shape.split(",")])
        .astype(dtype)
    )


@pytest.mark.parametrize("function", [softmax, log_softmax, normalized, extremes], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_sweeps(function, shape, axes) -> None:
    graph, kernel = kernel_of(function, "f64", shape, axes)
    code = compile_kernel(kernel, ("N",))
    for n in (1, 3, 64):
        x = sample(shape, n, np.float64)
        for y, z in zip(
            run_kernel(code, kernel, {graph.inputs[0]: x}, {"N": n}), interpret(graph, [x]), strict=True
        ):
            # A row of n values of order 1 sums up with an error of at most n * n eps / 2,
            # and no result is further from its sums than a handful of operations.
            length = x.size / max(y.size, 1) if y.ndim < x.ndim else np.prod([x.shape[a] for a in axes])
            assert np.abs(y - z).max() <= 8 * length * EPS * max(1.0, np.abs(z).max())


@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_the_order_of_additions_is_the_same_on_every_machine(shape, axes) -> None:
    graph, kernel = kernel_of(normalized, "f32", shape, axes)
    x = sample(shape, 3, np.float32)
    found = []
    for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        code = compile_kernel(kernel, ("N",), level(name)) if runs(name) else None
        if code:
            found.append([y.tobytes() for y in run_kernel(code, kernel, {graph.inputs[0]: x}, {"N": 3})])
    assert len(found) >= 1 and all(bits == found[0] for bits in found)


def runs(name: str) -> bool:
    """Whether code for this level runs here."""
    from graphc.backends.llvm.target import host

    here = host()
    return here.triple == level(name).triple and here.vector_bits >= level(name).vector_bits


def test_a_row_does_not_depend_on_the_others() -> None:
    graph, kernel = kernel_of(softmax, "f32", "N,37", (1,))
    code = compile_kernel(kernel, ("N",))
    x = sample("N,37", 64, np.float32)
    (every,) = run_kernel(code, kernel, {graph.inputs[0]: x}, {"N": 64})
    for row in (0, 31, 63):
        (alone,) = run_kernel(code, kernel, {graph.inputs[0]: x[row : row + 1]}, {"N": 1})
        assert alone[0].tobytes() == every[row].tobytes()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 40, 100])
def test_the_first_of_equal_elements_and_the_first_nan_win(axis: int, size: int) -> None:
    rng = np.random.default_rng(size)
    x = rng.integers(-2, 3, (7, size)).astype(np.float32)
    x[1] = -np.inf
    x[2, size // 2 :] = np.nan
    x[3, -1] = np.nan
    x = x if axis == 1 else np.ascontiguousarray(x.T)
    with Builder("positions") as b:
        v = b.leaf("input", "x", parse_type(f"f32[{x.shape[0]},{x.shape[1]}]"))
        outputs = [
            ops.argmax(v, axis=axis),
            ops.argmin(v, axis=axis),
            ops.max(v, axes=(axis,)),
            ops.min(v, axes=(axis,)),
        ]
    graph = b.finish(outputs, ["i", "j", "y", "z"])
    kernel = whole(graph, "row")
    found = run_kernel(compile_kernel(kernel), kernel, {v: x})
    for y, z in zip(found, interpret(graph, [x]), strict=True):
        np.testing.assert_array_equal(y, z)


def test_long_sums_keep_their_digits() -> None:
    """A million ones and a hundredth each, along either axis: partial sums keep the error far below a naive loop's."""
    for shape, axes in (((1, 1_000_000), (1,)), ((1_000_000, 1), (0,)), ((100_000, 16), (0,))):
        with Builder("long") as b:
            v = b.leaf("input", "x", parse_type(f"f32[{shape[0]},{shape[1]}]"))
            y = ops.sum(v, axes=axes)
        graph = b.finish([y], ["y"])
        kernel = whole(graph, "row")
        x = np.full(shape, 0.01, np.float32)
        (total,) = run_kernel(compile_kernel(kernel), kernel, {v: x})
        exact = x.astype(np.float64).sum(axis=axes)
        assert (np.abs(total - exact) / exact).max() < shape[axes[0]] / 16 * np.finfo(np.float32).eps
