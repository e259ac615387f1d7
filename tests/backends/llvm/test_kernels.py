"""Every op of the registry as native code, its buffers between guard pages, against the interpreter.

What is correctly rounded or only moves elements agrees bit for bit; functions within the bounds of `vector_math`;
sums and products within k eps sum|a||b| of their value in float64.
"""

import numpy as np
import pytest

from graphc.backends.llvm.jit import emit_object
from graphc.backends.llvm.lowering import lower
from graphc.backends.llvm.target import level
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.op import REGISTRY, Kind, Op
from graphc.ir.types import TensorType, dtype_of
from tests.backends.llvm.running import compile_kernel, run_kernel, whole

ULPS = {"exp": 2, "log": 2, "tanh": 4, "sigmoid": 4, "erf": 4, "sin": 2, "cos": 2, "pow": 2}
ULPS |= {"atan": 2, "atan2": 2, "exp2": 2, "log2": 2}
ULPS |= dict.fromkeys(("tan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh"), 5)
PRIMITIVES = [  # loops have their own tests in test_scan_kernel.py
    op for op in REGISTRY.values() if op.kind not in (Kind.COMPOSITE, Kind.CONTROL)
]
ELEMENTWISE = [op for op in PRIMITIVES if op.kind is Kind.ELEMENTWISE]
SUMS = (Kind.CONTRACTION, Kind.CONVOLUTION)


def first(op: Op) -> tuple[np.ndarray, ...]:
    """The arrays of an op's first sample."""
    arrays, _ = next(iter(op.samples()))
    return tuple(np.asarray(a) for a in arrays)


def graph_of(op: Op, arrays, attributes):
    with Builder(op.name) as builder:
        inputs = [
            builder.leaf("input", f"x{i}", TensorType(dtype_of(a.dtype), a.shape))
            for i, a in enumerate(arrays)
        ]
        outputs = builder.emit(op, inputs, {**op.defaults, **attributes})
    return builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


def variants(op: Op):
    """The op's samples, those with float64 operands in float32 as well, and in whole numbers where they are legal."""
    for arrays, attributes in op.samples():
        arrays = [np.asarray(a) for a in arrays]
        yield arrays, attributes
        if any(a.dtype == np.float64 for a in arrays):
            yield [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays], attributes


def run(op: Op, arrays, attributes, target=None, at_start=False):
    graph = graph_of(op, arrays, attributes)
    kernel = whole(graph)
    code, values = compile_kernel(kernel, (), target), dict(zip(graph.inputs, arrays))
    found = run_kernel(code, kernel, values, target=target, at_start=at_start)
    return found, [np.asarray(y) for y in interpret(graph, arrays)]


def check(op: Op, arrays, attributes, found, wanted) -> None:
    for y, z in zip(found, wanted, strict=True):
        assert y.dtype == z.dtype and y.shape == z.shape
        if op.name in ULPS:
            exact = np.asarray(op.reference(*(a.astype(np.float64) for a in arrays), **attributes))
            # The reference itself is off by up to one unit where there is no wider type to check against.
            allowed = ULPS[op.name] + (y.dtype == np.float64)
            assert (np.abs(y - exact) <= allowed * np.spacing(np.abs(exact).astype(y.dtype))).all()
        elif (op.kind in SUMS or op.name in ("sum", "prod")) and z.dtype.kind == "f":
            wide = [a.astype(np.float64) for a in arrays]
            exact = op.reference(*wide, **attributes)
            magnitude = op.reference(*(np.abs(a) for a in wide), **attributes)
            terms = max(a.size for a in arrays)
            assert (np.abs(y - exact) <= terms * np.finfo(y.dtype).eps * magnitude).all()
        elif y.dtype.kind == "f":
            same = (y == z) | (np.isnan(y) & np.isnan(z))  # +0 and -0 may stand for each other in min and max
            assert same.all()
        else:
            np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize("op", PRIMITIVES, ids=lambda op: op.name)
def test_op(op: Op) -> None:
    for number, (arrays, attributes) in enumerate(variants(op)):
        found, wanted = run(op, arrays, attributes, at_start=number % 2 == 1)
        check(op, arrays, attributes, found, wanted)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("op", PRIMITIVES, ids=lambda op: op.name)
