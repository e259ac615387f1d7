"""Rounding and division with whole quotients: elementwise primitives whose derivative is that of a staircase."""

import numpy as np

from graphc.ir.op import Kind, op
from graphc.ops.elementwise import zeros_like
from graphc.ops.rules import same_float, same_number, samples

ELEMENTWISE = Kind.ELEMENTWISE
WHOLE = (-2.0, -1.0, 0.0, 1.0, 2.0)
HALVES = (-1.5, -0.5, 0.5, 1.5)


@op(ELEMENTWISE, formula="y = ⌊x⌋", symbol="⌊·⌋", derivative={0: "0"}, onnx="Floor")
class floor:
    """The largest whole number <= x, as a floating-point number.  The derivative is 0 everywhere."""

    infer = same_float
    in_place = (0,)
    kinks = "whole numbers: the derivative is 0"
    samples = samples(1, away=WHOLE)

    def reference(x):
        return np.floor(x)

    def vjp(ct, x, y):
        return zeros_like(ct)

    def scalar(b, x):
        return b.floor(x)


@op(ELEMENTWISE, formula="y = ⌈x⌉", symbol="⌈·⌉", derivative={0: "0"}, onnx="Ceil")
class ceil:
    """The smallest whole number >= x, as a floating-point number.  The derivative is 0 everywhere."""

    infer = same_float
    in_place = (0,)
    kinks = "whole numbers: the derivative is 0"
    samples = samples(1, away=WHOLE)

    def reference(x):
        return np.ceil(x)

    def vjp(ct, x, y):
        return zeros_like(ct)

    def scalar(b, x):
        return b.ceil(x)


@op(ELEMENTWISE, formula="y = x rounded", symbol="round", derivative={0: "0"}, onnx="Round")
class round_:
    """The nearest whole number, of two the even one: 0.5 gives 0, 1.5 gives 2.  The derivative is 0 everywhere."""

    infer = same_float
    in_place = (0,)
    kinks = "half-way between whole numbers: the derivative is 0"
    samples = samples(1, away=HALVES)

    def reference(x):
        return np.rint(x)

    def vjp(ct, x, y):
        return zeros_like(ct)

    def scalar(b, x):
        return b.round(x)


@op(ELEMENTWISE, formula="y = x without its fraction", symbol="trunc", derivative={0: "0"})
class trunc:
    """The whole part of x, towards zero.  The derivative is 0 everywhere."""

    infer = same_float
    in_place = (0,)
    kinks = "whole numbers: the derivative is 0"
    samples = samples(1, away=WHOLE)

    def reference(x):
        return np.trunc(x)

    def vjp(ct, x, y):
        return zeros_like(ct)

    def scalar(b, x):
        return b.trunc(x)


def quotients():
    """Pairs whose quotient is at least 0.15 away from every whole number, of all signs; whole numbers with 0 and -1."""
    rng = np.random.default_rng(31)
    for shape in ((), (1,), (7,), (3, 17), (0, 4)):
        y = rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape)
        yield (np.asarray(y * (rng.integers(-3, 4, shape) + rng.uniform(0.15, 0.85, shape))), y), {}
    for dtype in ("int8", "int32", "int64", "uint8"):
        limits = np.iinfo(dtype)
        edges = np.array([limits.min, limits.min + 1, 0, 1, 2, 7, limits.max - 1, limits.max])
        if limits.min < 0:
            edges = np.concatenate([edges, np.array([-7, -2, -1])])
        edges = edges.astype(dtype)
        yield (np.repeat(edges, len(edges)), np.tile(edges, len(edges))), {}


@op(ELEMENTWISE, formula="z = ⌊x / y⌋", symbol="//", derivative={0: "0", 1: "0"})
class floor_divide:
    """The largest whole number <= x/y, as Python's and NumPy's `//`; of whole numbers 0 where y is 0.

    The derivatives are 0 everywhere.
    """

    infer = same_number
    in_place = (0, 1)
    kinks = "whole quotients: the derivatives are 0"
    samples = quotients

    def reference(x, y):
        with np.errstate(all="ignore"):
            return np.floor_divide(x, y)

    def vjp(ct, x, y, z):
        zero = zeros_like(ct)
        return zero, zero

    def scalar(b, x, y):
        return b.floor_divide(x, y)


@op(ELEMENTWISE, formula="z = x − y·⌊x / y⌋", symbol="%", derivative={0: "1", 1: "−⌊{x} / {y}⌋"}, onnx="Mod")
class remainder:
    """What a division leaves, with the sign of y, as Python's and NumPy's `%`; of whole numbers 0 where y is 0.

    ∂z/∂x = 1, ∂z/∂y = -⌊x/y⌋.
    """

    infer = same_number
    in_place = (0, 1)
    kinks = "whole quotients: the derivatives are those from above"
    samples = quotients

    def reference(x, y):
        with np.errstate(all="ignore"):
            return np.remainder(x, y)

    def vjp(ct, x, y, z):
        return ct, -(ct * floor_divide(x, y))

    def scalar(b, x, y):
        return b.remainder(x, y)


@op(ELEMENTWISE, formula="z = x − y·trunc(x / y)", symbol="fmod", derivative={0: "1", 1: "−trunc({x} / {y})"})
class fmod:
    """What a division towards zero leaves, with the sign of x, as C's `fmod`; of whole numbers 0 where y is 0.

    ∂z/∂x = 1, ∂z/∂y = -trunc(x/y).
    """

    infer = same_number
    in_place = (0, 1)
    kinks = "whole quotients: the derivatives are those from above"
    samples = quotients

    def reference(x, y):
        with np.errstate(all="ignore"):
            return np.fmod(x, y)

    def vjp(ct, x, y, z):
        return ct, -(ct * trunc(x / y))

    def scalar(b, x, y):
        return b.fmod(x, y)
