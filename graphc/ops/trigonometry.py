"""Trigonometric, hyperbolic and binary-logarithmic functions: elementwise primitives.

sin and cos are in elementwise.py.  What has no polynomial of its own in the native backend is written here in terms of
the functions that have, in a form that keeps the digits near zero and does not overflow before the result does.
"""

import math

import numpy as np

from graphc.ir.op import Kind, op
from graphc.ops.elementwise import sqrt
from graphc.ops.rules import same_float, samples

ELEMENTWISE = Kind.ELEMENTWISE
LN2 = math.log(2.0)
LARGE = 2.0**28  # from here on x² + 1 is x² to the last bit


@op(ELEMENTWISE, formula="y = tan x", symbol="tan", derivative={0: "1 + {y}²"}, onnx="Tan")
class tan:
    """Tangent.  y = tan x, dy/dx = 1 + y²."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, -1.2, 1.2)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.tan(x)

    def vjp(ct, x, y):
        return ct * (y * y + 1.0)

    def scalar(b, x):
        return b.div(b.sin(x), b.cos(x))


@op(ELEMENTWISE, formula="y = arcsin x", symbol="arcsin", derivative={0: "1/√(1 − {x}²)"}, onnx="Asin")
class asin:
    """The angle in [-π/2, π/2] whose sine is x; NaN outside [-1, 1].  dy/dx = 1/√(1 - x²)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, -0.9, 0.9)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.arcsin(x)

    def vjp(ct, x, y):
        return ct / sqrt((1.0 - x) * (x + 1.0))

    def scalar(b, x):
        one = b.constant(1, x)
        return b.atan(b.div(x, b.sqrt(b.mul(b.sub(one, x), b.add(one, x)))))


@op(ELEMENTWISE, formula="y = arccos x", symbol="arccos", derivative={0: "−1/√(1 − {x}²)"}, onnx="Acos")
class acos:
    """The angle in [0, π] whose cosine is x; NaN outside [-1, 1].  dy/dx = -1/√(1 - x²)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, -0.9, 0.9)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.arccos(x)

    def vjp(ct, x, y):
        return -(ct / sqrt((1.0 - x) * (x + 1.0)))

    def scalar(b, x):
        one = b.constant(1, x)
        half = b.atan(b.sqrt(b.div(b.sub(one, x), b.add(one, x))))
        return b.add(half, half)


@op(ELEMENTWISE, formula="y = arctan x", symbol="arctan", derivative={0: "1/(1 + {x}²)"}, onnx="Atan")
class atan:
    """The angle in [-π/2, π/2] whose tangent is x.  dy/dx = 1/(1 + x²)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        return np.arctan(x)

    def vjp(ct, x, y):
        return ct / (x * x + 1.0)

    def scalar(b, x):
        return b.atan(x)


@op(
    ELEMENTWISE,
    formula="z = arctan(x / y), in its quadrant",
    symbol="atan2",
    derivative={0: "{y}/({x}² + {y}²)", 1: "−{x}/({x}² + {y}²)"},
)
class atan2:
    """The angle in [-π, π] of the point with ordinate x and abscissa y: arctan(x/y) in the right quadrant.

    Operands in C's order, the ordinate first.  ∂z/∂x = y/(x² + y²), ∂z/∂y = -x/(x² + y²).
    """

    infer = same_float
    in_place = (0, 1)
    kinks = "the ray y < 0, x = 0: the angle jumps from -π to π"
    samples = samples(2, away=(0.0,))

    def reference(x, y):
        return np.arctan2(x, y)

    def vjp(ct, x, y, z):
        share = ct / (x * x + y * y)
        return share * y, -(share * x)

    def scalar(b, x, y):
        return b.atan2(x, y)


