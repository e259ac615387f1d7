"""Bits of whole numbers, and what kind of number a floating-point number is: primitives without gradient."""

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import bool_
from graphc.ops.rules import logical, same_float, same_type, samples

ELEMENTWISE = Kind.ELEMENTWISE
WHOLE_NUMBERS = "bits of whole numbers have no gradient"


def same_whole(*types, **_):
    """The one type of whole numbers all operands share."""
    if types[0].dtype.kind not in ("int", "uint"):
        raise TypeRuleError(f"needs whole numbers, {{0}} is {types[0].dtype}", kind=DTypeError)
    return same_type(*types)


def whole(arity):
    """Whole numbers with both ends of the range among them."""

    def draw():
        rng = np.random.default_rng(11)
        for dtype in ("int8", "int32", "int64", "uint8", "uint32", "uint64"):
            limits = np.iinfo(dtype)
            arrays = [
                rng.integers(limits.min, limits.max, (3, 17), dtype, endpoint=True) for _ in range(arity)
            ]
            arrays[0][0, :2] = limits.min, limits.max
            yield tuple(arrays), {}

    return draw


def shifts():
    """Whole numbers and amounts below 0, from 0 to the width, and above."""
    for (x,), _ in whole(1)():
        amounts = np.array([-1, 0, 1, 2, x.itemsize * 8 - 1, x.itemsize * 8, x.itemsize * 8 + 1, 100])
        yield (x, np.resize(amounts, x.shape).astype(x.dtype)), {}


def _bitwise(name, ufunc, method, meaning, sign, onnx):
    members = {
        "__doc__": f"{meaning}  {WHOLE_NUMBERS.capitalize()}.",
        "infer": same_whole,
        "in_place": (0, 1),
        "samples": whole(2),
        "reference": ufunc,
        "scalar": lambda b, x, y: getattr(b, method)(x, y),
    }
    return op(ELEMENTWISE, formula=f"z = x {sign} y", symbol=sign, onnx=onnx, no_gradient=WHOLE_NUMBERS)(
        type(name, (), members)
    )


bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "and_", "Bits set in both.", "&", "BitwiseAnd")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "or_", "Bits set in one or both.", "|", "BitwiseOr")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "xor", "Bits set in exactly one.", "⊻", "BitwiseXor")


@op(ELEMENTWISE, formula="y = bits of x inverted", symbol="~", no_gradient=WHOLE_NUMBERS, onnx="BitwiseNot")
class bitwise_not:
    """All bits inverted: -x - 1 of signed whole numbers."""

    infer = same_whole
    in_place = (0,)
    samples = whole(1)

    def reference(x):
        return np.invert(x)

    def scalar(b, x):
        return b.not_(x)


@op(ELEMENTWISE, formula="z = x · 2^y", symbol="≪", no_gradient=WHOLE_NUMBERS)
class shift_left:
    """Bits moved up by y places, zeros from below.  An amount that is no position of a bit gives 0."""

    infer = same_whole
    in_place = (0, 1)
    samples = shifts

    def reference(x, y):
        return np.left_shift(x, y)

    def scalar(b, x, y):
        return b.shift_left(x, y)


@op(ELEMENTWISE, formula="z = ⌊x / 2^y⌋", symbol="≫", no_gradient=WHOLE_NUMBERS)
class shift_right:
    """Bits moved down by y places; the sign stays.  An amount that is no position of a bit gives 0, or -1 below 0."""

    infer = same_whole
    in_place = (0, 1)
    samples = shifts

    def reference(x, y):
        return np.right_shift(x, y)

    def scalar(b, x, y):
        return b.shift_right(x, y)


@op(ELEMENTWISE, formula="z = x xor y", symbol="⊕", no_gradient="booleans have no gradient", onnx="Xor")
class logical_xor:
    """Whether exactly one of two booleans holds."""

    infer = logical
    in_place = (0, 1)
    samples = samples(2, dtypes="bool")

    def reference(x, y):
        return np.logical_xor(x, y)

    def scalar(b, x, y):
        return b.xor(x, y)


def kinds():
    yield from samples(1)()
    yield (np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e-45, 3e38]),), {}


def tested(*types, **_):
    return same_float(*types).with_dtype(bool_)


@op(ELEMENTWISE, formula="y = x is no number", symbol="nan?", no_gradient="a test is a step", onnx="IsNaN")
class isnan:
    """Whether x is NaN, which no comparison with a number finds."""

    infer = tested
    samples = kinds

    def reference(x):
        return np.isnan(x)

    def scalar(b, x):
        return b.is_nan(x)


@op(ELEMENTWISE, formula="y = |x| = ∞", symbol="inf?", no_gradient="a test is a step", onnx="IsInf")
class isinf:
    """Whether x is an infinity, of either sign."""

    infer = tested
    samples = kinds

    def reference(x):
        return np.isinf(x)

    def scalar(b, x):
        return b.equal(b.abs(x), b.constant(np.inf, x))


@op(ELEMENTWISE, formula="y = |x| < ∞", symbol="finite?", no_gradient="a test is a step")
class isfinite:
    """Whether x is neither infinite nor NaN."""

    infer = tested
    samples = kinds

    def reference(x):
        return np.isfinite(x)

    def scalar(b, x):
        return b.less(b.abs(x), b.constant(np.inf, x))
