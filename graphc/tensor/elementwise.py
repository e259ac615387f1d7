"""Functions of tensors that work element by element, under the names of NumPy and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import UnsupportedError
from graphc.ir.types import dtype_of
from graphc.tensor import recording
from graphc.tensor.promotion import cast, common_dtype, elementwise
from graphc.tensor.recording import here
from graphc.tensor.shaping import as_tensor


def _elementwise(name: str, summary: str) -> Callable[..., Any]:
    def function(*operands: Any) -> Any:
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = (as_tensor(operands[0]),)
        result = elementwise(name, *operands)
        if result is NotImplemented:
            kinds = ", ".join(type(operand).__name__ for operand in operands)
            raise TypeError(f"{name} needs tensors, arrays or numbers, not {kinds}")
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = summary
    return function


add = _elementwise("add", "x + y")
sub = _elementwise("sub", "x - y")
mul = _elementwise("mul", "x · y, element by element")
div = _elementwise("div", "x / y")
neg = _elementwise("neg", "-x")
abs = _elementwise("abs", "|x|")
sign = _elementwise("sign", "-1, 0 or 1")
exp = _elementwise("exp", "e^x")
log = _elementwise("log", "the natural logarithm")
log1p = _elementwise("log1p", "ln(1 + x)")
expm1 = _elementwise("expm1", "e^x - 1")
sqrt = _elementwise("sqrt", "the square root")
tanh = _elementwise("tanh", "the hyperbolic tangent")
sigmoid = _elementwise("sigmoid", "1/(1 + e^-x)")
erf = _elementwise("erf", "the error function")
sin = _elementwise("sin", "the sine")
cos = _elementwise("cos", "the cosine")
relu = _elementwise("relu", "max(0, x)")
maximum = _elementwise("maximum", "the larger of two")
minimum = _elementwise("minimum", "the smaller of two")
where = _elementwise("where", "x where the condition holds, else y")
logical_and = _elementwise("logical_and", "x and y")
logical_or = _elementwise("logical_or", "x or y")
logical_not = _elementwise("logical_not", "not x")
logical_xor = _elementwise("logical_xor", "whether exactly one of x and y holds")
tan = _elementwise("tan", "the tangent")
asin = _elementwise("asin", "the angle whose sine is x")
acos = _elementwise("acos", "the angle whose cosine is x")
atan = _elementwise("atan", "the angle whose tangent is x")
atan2 = _elementwise("atan2", "the angle of the point with ordinate x and abscissa y")
sinh = _elementwise("sinh", "the hyperbolic sine")
cosh = _elementwise("cosh", "the hyperbolic cosine")
asinh = _elementwise("asinh", "the inverse of sinh")
acosh = _elementwise("acosh", "the inverse of cosh")
atanh = _elementwise("atanh", "the inverse of tanh")
exp2 = _elementwise("exp2", "2^x")
log2 = _elementwise("log2", "the logarithm to base 2")
floor_divide = _elementwise("floor_divide", "the largest whole number <= x/y")
remainder = _elementwise("remainder", "x - y·floor(x/y), with the sign of y")
fmod = _elementwise("fmod", "x - y·trunc(x/y), with the sign of x")
shift_left = _elementwise("shift_left", "x·2^y of whole numbers")
shift_right = _elementwise("shift_right", "floor(x/2^y) of whole numbers")


def _staircase(name: str, summary: str) -> Callable[..., Any]:
    """Rounding: whole numbers stay what they are."""
    of_floats = _elementwise(name, summary)

    def function(x: Any) -> Any:
        x = as_tensor(x)
        return of_floats(x) if x.type.dtype.is_float else x

    function.__name__ = function.__qualname__ = name
    function.__doc__ = summary
    return function


floor = _staircase("floor", "the largest whole number <= x")
ceil = _staircase("ceil", "the smallest whole number >= x")
round = _staircase("round", "the nearest whole number, of two the even one")
trunc = _staircase("trunc", "x without its fraction")


def log10(x: Any) -> Any:
    """The logarithm to base 10."""
    return div(log(x), math.log(10.0))


def _whole(name: str, *operands: Any) -> bool:
    """Whether operands are whole numbers, rather than booleans; refuses others."""
    dtypes = [common_dtype(name, (operand,)) for operand in operands if _operand(operand)]
    if len(dtypes) < len(operands) or any(dtype.is_float for dtype in dtypes):
        shown = ", ".join(map(str, dtypes)) if dtypes else "no numbers"
        raise UnsupportedError(
            f"{name} of {shown}: it takes booleans or whole numbers", span=here(), fix="compare first: x > 0"
        )
    return any(dtype.kind != "bool" for dtype in dtypes)


def bitwise_and(x: Any, y: Any) -> Any:
    """Bits set in both whole numbers; x and y of booleans."""
    return elementwise("bitwise_and" if _whole("&", x, y) else "logical_and", x, y)


def bitwise_or(x: Any, y: Any) -> Any:
    """Bits set in one of two whole numbers; x or y of booleans."""
    return elementwise("bitwise_or" if _whole("|", x, y) else "logical_or", x, y)


def bitwise_xor(x: Any, y: Any) -> Any:
    """Bits set in exactly one of two whole numbers; whether exactly one of two booleans holds."""
    return elementwise("bitwise_xor" if _whole("^", x, y) else "logical_xor", x, y)


def invert(x: Any) -> Any:
    """All bits of a whole number inverted; not x of booleans."""
    return elementwise("bitwise_not" if _whole("~", x) else "logical_not", x)


def isnan(x: Any) -> Any:
    """Whether x is NaN."""
    return _tested("isnan", x)


def isinf(x: Any) -> Any:
    """Whether x is infinite."""
    return _tested("isinf", x)


def isfinite(x: Any) -> Any:
    """Whether x is a number: neither infinite nor NaN."""
    return _tested("isfinite", x)


def _tested(name: str, x: Any) -> Any:
    x = as_tensor(x)
    return elementwise(name, x if x.type.dtype.is_float else cast(x, dtype_of("float64")))


def pow(x: Any, y: Any) -> Any:
    """x^y.  A whole power of whole numbers is computed by multiplication, as NumPy does."""
    dtype = common_dtype("pow", (x, y)) if _operand(x) and _operand(y) else None
    if dtype is None:
        return NotImplemented
    if dtype.is_float:
        return elementwise("pow", x, y)
    if isinstance(y, (int, np.integer)) and 1 <= y <= 64:
        return math.prod([x] * (int(y) - 1), start=x)
    raise UnsupportedError(
        f"the power {y} of whole numbers ({dtype})", span=here(), fix='cast first: .astype("float32")'
    )


def _operand(x: Any) -> bool:
    from graphc.tensor.tensor import Tensor

    return isinstance(x, (Tensor, np.ndarray, bool, int, float, np.generic))


def square(x: Any) -> Any:
    """x·x"""
    return mul(x, x)


recording.entries(globals())
