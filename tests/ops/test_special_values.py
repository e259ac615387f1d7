"""Corner values by the written policy, and accuracy against mpmath where a formula could lose it."""

import math

import mpmath
import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.types import TensorType, dtype_of
from tests.ops.sampling import build, corner_values, special_cases

NAN, INF = math.nan, math.inf
TINY = 5e-324  # the smallest denormal


def run(name, *operands, **attributes):
    arrays = [a if isinstance(a, np.ndarray) else np.asarray(a, np.float64) for a in operands]
    types = [TensorType(dtype_of(a), a.shape) for a in arrays]
    return interpret(build(REGISTRY[name], types, attributes), arrays)[0]


# op: (operands, result).  -0.0 and 0.0 are told apart, except where a tie of both may give either.
EXACT = {
    "add": [((INF, -INF), NAN), ((TINY,) * 2, 2 * TINY), ((-0.0, 0.0), 0.0), ((-0.0, -0.0), -0.0), ((1e308,) * 2, INF)],
    "sub": [((INF, INF), NAN), ((TINY, -TINY), 2 * TINY), ((0.0, 0.0), 0.0)],
    "mul": [((INF, 0.0), NAN), ((TINY, 1.0), TINY), ((-0.0, 2.0), -0.0), ((1e200, 1e200), INF)],
    "div": [((1.0, 0.0), INF), ((1.0, -0.0), -INF), ((0.0, 0.0), NAN), ((INF, INF), NAN), ((TINY, 1.0), TINY)],
    "pow": [((NAN, 0.0), 1.0), ((1.0, NAN), 1.0), ((0.0, -1.0), INF), ((-8.0, 1 / 3), NAN), ((-2.0, 3.0), -8.0)],
    "maximum": [((NAN, 1.0), NAN), ((1.0, NAN), NAN), ((-INF, 1.0), 1.0)],
    "minimum": [((NAN, 1.0), NAN), ((1.0, NAN), NAN), ((INF, 1.0), 1.0)],
    "neg": [((0.0,), -0.0), ((NAN,), NAN), ((-INF,), INF)],
    "abs": [((-0.0,), 0.0), ((-INF,), INF), ((-TINY,), TINY)],
    "sign": [((-0.0,), 0.0), ((NAN,), NAN), ((-INF,), -1.0), ((TINY,), 1.0)],
    "exp": [((-INF,), 0.0), ((INF,), INF), ((710.0,), INF), ((-0.0,), 1.0), ((-745.0,), TINY)],
    "log": [((0.0,), -INF), ((-0.0,), -INF), ((-1.0,), NAN), ((INF,), INF), ((TINY,), -744.4400719213812)],
    "sqrt": [((-0.0,), -0.0), ((-1.0,), NAN), ((INF,), INF), ((TINY,), 2.2227587494850775e-162)],
    "tanh": [((INF,), 1.0), ((-INF,), -1.0), ((-0.0,), -0.0), ((TINY,), TINY)],
    "sigmoid": [((INF,), 1.0), ((-INF,), 0.0), ((0.0,), 0.5), ((NAN,), NAN)],
    "erf": [((INF,), 1.0), ((-INF,), -1.0), ((-0.0,), -0.0), ((6.0,), 1.0)],
    "sin": [((INF,), NAN), ((-0.0,), -0.0), ((TINY,), TINY)],
    "cos": [((INF,), NAN), ((0.0,), 1.0)],
    "relu": [((NAN,), NAN), ((-INF,), 0.0), ((TINY,), TINY)],
    "log1p": [((-1.0,), -INF), ((-2.0,), NAN), ((INF,), INF), ((-0.0,), -0.0), ((1e-20,), 1e-20), ((TINY,), TINY)],
    "expm1": [((-INF,), -1.0), ((INF,), INF), ((-0.0,), -0.0), ((1e-20,), 1e-20), ((710.0,), INF), ((TINY,), TINY)],
    "softplus": [((-INF,), 0.0), ((INF,), INF), ((1000.0,), 1000.0), ((NAN,), NAN), ((-700.0,), 9.85967654375977e-305)],
    "elu": [((-INF,), -1.0), ((INF,), INF), ((NAN,), NAN), ((1e300,), 1e300)],
    "leaky_relu": [((-INF,), -INF), ((INF,), INF), ((NAN,), NAN)],
    "gelu": [((INF,), INF), ((NAN,), NAN), ((0.0,), 0.0)],
    "silu": [((INF,), INF), ((NAN,), NAN), ((-1000.0,), -0.0)],
    "floor": [((-0.0,), -0.0), ((-0.5,), -1.0), ((-INF,), -INF), ((NAN,), NAN), ((TINY,), 0.0)],
    "ceil": [((-0.5,), -0.0), ((TINY,), 1.0), ((INF,), INF), ((NAN,), NAN)],
    "round": [((0.5,), 0.0), ((1.5,), 2.0), ((-0.5,), -0.0), ((2.5,), 2.0), ((INF,), INF), ((NAN,), NAN)],
    "trunc": [((-0.5,), -0.0), ((-1.7,), -1.0), ((-INF,), -INF), ((NAN,), NAN)],
    "floor_divide": [((7.0, -2.0), -4.0), ((1.0, 0.0), INF), ((0.0, 0.0), NAN), ((-1.0, INF), -1.0), ((INF, 2.0), NAN)],
    "remainder": [((-7.0, 2.0), 1.0), ((7.0, -2.0), -1.0), ((-2.0, 2.0), 0.0), ((2.0, -2.0), -0.0), ((1.0, 0.0), NAN),
                  ((5.0, INF), 5.0), ((INF, 2.0), NAN), ((1e300, 3.0), 0.0)],
    "fmod": [((-7.0, 2.0), -1.0), ((7.0, -2.0), 1.0), ((-2.0, 2.0), -0.0), ((1.0, 0.0), NAN), ((5.0, INF), 5.0)],
    "tan": [((INF,), NAN), ((-0.0,), -0.0), ((TINY,), TINY)],
    "asin": [((1.0,), math.pi / 2), ((-1.0,), -math.pi / 2), ((-0.0,), -0.0), ((1.5,), NAN), ((TINY,), TINY)],
    "acos": [((1.0,), 0.0), ((-1.0,), math.pi), ((0.0,), math.pi / 2), ((1.5,), NAN), ((INF,), NAN)],
    "atan": [((INF,), math.pi / 2), ((-INF,), -math.pi / 2), ((-0.0,), -0.0), ((TINY,), TINY), ((NAN,), NAN)],
    "atan2": [((0.0, -0.0), math.pi), ((-0.0, -1.0), -math.pi), ((-0.0, 1.0), -0.0), ((INF, INF), math.pi / 4),
              ((1.0, -INF), math.pi), ((1.0, 0.0), math.pi / 2), ((NAN, 1.0), NAN)],
    "sinh": [((-INF,), -INF), ((-0.0,), -0.0), ((TINY,), TINY), ((710.4,), 1.6663642832806496e+308), ((711.0,), INF)],
    "cosh": [((-INF,), INF), ((-0.0,), 1.0), ((710.4,), 1.6663642832806496e+308), ((711.0,), INF)],
    "asinh": [((-INF,), -INF), ((-0.0,), -0.0), ((TINY,), TINY), ((1e300,), 691.4686750787736)],
    "acosh": [((1.0,), 0.0), ((0.9,), NAN), ((-3e9,), NAN), ((INF,), INF), ((1e300,), 691.4686750787736)],
    "atanh": [((1.0,), INF), ((-1.0,), -INF), ((-0.0,), -0.0), ((1.5,), NAN), ((INF,), NAN), ((TINY,), TINY)],
    "exp2": [((-INF,), 0.0), ((INF,), INF), ((1024.0,), INF), ((-1074.0,), TINY), ((10.0,), 1024.0)],
    "log2": [((0.0,), -INF), ((-1.0,), NAN), ((INF,), INF), ((TINY,), -1074.0), ((8.0,), 3.0)],
}  # fmt: skip
DEFAULTS = {"elu": {"alpha": 1.0}, "leaky_relu": {"slope": 0.1}, "gelu": {"approximate": "none"}}