def test_narrower_machines_give_the_same_bits(op: Op, name: str) -> None:
    for arrays, attributes in list(variants(op))[-3:]:
        here, wanted = run(op, arrays, attributes)
        there, _ = run(op, arrays, attributes, level(name), at_start=True)
        check(op, arrays, attributes, there, wanted)
        if op.name not in ("sin", "cos"):
            assert [y.tobytes() for y in here] == [y.tobytes() for y in there]


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    -1e-310,
    1e-40,
    1.5,
    2.5,
    -2.5,
    3e9,
    -3e9,
    1e300,
    np.inf,
    -np.inf,
    np.nan,
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "op", [op for op in ELEMENTWISE if any(a.dtype.kind == "f" for a in first(op))], ids=lambda op: op.name
)
def test_special_values(op: Op, dtype: str) -> None:
    """Elementwise ops on every pair of special values: NaN, infinities, zeros and denormals come out as in NumPy."""
    arrays, attributes = next(iter(op.samples()))
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL, dtype)
    grids = np.meshgrid(*[special] * (2 if len(arrays) > 1 else 1))
    floats = [g.ravel() for g in (grids * 2)[: len(arrays)]]
    if op.name == "where":
        floats[0] = floats[0] > 0
    if op.name == "cast":
        cases = [
            {"dtype": d}
            for d in map(dtype_of, ("float32", "float64", "int8", "int32", "int64", "uint8", "bool"))
        ]
    else:
        cases = [attributes]
    for attributes in cases:
        with np.errstate(all="ignore"):
            (y,), (z,) = run(op, floats, attributes)
        if op.name in ULPS:
            finite = np.isfinite(z)
            np.testing.assert_array_equal(np.isnan(y), np.isnan(z))
            np.testing.assert_array_equal(y[~finite & ~np.isnan(z)], z[~finite & ~np.isnan(z)])
            unit = np.spacing(np.abs(z[finite]))
            assert (np.abs(y[finite] - z[finite]) <= (ULPS[op.name] + 1) * unit).all()
        else:
            np.testing.assert_array_equal(y, z)
            if y.dtype.kind == "f" and op.name not in ("maximum", "minimum", "relu"):
                number = ~np.isnan(z)
                np.testing.assert_array_equal(np.signbit(y[number]), np.signbit(z[number]))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
def test_whole_numbers(dtype: str) -> None:
    """Arithmetic wraps around, comparisons and extrema know the sign."""
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, 37, dtype, endpoint=True)
    y = rng.integers(info.min, info.max, 37, dtype, endpoint=True)
    x[:4], y[:4] = info.min, [info.max, info.min, 0, 1]
    for name in (
        "add",
        "sub",
        "mul",
        "neg",
        "abs",
        "sign",
        "maximum",
        "minimum",
        "less",
        "greater_equal",
        "equal",
        "relu",
    ):
        op = REGISTRY[name]
        operands = [x, y][: 1 if name in ("neg", "abs", "sign", "relu") else 2]
        with np.errstate(over="ignore"):
            (found,), (wanted,) = run(op, operands, {})
        np.testing.assert_array_equal(found, wanted, name)
    for name in ("sum", "prod", "max", "min"):
        (found,), (wanted,) = run(REGISTRY[name], [x], {"axes": (0,)})
        np.testing.assert_array_equal(found, wanted, name)
    for other in ("float32", "float64", "int8", "int64", "uint8", "uint32", "bool"):
        (found,), (wanted,) = run(REGISTRY["cast"], [x], {"dtype": dtype_of(other)})
        np.testing.assert_array_equal(found, wanted, other)


@pytest.mark.parametrize("name", ["gather", "scatter_add", "gather_elements", "scatter_elements"])
@pytest.mark.parametrize("wrong", [5, -6, 2**62, -(2**63)])
def test_an_index_out_of_range_is_a_status(name: str, wrong: int) -> None:
    op = REGISTRY[name]
    indices = np.array([0, 4, -5, wrong])
    x = np.arange(4.0 if name.startswith("scatter") else 5.0)
    attributes = {"axis": 0} | ({"size": 5} if name.startswith("scatter") else {})
    graph = graph_of(op, [x, indices], attributes)
    kernel = whole(graph)
    with pytest.raises(RuntimeError, match="status 1"):
        run_kernel(compile_kernel(kernel), kernel, dict(zip(graph.inputs, (x, indices))))
    fine = indices[:3] if name.startswith("gather") else np.array([0, 4, -5, 3])
    found, wanted = run(op, [x, fine], attributes)
    np.testing.assert_array_equal(found[0], wanted[0])


def test_every_op_compiles_for_another_architecture() -> None:
    """What cannot run here can still be compiled: no instruction of one machine stands in a kernel."""
    target = level("aarch64")
    for op in PRIMITIVES:
        arrays, attributes = list(variants(op))[-1]
        module = target.module()
        function = lower(module, target, "kernel", whole(graph_of(op, arrays, attributes)), ())
        function.f.internal = False
        assert emit_object(str(module), target)