@op(ELEMENTWISE, formula="y = sinh x", symbol="sinh", derivative={0: "cosh {x}"}, onnx="Sinh")
class sinh:
    """Hyperbolic sine.  y = (e^x - e^-x)/2, dy/dx = cosh x."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(over="ignore"):
            return np.sinh(x)

    def vjp(ct, x, y):
        return ct * cosh(x)

    def scalar(b, x):
        half, one = b.constant(0.5, x), b.constant(1, x)
        size = b.abs(x)
        t = b.expm1(size)
        near = b.mul(half, b.add(t, b.div(t, b.add(t, one))))
        h = b.exp(b.mul(half, size))  # its square may overflow only with the result
        far = b.sub(b.mul(b.mul(half, h), h), b.div(b.div(half, h), h))
        return b.copysign(b.select(b.less(size, one), near, far), x)


@op(ELEMENTWISE, formula="y = cosh x", symbol="cosh", derivative={0: "sinh {x}"}, onnx="Cosh")
class cosh:
    """Hyperbolic cosine.  y = (e^x + e^-x)/2, dy/dx = sinh x."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(over="ignore"):
            return np.cosh(x)

    def vjp(ct, x, y):
        return ct * sinh(x)

    def scalar(b, x):
        half = b.constant(0.5, x)
        h = b.exp(b.mul(half, b.abs(x)))
        return b.add(b.mul(b.mul(half, h), h), b.div(b.div(half, h), h))


@op(ELEMENTWISE, formula="y = arsinh x", symbol="arsinh", derivative={0: "1/√({x}² + 1)"}, onnx="Asinh")
class asinh:
    """The inverse of sinh.  y = ln(x + √(x² + 1)), dy/dx = 1/√(x² + 1)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        return np.arcsinh(x)

    def vjp(ct, x, y):
        return ct / sqrt(x * x + 1.0)

    def scalar(b, x):
        one, size = b.constant(1, x), b.abs(x)
        square = b.mul(size, size)
        near = b.log1p(b.add(size, b.div(square, b.add(one, b.sqrt(b.add(square, one))))))
        far = b.add(b.log(size), b.constant(LN2, x))
        return b.copysign(b.select(b.less(size, b.constant(LARGE, x)), near, far), x)


@op(ELEMENTWISE, formula="y = arcosh x", symbol="arcosh", derivative={0: "1/√({x}² − 1)"}, onnx="Acosh")
class acosh:
    """The inverse of cosh for x >= 1, NaN below.  y = ln(x + √(x² - 1)), dy/dx = 1/√(x² - 1)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, 1.2, 4.0)

    def reference(x):
        with np.errstate(invalid="ignore"):
            return np.arccosh(x)

    def vjp(ct, x, y):
        return ct / sqrt((x - 1.0) * (x + 1.0))

    def scalar(b, x):
        one = b.constant(1, x)
        t = b.sub(x, one)
        near = b.log1p(b.add(t, b.sqrt(b.mul(t, b.add(t, b.constant(2, x))))))
        far = b.add(b.log(x), b.constant(LN2, x))
        inside = b.select(b.less(x, b.constant(LARGE, x)), near, far)
        return b.select(b.less(x, one), b.constant(math.nan, x), inside)


@op(ELEMENTWISE, formula="y = artanh x", symbol="artanh", derivative={0: "1/(1 − {x}²)"}, onnx="Atanh")
class atanh:
    """The inverse of tanh for -1 <= x <= 1, NaN outside.  y = ln((1 + x)/(1 - x))/2, dy/dx = 1/(1 - x²)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, -0.9, 0.9)

    def reference(x):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.arctanh(x)

    def vjp(ct, x, y):
        return ct / ((1.0 - x) * (x + 1.0))

    def scalar(b, x):
        size = b.abs(x)
        ratio = b.div(b.add(size, size), b.sub(b.constant(1, x), size))
        return b.copysign(b.mul(b.constant(0.5, x), b.log1p(ratio)), x)


@op(ELEMENTWISE, formula="y = 2^x", symbol="2^·", derivative={0: "{y}·ln 2"})
class exp2:
    """Power of 2, exact for whole x.  y = 2^x, dy/dx = y·ln 2."""

    infer = same_float
    in_place = (0,)
    samples = samples(1)

    def reference(x):
        with np.errstate(over="ignore", under="ignore"):
            return np.exp2(x)

    def vjp(ct, x, y):
        return ct * (y * LN2)

    def scalar(b, x):
        return b.exp2(x)


@op(ELEMENTWISE, formula="y = log₂ x", symbol="log₂", derivative={0: "1/({x}·ln 2)"})
class log2:
    """Logarithm to base 2, exact for powers of 2.  dy/dx = 1/(x·ln 2)."""

    infer = same_float
    in_place = (0,)
    samples = samples(1, 0.2, 3.0)

    def reference(x):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log2(x)

    def vjp(ct, x, y):
        return ct / (x * LN2)

    def scalar(b, x):
        return b.log2(x)