@pytest.mark.parametrize("name", EXACT)
def test_corner_values(name):
    for operands, expected in EXACT[name]:
        result = float(run(name, *operands, **DEFAULTS.get(name, {})))
        if math.isnan(expected):
            assert math.isnan(result), operands
        else:
            assert abs(result - expected) <= 2 * np.spacing(abs(expected)) or result == expected, operands
            assert math.copysign(1, result) == math.copysign(1, expected), operands


def test_every_float_op_of_one_element_has_corner_values():
    comparisons = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
    tests = {"isnan", "isinf", "isfinite"}
    whole = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_left", "shift_right"}
    others = (
        {
            "where",
            "cast",
            "stop_gradient",
            "add_n",
            "logical_and",
            "logical_or",
            "logical_not",
            "logical_xor",
        }
        | comparisons
        | tests
        | whole
    )
    elementwise = {name for name, op in REGISTRY.items() if op.kind is Kind.ELEMENTWISE}
    assert elementwise - others <= set(EXACT)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in special_cases()])
def test_nan_is_never_lost(case):
    """An operand that is NaN makes a floating-point result NaN, but for what chooses between elements or moves them."""
    (y,) = interpret(case.graph, case.arrays)[:1]
    if y.dtype.kind != "f" or case.op.name in ("where", "pow", "extend"):
        return
    stacked = [np.isnan(a).any(axis=tuple(range(1, a.ndim))) for a in case.arrays if a.dtype.kind == "f"]
    has_nan = np.logical_or.reduce(stacked)
    assert np.isnan(y[has_nan]).all() if y.shape == has_nan.shape else np.isnan(y).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_comparisons_with_nan_are_false(dtype):
    values = corner_values(dtype)
    nan = np.full_like(values, np.nan)
    for name in ("equal", "less", "less_equal", "greater", "greater_equal"):
        assert not run(name, values, nan).any() and not run(name, nan, values).any()
    assert run("not_equal", values, nan).all()


