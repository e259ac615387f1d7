"""Elementwise primitives: one output element from the elements at the same index.

`scalar` is written once against the backend's element builder `b` and serves every fused loop.
"""

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import DTYPES, dtype_of
from graphc.ops.reference import convert, erf_of
from graphc.ops.rules import check_dtype, comparison, logical, same_float, same_number, same_type, samples

ELEMENTWISE = Kind.ELEMENTWISE


@op(ELEMENTWISE, formula="z = x + y", symbol="+", derivative={0: "1", 1: "1"}, onnx="Add")
class add:
    """Sum.  z = x + y, ∂z/∂x = ∂z/∂y = 1."""

    infer = same_number
    in_place = (0, 1)
    samples = samples(2)

    def reference(x, y):
        return np.add(x, y)

    def vjp(ct, x, y, z):
        return ct, ct

    def scalar(b, x, y):
        return b.add(x, y)


@op(ELEMENTWISE, formula="y = x₁ + x₂ + ...", symbol="+", derivative={0: "1"}, onnx="Sum")
class add_n:
    """Sum of several, from left to right.  Where paths of the gradient meet, they add up."""

    infer = same_number
    in_place = (0,)
    samples = samples(3)

    def reference(*arrays):
        total = arrays[0]
        for array in arrays[1:]:
            total = np.add(total, array)
        return total

    def vjp(ct, *operands):
        return (ct,) * (len(operands) - 1)

    def scalar(b, *elements):
        total = elements[0]
        for element in elements[1:]:
            total = b.add(total, element)
        return total


@op(ELEMENTWISE, formula="z = x - y", symbol="−", derivative={0: "1", 1: "−1"}, onnx="Sub")
class sub:
    """Difference.  z = x - y, ∂z/∂x = 1, ∂z/∂y = -1."""

    infer = same_number
    in_place = (0, 1)
    samples = samples(2)

    def reference(x, y):
        return np.subtract(x, y)

    def vjp(ct, x, y, z):
        return ct, -ct

    def scalar(b, x, y):
        return b.sub(x, y)


@op(ELEMENTWISE, formula="z = x · y", symbol="×", derivative={0: "{y}", 1: "{x}"}, onnx="Mul")
class mul:
    """Product, element by element.  z = x·y, ∂z/∂x = y, ∂z/∂y = x."""

    infer = same_number
    in_place = (0, 1)
    samples = samples(2)

    def reference(x, y):
        return np.multiply(x, y)

    def vjp(ct, x, y, z):
        return ct * y, ct * x

    def scalar(b, x, y):
        return b.mul(x, y)