def test_positions_of_nan_and_ties():
    x = np.array([[1.0, NAN, NAN, 5.0], [2.0, 2.0, -INF, -INF], [-0.0, 0.0, -0.0, 0.0]])
    assert run("argmax", x, axis=1).tolist() == [1, 0, 0]
    assert run("argmin", x, axis=1).tolist() == [1, 2, 0]
    np.testing.assert_array_equal(run("max", x, axes=(1,)), [NAN, 2.0, 0.0])
    np.testing.assert_array_equal(run("min", x, axes=(1,)), [NAN, -INF, 0.0])


def test_empty_reductions():
    x = np.zeros((0, 3))
    np.testing.assert_array_equal(run("sum", x, axes=(0,)), [0.0] * 3)
    assert np.isnan(run("mean", x, axes=(0,))).all()
    assert run("max", x, axes=(1,)).shape == (0,)


def test_padding_never_wins():
    attributes = {"kernel": (3,), "strides": (1,), "padding": ((1, 1),), "dilation": (1,), "ceil": False}
    y, index = (REGISTRY["max_pool"].reference)(np.array([[[-INF, -INF, -5.0]]]), **attributes)
    assert y.tolist() == [[[-INF, -5.0, -5.0]]] and index.tolist() == [[[0, 2, 2]]]
    y, index = (REGISTRY["max_pool"].reference)(np.array([[[-128, -128]]], np.int8), **attributes)
    assert y.tolist() == [[[-128, -128]]] and index.tolist() == [[[0, 0]]]


@pytest.mark.parametrize(("ceil", "expected"), [(False, [0.0, 1.0, 0.0]), (True, [0.0, 1.0])])
def test_an_average_over_padding_alone_is_0(ceil, expected):
    """With `ceil` no window starts in the padding after the input, as in PyTorch and ONNX."""
    x = np.ones((1, 1, 2))
    y = run("avg_pool", x, kernel=(2,), strides=(2,), padding=((2, 2),), ceil=ceil, count_include_pad=False)
    assert y.tolist() == [[expected]]


def test_casts_saturate():
    x = np.array([NAN, INF, -INF, 3e9, -3e9, 2.7, -2.7, -0.5, 2.0**63, 2.0**64])
    assert run("cast", x, dtype=dtype_of("int32")).tolist()[:8] == [
        0,
        2**31 - 1,
        -(2**31),
        2**31 - 1,
        -(2**31),
        2,
        -2,
        0,
    ]
    assert run("cast", x, dtype=dtype_of("uint8")).tolist()[:8] == [0, 255, 0, 255, 0, 2, 0, 0]
    assert run("cast", x, dtype=dtype_of("int64")).tolist()[-2:] == [2**63 - 1] * 2
    assert run("cast", x, dtype=dtype_of("uint64")).tolist()[-2:] == [2**63, 2**64 - 1]
    assert run("cast", x, dtype=dtype_of("bool")).tolist() == [True] * 10
    assert run("cast", np.array([0.0, -0.0]), dtype=dtype_of("bool")).tolist() == [False, False]


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
def test_integers_wrap(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    ends = np.array([low, high, 1], dtype)
    modulus = 2 ** np.iinfo(dtype).bits

    def wrapped(numbers):
        return [(n - low) % modulus + low for n in numbers]

    assert run("add", ends, np.array([high, 1, 1], dtype)).tolist() == wrapped([low + high, high + 1, 2])
    assert run("neg", ends).tolist() == wrapped([-low, -high, -1])
    assert run("mul", ends, ends).tolist() == wrapped([low * low, high * high, 1])
    assert run("sub", ends, np.array([1, 0, 2], dtype)).tolist() == wrapped([low - 1, high, -1])
    assert run("abs", ends).tolist() == wrapped([abs(low), high, 1])
    assert run("sign", ends).tolist() == [-1 if low else 0, 1, 1]


def ulps(ours, exact, dtype):
    """The largest distance from the exact results, in units of the last place."""
    worst = 0.0
    for mine, true in zip(ours.tolist(), exact, strict=True):
        nearest = np.asarray(float(true), dtype)
        if np.isinf(nearest):
            assert mine == nearest
            continue
        worst = max(worst, float(abs(mpmath.mpf(mine) - true) / mpmath.mpf(float(np.spacing(abs(nearest))))))
    return worst


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "exact", "low", "high", "bound"),
    [
        ("log1p", mpmath.log1p, 1e-12, 1e3, 4),
        ("log1p", lambda x: mpmath.log1p(-x), 1e-12, 0.999, 4),
        ("expm1", mpmath.expm1, 1e-12, 80.0, 4),
        ("expm1", lambda x: mpmath.expm1(-x), 1e-12, 80.0, 4),
        ("softplus", lambda x: mpmath.log1p(mpmath.exp(-x)), 1e-3, 80.0, 6),
    ],
)
def test_accuracy_of_small_arguments(name, exact, low, high, bound, dtype):
    """A few roundings each: 1 + x is exact up to the one that is divided out again."""
    rng = np.random.default_rng(137)
    x = np.exp(rng.uniform(math.log(low), math.log(high), 2000)).astype(dtype)
    with mpmath.workdps(60):
        true = [exact(mpmath.mpf(float(v))) for v in x]
        negative = float(exact(mpmath.mpf("0.5"))) < float(exact(mpmath.mpf("0.25")))
        assert ulps(run(name, -x if negative else x), true, dtype) <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_confident_scores_stay_finite_and_accurate(dtype):
    x = np.array([[1e4, -1e4, 0.0], [30.0, 0.0, 0.0]], dtype)
    right, wrong = np.array([0, 0]), np.array([1, 1])
    assert run("cross_entropy", x, right, reduction="none").tolist()[0] == 0.0
    assert run("cross_entropy", x, wrong, reduction="none").tolist()[0] == 2e4
    one = np.array([1e4, -1e4, -200.0], dtype)
    assert run("binary_cross_entropy_with_logits", one, np.zeros_like(one), reduction="none").tolist()[
        :2
    ] == [1e4, 0.0]
    assert np.isfinite(run("binary_cross_entropy", np.array([0.0, 1.0], dtype), np.array([1.0, 0.0], dtype)))
    assert run("logsumexp", np.array([[-INF, -INF], [INF, 1.0], [1e4, 1e4]], dtype), axes=(1,)).tolist() == [
        -INF,
        INF,
        float(np.asarray(1e4 + math.log(2), dtype)),
    ]


def test_variance_of_a_large_offset():
    """The two-pass formula errs by n·eps of the variance and (n·eps)² of the mean: Higham 2002, section 1.9."""
    rng = np.random.default_rng(139)
    x = (1e8 + rng.normal(size=1000)).astype(np.float64)
    exact = float(
        mpmath.fsum((mpmath.mpf(v) - mpmath.fsum(x.tolist()) / 1000) ** 2 for v in x.tolist()) / 1000
    )
    ours = float(run("variance", x, axes=(0,), correction=0))
    eps = 2.2e-16
    assert abs(ours - exact) <= 1000 * eps * exact + (1000 * eps * 1e8) ** 2