@op(ELEMENTWISE, formula="z = x / y", symbol="÷", derivative={0: "1/{y}", 1: "−{x}/{y}²"}, onnx="Div")
class div:
    """Quotient of floating-point numbers.  z = x/y, ∂z/∂x = 1/y, ∂z/∂y = -z/y."""

    infer = same_float
    in_place = (0, 1)
    samples = samples(2, 0.5, 2.0)

    def reference(x, y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(x, y)

    def vjp(ct, x, y, z):
        down = ct / y
        return down, -(down * z)

    def scalar(b, x, y):
        return b.div(x, y)


@op(
    ELEMENTWISE, formula="z = x^y", symbol="^", derivative={0: "{y}·{x}^({y}−1)", 1: "{z}·ln {x}"}, onnx="Pow"
)
class pow_:
    """Power.  z = x^y, ∂z/∂x = y·x^(y-1), which is 0 where y = 0, ∂z/∂y = z·ln x, taken as 0 where x <= 0."""

    infer = same_float
    in_place = (0, 1)
    kinks = "∂z/∂y is 0 where x <= 0, where ln x does not exist"
    samples = samples(2, 0.5, 2.0)

    def reference(x, y):
        with np.errstate(all="ignore"):
            return np.power(x, y)

    def vjp(ct, x, y, z):
        slope = y * pow_(x, where(equal(y, 0.0), 1.0, y) - 1.0)  # 0·0^0, not 0·0^-1
        positive = greater(x, 0.0)
        return ct * slope, ct * where(positive, z * log(where(positive, x, 1.0)), 0.0)

    def scalar(b, x, y):
        return b.pow(x, y)


@op(
    ELEMENTWISE,
    formula="z = max(x, y)",
    symbol="max",
    derivative={0: "[{x} ≥ {y}]", 1: "[{y} > {x}]"},
    onnx="Max",
)
class maximum:
    """Larger of two; NaN wins.  The gradient goes to the larger, to x on a tie."""

    infer = same_number
    in_place = (0, 1)
    kinks = "x = y: the gradient goes to x"
    samples = samples(2)

    def reference(x, y):
        return np.maximum(x, y)

    def vjp(ct, x, y, z):
        first = greater_equal(x, y)
        zero = zeros_like(ct)
        return where(first, ct, zero), where(first, zero, ct)

    def scalar(b, x, y):
        return b.maximum(x, y)


@op(
    ELEMENTWISE,
    formula="z = min(x, y)",
    symbol="min",
    derivative={0: "[{x} ≤ {y}]", 1: "[{y} < {x}]"},
    onnx="Min",
)
class minimum:
    """Smaller of two; NaN wins.  The gradient goes to the smaller, to x on a tie."""

    infer = same_number
    in_place = (0, 1)
    kinks = "x = y: the gradient goes to x"
    samples = samples(2)

    def reference(x, y):
        return np.minimum(x, y)

    def vjp(ct, x, y, z):
        first = less_equal(x, y)
        zero = zeros_like(ct)
        return where(first, ct, zero), where(first, zero, ct)

    def scalar(b, x, y):
        return b.minimum(x, y)


@op(ELEMENTWISE, formula="y = −x", symbol="−", derivative={0: "−1"}, onnx="Neg")
class neg:
    """Negation.  y = -x, dy/dx = -1."""

    infer = same_number
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        return np.negative(x)

    def vjp(ct, x, y):
        return -ct

    def scalar(b, x):
        return b.neg(x)


@op(ELEMENTWISE, formula="y = |x|", symbol="|·|", derivative={0: "sign {x}"}, onnx="Abs")
class abs_:
    """Absolute value.  y = |x|, dy/dx = sign(x)."""

    infer = same_number
    in_place = (0,)
    kinks = "x = 0: the derivative is 0"
    samples = samples(1, away=(0.0,))

    def reference(x):
        return np.abs(x)

    def vjp(ct, x, y):
        return ct * sign(x)

    def scalar(b, x):
        return b.abs(x)


@op(ELEMENTWISE, formula="y = sign x", symbol="sign", derivative={0: "0"}, onnx="Sign")
class sign:
    """-1, 0 or 1; NaN stays NaN.  The derivative is 0 everywhere."""

    infer = same_number
    in_place = (0,)
    kinks = "x = 0: the derivative is 0"
    samples = samples(1, away=(0.0,))

    def reference(x):
        return np.sign(x)

    def vjp(ct, x, y):
        return zeros_like(ct)

    def scalar(b, x):
        zero, one = b.constant(0, x), b.constant(1, x)
        step = b.select(b.equal(x, zero), zero, x)  # NaN stays
        step = b.select(b.less(x, zero), b.neg(one), step)
        return b.select(b.less(zero, x), one, step)


@op(ELEMENTWISE, formula="y = e^x", symbol="exp", derivative={0: "{y}"}, onnx="Exp")
class exp:
    """Exponential.  y = e^x, dy/dx = y."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(over="ignore"):
            return np.exp(x)

    def vjp(ct, x, y):
        return ct * y

    def scalar(b, x):
        return b.exp(x)


@op(ELEMENTWISE, formula="y = ln x", symbol="ln", derivative={0: "1/{x}"}, onnx="Log")
class log:
    """Natural logarithm.  y = ln x, dy/dx = 1/x."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, 0.2, 3.0)

    def reference(x):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(x)

    def vjp(ct, x, y):
        return ct / x

    def scalar(b, x):
        return b.log(x)


@op(ELEMENTWISE, formula="y = √x", symbol="√", derivative={0: "1/(2{y})"}, onnx="Sqrt")
class sqrt:
    """Square root.  y = √x, dy/dx = 1/(2y)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, 0.2, 3.0)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.sqrt(x)

    def vjp(ct, x, y):
        return ct * 0.5 / y

    def scalar(b, x):
        return b.sqrt(x)


@op(ELEMENTWISE, formula="y = tanh x", symbol="tanh", derivative={0: "1 − {y}²"}, onnx="Tanh")
class tanh:
    """Hyperbolic tangent.  y = tanh x, dy/dx = 1 - y²."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        return np.tanh(x)

    def vjp(ct, x, y):
        return ct * (1.0 - y * y)

    def scalar(b, x):
        return b.tanh(x)


@op(ELEMENTWISE, formula="y = 1/(1 + e^(−x))", symbol="σ", derivative={0: "{y}(1 − {y})"}, onnx="Sigmoid")
class sigmoid:
    """Logistic function.  y = 1/(1 + e^-x), dy/dx = y(1 - y)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-x))

    def vjp(ct, x, y):
        return ct * (y * (1.0 - y))

    def scalar(b, x):
        return b.sigmoid(x)


@op(ELEMENTWISE, formula="y = erf x", symbol="erf", derivative={0: "2/√π·e^(−{x}²)"}, onnx="Erf")
class erf:
    """Error function.  y = 2/√π ∫₀ˣ e^(-t²) dt, dy/dx = 2/√π e^(-x²)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        return erf_of(x)

    def vjp(ct, x, y):
        return ct * (exp(-(x * x)) * 1.1283791670955126)

    def scalar(b, x):
        return b.erf(x)


@op(ELEMENTWISE, formula="y = sin x", symbol="sin", derivative={0: "cos {x}"}, onnx="Sin")
class sin:
    """Sine.  dy/dx = cos x."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.sin(x)

    def vjp(ct, x, y):
        return ct * cos(x)

    def scalar(b, x):
        return b.sin(x)


@op(ELEMENTWISE, formula="y = cos x", symbol="cos", derivative={0: "−sin {x}"}, onnx="Cos")
class cos:
    """Cosine.  dy/dx = -sin x."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.cos(x)

    def vjp(ct, x, y):
        return -(ct * sin(x))

    def scalar(b, x):
        return b.cos(x)


@op(ELEMENTWISE, formula="y = max(0, x)", symbol="relu", derivative={0: "[{x} > 0]"}, onnx="Relu")
class relu:
    """Rectified linear unit.  y = max(0, x), dy/dx = 1 where x > 0, else 0.  NaN stays NaN."""

    infer = same_number
    in_place = (0,)
    kinks = "x = 0: the derivative is 0"
    samples = samples(1, away=(0.0,))

    def reference(x):
        return np.maximum(x, 0)

    def vjp(ct, x, y):
        return where(greater(y, 0.0), ct, zeros_like(ct))

    def scalar(b, x):
        zero = b.constant(0, x)
        return b.select(b.less(x, zero), zero, x)


def tied():
    """Pairs with equal elements, zeros of both signs, infinities and NaN among them; whole numbers and booleans."""
    yield from samples(2)()
    edges = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    yield (np.repeat(edges, 7), np.tile(edges, 7)), {}
    for dtype in ("int32", "uint8", "bool"):
        yield (np.array([0, 1, 2, 255, 0]).astype(dtype), np.array([0, 2, 1, 255, 1]).astype(dtype)), {}


def _comparison(name, ufunc, predicate, meaning, sign_, onnx=""):
    members = {
        "__doc__": f"{meaning}  The result is bool and has no gradient.",
        "infer": comparison,
        "samples": tied,
        "reference": ufunc,
        "scalar": lambda b, x, y: getattr(b, predicate)(x, y),
    }
    return op(
        ELEMENTWISE, formula=f"z = x {sign_} y", symbol=sign_, onnx=onnx, no_gradient="a comparison is a step"
    )(type(name, (), members))


equal = _comparison("equal", np.equal, "equal", "Whether x = y.", "=", "Equal")
not_equal = _comparison("not_equal", np.not_equal, "not_equal", "Whether x ≠ y.", "≠")
less = _comparison("less", np.less, "less", "Whether x < y.", "<", "Less")
less_equal = _comparison("less_equal", np.less_equal, "less_equal", "Whether x <= y.", "≤", "LessOrEqual")
greater = _comparison("greater", np.greater, "greater", "Whether x > y.", ">", "Greater")
greater_equal = _comparison(
    "greater_equal", np.greater_equal, "greater_equal", "Whether x >= y.", "≥", "GreaterOrEqual"
)


@op(ELEMENTWISE, formula="z = x and y", symbol="∧", no_gradient="booleans have no gradient", onnx="And")
class logical_and:
    """Logical and of booleans."""

    infer = logical
    samples = samples(2, dtypes="bool")

    def reference(x, y):
        return np.logical_and(x, y)

    def scalar(b, x, y):
        return b.and_(x, y)


@op(ELEMENTWISE, formula="z = x or y", symbol="∨", no_gradient="booleans have no gradient", onnx="Or")
class logical_or:
    """Logical or of booleans."""

    infer = logical
    samples = samples(2, dtypes="bool")

    def reference(x, y):
        return np.logical_or(x, y)

    def scalar(b, x, y):
        return b.or_(x, y)


@op(ELEMENTWISE, formula="y = not x", symbol="¬", no_gradient="booleans have no gradient", onnx="Not")
class logical_not:
    """Logical not of booleans."""

    infer = logical
    samples = samples(1, dtypes="bool")

    def reference(x):
        return np.logical_not(x)

    def scalar(b, x):
        return b.not_(x)


@op(
    ELEMENTWISE,
    formula="z = x where c, else y",
    symbol="?",
    derivative={1: "[{c}]", 2: "[not {c}]"},
    onnx="Where",
)
class where:
    """x where the condition holds, else y.  The gradient goes to the one that was taken."""

    def infer(condition, x, y):
        logical(condition)
        if x.dtype != y.dtype:
            raise TypeRuleError(
                f"dtypes differ: {x.dtype} ({{1}}) and {y.dtype} ({{2}})",
                f'convert one of them: .astype("{x.dtype}")',
                DTypeError,
            )
        if not condition.shape == x.shape == y.shape:
            raise TypeRuleError("shapes differ: {0}, {1} and {2}")
        return x

    in_place = (1, 2)

    def samples():
        rng = np.random.default_rng(3)
        for shape in ((), (7,), (3, 17)):
            yield (
                (
                    np.asarray(rng.random(shape) < 0.5),
                    np.asarray(rng.normal(size=shape)),
                    np.asarray(rng.normal(size=shape)),
                ),
                {},
            )

    def reference(c, x, y):
        return np.where(c, x, y)

    def vjp(ct, c, x, y, z):
        zero = zeros_like(ct)
        return NoGradient("a condition has no gradient"), where(c, ct, zero), where(c, zero, ct)

    def scalar(b, c, x, y):
        return b.select(c, x, y)


@op(ELEMENTWISE, formula="y = x as dtype", symbol="cast", derivative={0: "1"}, onnx="Cast")
class cast:
    """Conversion to another dtype.

    Float to integer truncates towards zero, saturates at the ends of the range and turns NaN into 0;
    anything to bool asks whether it is not zero.  The gradient is cast back; integers have none.
    """

    def infer(x, *, dtype):
        check_dtype(dtype)
        return x.with_dtype(dtype)

    def samples():
        edges = [np.nan, np.inf, -np.inf, -0.0, 0.5, -0.5, 2.7, -2.7, 127.9, -129.0, 255.5, 256.0]
        edges += [sign * 2.0**power for power in (31, 32, 62, 63, 64) for sign in (1, -1)]
        for source in DTYPES:
            if source.is_float:
                x = np.array(edges, source.numpy)
            else:
                x = np.array([-3, -1, 0, 1, 2, 7, 200, 2**31, 2**63 - 1]).astype(source.numpy)
            for target in DTYPES:
                yield (x,), {"dtype": target}
        yield (np.zeros((0, 3)),), {"dtype": dtype_of("float32")}
        yield (np.linspace(-2, 2, 7),), {"dtype": dtype_of("float64")}

    def reference(x, *, dtype):
        return convert(x, dtype.numpy)

    def vjp(ct, x, y, *, dtype):
        if not (x.dtype.is_float and dtype.is_float):
            return NoGradient("a conversion from or to whole numbers is a step")
        return cast(ct, dtype=x.dtype)

    def scalar(b, x, *, dtype):
        return b.convert(x, dtype)


@op(ELEMENTWISE, formula="y = x, gradient stopped", symbol="⊣", derivative={0: "0"})
class stop_gradient:
    """The value unchanged; no gradient flows back through it."""

    infer = same_type
    in_place = (0,)

    samples = samples(1)

    def reference(x):
        return x

    def vjp(ct, x, y):
        return (None,)  # asked for, so it is 0 and no error

    def scalar(b, x):
        return x


def zeros_like(x):
    """A constant 0 of the type of a value."""
    from graphc.ir.builder import Builder

    return Builder.current().constant(0, x.dtype, x.shape)
