"""Elements: the builder that the `scalar` rules of ops are written against.

An `Element` is a register, a scalar or a vector of any width, with the dtype that tells signed from unsigned; the
methods of `Elements` are the numerics contract: no fast-math, NaN wins in minimum and maximum, casts from floats
saturate and turn NaN to 0, integers wrap around. Every lane of every width gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.backends.llvm import vector_math
from graphc.backends.llvm.emitter import Function, Reg, constant, lanes, like, vector
from graphc.ir.types import DType, bool_

_REGISTER = {"float32": "float", "float64": "double", "bool": "i1"}
MOST_QUARTERS = 16  # powers up to the fourth neither overflow nor underflow in float64
_MEMORY = {**_REGISTER, "bool": "i8"}


def register_type(dtype: DType, count: int = 0) -> str:
    """The LLVM type of an element in a register; of `count` lanes when `count` is not 0.

    >>> from graphc.ir.types import bool_, float32
    >>> register_type(float32, 16), register_type(bool_), memory_type(bool_)
    ('<16 x float>', 'i1', 'i8')
    """
    scalar = _REGISTER.get(dtype.name) or f"i{8 * dtype.itemsize}"
    return vector(scalar, count) if count else scalar


def memory_type(dtype: DType, count: int = 0) -> str:
    """The LLVM type of an element in memory, where a bool takes a byte."""
    scalar = _MEMORY.get(dtype.name) or f"i{8 * dtype.itemsize}"
    return vector(scalar, count) if count else scalar


@dataclass(frozen=True, slots=True)
class Element:
    """A value of a dtype in a register."""

    reg: Reg
    dtype: DType

    @property
    def lanes(self) -> int:
        """0 for a scalar."""
        return lanes(self.reg.type)


class Elements:
    """Arithmetic on elements, emitted into a function; names are those of the ops."""

    def __init__(self, f: Function) -> None:
        self.f = f

    def constant(self, value: Any, like: Element) -> Element:
        """A number with the dtype and lanes of another element."""
        return self.number(value, like.dtype, like.lanes)

    def number(self, value: Any, dtype: DType, count: int = 0) -> Element:
        if dtype.is_float:
            plain = float(value)
        else:
            plain = int(dtype.numpy.type(value))
        return Element(constant(plain, register_type(dtype, count)), dtype)

    def splat(self, x: Element, count: int) -> Element:
        """A scalar in every lane; vectors stay as they are."""
        return Element(self.f.splat(x.reg, count), x.dtype) if count and not x.lanes else x

    # Arithmetic -----------------------------------------------------------------------------------------------

    def add(self, x: Element, y: Element) -> Element:
        return self._either(x, y, self.f.fadd, self.f.add)

    def sub(self, x: Element, y: Element) -> Element:
        return self._either(x, y, self.f.fsub, self.f.sub)

    def mul(self, x: Element, y: Element) -> Element:
        return self._either(x, y, self.f.fmul, self.f.mul)

    def div(self, x: Element, y: Element) -> Element:
        """Of floating-point numbers."""
        return Element(self.f.fdiv(x.reg, y.reg), x.dtype)

    def fma(self, x: Element, y: Element, z: Element) -> Element:
        """x*y + z with one rounding: inside contractions only."""
        return Element(self.f.fma(x.reg, y.reg, z.reg), x.dtype)

    def neg(self, x: Element) -> Element:
        return Element(self.f.fneg(x.reg) if x.dtype.is_float else self.f.sub(0, x.reg), x.dtype)

    def abs(self, x: Element) -> Element:
        if x.dtype.is_float:
            return Element(self.f.fabs(x.reg), x.dtype)
        return x if x.dtype.kind == "uint" else self.select(self.less(x, self.constant(0, x)), self.neg(x), x)

    def maximum(self, x: Element, y: Element) -> Element:
        if x.dtype.is_float:
            return Element(self.f.maximum(x.reg, y.reg), x.dtype)
        return self.select(self.less(x, y), y, x)

    def minimum(self, x: Element, y: Element) -> Element:
        if x.dtype.is_float:
            return Element(self.f.minimum(x.reg, y.reg), x.dtype)
        return self.select(self.less(y, x), y, x)

    # Functions ------------------------------------------------------------------------------------------------

    def sqrt(self, x: Element) -> Element:
        return Element(self.f.sqrt(x.reg), x.dtype)

    def floor(self, x: Element) -> Element:
        return Element(self.f.floor(x.reg), x.dtype) if x.dtype.is_float else x

    def ceil(self, x: Element) -> Element:
        return Element(self.f.ceil(x.reg), x.dtype) if x.dtype.is_float else x

    def round(self, x: Element) -> Element:
        """To nearest, ties to even."""
        return Element(self.f.rint(x.reg), x.dtype) if x.dtype.is_float else x

    def trunc(self, x: Element) -> Element:
        """Towards zero."""
        return Element(self.f.ftrunc(x.reg), x.dtype) if x.dtype.is_float else x

    def copysign(self, x: Element, sign: Element) -> Element:
        """|x| with the sign of another number, zeros included; of floating-point numbers."""
        return Element(self.f.copysign(x.reg, sign.reg), x.dtype)

    def pow(self, x: Element, y: Element) -> Element:
        return Element(vector_math.pow(self.f, x.reg, y.reg), x.dtype)

    def power(self, x: Element, exponent: float) -> Element:
        """A power whose exponent is known now: quarters of small whole numbers are square roots."""
        quarters = exponent * 4
        if (
            x.dtype.name == "float32"
            and quarters % 4
            and quarters % 1 == 0
            and abs(quarters) <= MOST_QUARTERS
        ):
            return Element(vector_math.roots(self.f, x.reg, int(quarters)), x.dtype)
        return self.pow(x, self.constant(exponent, x))

    def atan2(self, y: Element, x: Element) -> Element:
        return Element(vector_math.atan2(self.f, y.reg, x.reg), x.dtype)

    def floor_divide(self, x: Element, y: Element) -> Element:
        """The largest whole number <= x/y; of whole numbers 0 where y is 0, as NumPy does."""
        return self._floor_division(x, y)[0]

    def remainder(self, x: Element, y: Element) -> Element:
        """x - y·floor(x/y), exactly, with the sign of y; of whole numbers 0 where y is 0."""
        return self._floor_division(x, y)[1]

    def fmod(self, x: Element, y: Element) -> Element:
        """x - y·trunc(x/y), exactly, with the sign of x; of whole numbers 0 where y is 0."""
        if x.dtype.is_float:
            return Element(self.f.frem(x.reg, y.reg), x.dtype)
        return self._whole_division(x, y)[1]

    def _whole_division(self, x: Element, y: Element) -> tuple[Element, Element]:
        """(quotient towards zero, rest) of whole numbers; no case is left to the processor, which would trap."""
        f, zero, one = self.f, self.constant(0, x), self.constant(1, x)
        odd = self.equal(y, zero)
        if x.dtype.kind == "int":
            minus = self.equal(y, self.constant(-1, x))
            divisor = self.select(self.or_(odd, minus), one, y)
            quotient = Element(f.sdiv(x.reg, divisor.reg), x.dtype)
            rest = Element(f.srem(x.reg, divisor.reg), x.dtype)
            quotient = self.select(minus, self.neg(x), quotient)  # of the least number: wraps
        else:
            divisor = self.select(odd, one, y)
            quotient = Element(f.udiv(x.reg, divisor.reg), x.dtype)
            rest = Element(f.urem(x.reg, divisor.reg), x.dtype)
        return self.select(odd, zero, quotient), self.select(odd, zero, rest)

    def _floor_division(self, x: Element, y: Element) -> tuple[Element, Element]:
        """(x // y, x % y).  For floats the steps of Python's and NumPy's divmod, from the exact rest."""
        zero, one = self.constant(0, x), self.constant(1, x)
        if not x.dtype.is_float:
            quotient, rest = self._whole_division(x, y)
            if x.dtype.kind == "uint":
                return quotient, rest
            crosses = self.and_(
                self.not_equal(rest, zero), self.xor(self.less(rest, zero), self.less(y, zero))
            )
            return (
                self.select(crosses, self.sub(quotient, one), quotient),
                self.select(crosses, self.add(rest, y), rest),
            )
        rest = self.fmod(x, y)
        quotient = self.div(self.sub(x, rest), y)
        crosses = self.and_(self.not_equal(rest, zero), self.xor(self.less(rest, zero), self.less(y, zero)))
        quotient = self.select(crosses, self.sub(quotient, one), quotient)
        rest = self.select(crosses, self.add(rest, y), rest)
        rest = self.select(self.equal(rest, zero), self.copysign(zero, y), rest)
        whole = self.floor(quotient)
        far = self.greater(self.sub(quotient, whole), self.constant(0.5, x))
        whole = self.select(far, self.add(whole, one), whole)
        direct = self.div(x, y)
        whole = self.select(self.equal(quotient, zero), self.copysign(zero, direct), whole)
        return self.select(self.equal(y, zero), direct, whole), rest

    # Bits -----------------------------------------------------------------------------------------------------

    def shift_left(self, x: Element, y: Element) -> Element:
        """x·2^y of whole numbers, wrapping; 0 for y of the width and more."""
        return self.select(self._shifts(y), self._shifted(self.f.shl, x, y), self.constant(0, x))

    def shift_right(self, x: Element, y: Element) -> Element:
        """floor(x/2^y) of whole numbers; for y of the width and more all bits are the sign's."""
        if x.dtype.kind == "int":
            far = self.select(self.less(x, self.constant(0, x)), self.constant(-1, x), self.constant(0, x))
            return self.select(self._shifts(y), self._shifted(self.f.ashr, x, y), far)
        return self.select(self._shifts(y), self._shifted(self.f.lshr, x, y), self.constant(0, x))

    def _shifts(self, y: Element) -> Element:
        width = constant(8 * y.dtype.itemsize, y.reg.type)
        return Element(self.f.icmp("ult", y.reg, width), bool_)

    def _shifted(self, by: Callable[..., Reg], x: Element, y: Element) -> Element:
        """A shift whose amount is less than the width, as the instruction wants it."""
        return Element(by(x.reg, self.f.and_(y.reg, 8 * y.dtype.itemsize - 1)), x.dtype)

    def __getattr__(self, name: str) -> Callable[[Element], Element]:
        """exp, log, tanh, sigmoid, erf, sin, cos ...: the functions of `vector_math`."""
        try:
            function = vector_math.UNARY[name]
        except KeyError:
            raise AttributeError(f"no element operation {name!r}") from None
        return lambda x: Element(function(self.f, x.reg), x.dtype)

    # Comparisons and booleans ---------------------------------------------------------------------------------

    def equal(self, x: Element, y: Element) -> Element:
        return self._compare("oeq", "eq", x, y)

    def not_equal(self, x: Element, y: Element) -> Element:
        return self._compare("une", "ne", x, y)

    def less(self, x: Element, y: Element) -> Element:
        return self._compare("olt", "lt", x, y)

    def less_equal(self, x: Element, y: Element) -> Element:
        return self._compare("ole", "le", x, y)

    def greater(self, x: Element, y: Element) -> Element:
        return self._compare("ogt", "gt", x, y)

    def greater_equal(self, x: Element, y: Element) -> Element:
        return self._compare("oge", "ge", x, y)

    def is_nan(self, x: Element) -> Element:
        """False everywhere for integers."""
        if not x.dtype.is_float:
            return self.number(False, bool_, x.lanes)
        return Element(self.f.fcmp("uno", x.reg, x.reg), bool_)

    def select(self, condition: Element, x: Element, y: Element) -> Element:
        """x where the condition holds, y elsewhere."""
        return Element(self.f.select(condition.reg, x.reg, y.reg), x.dtype)

    def and_(self, x: Element, y: Element) -> Element:
        return Element(self.f.and_(x.reg, y.reg), x.dtype)

    def or_(self, x: Element, y: Element) -> Element:
        return Element(self.f.or_(x.reg, y.reg), x.dtype)

    def xor(self, x: Element, y: Element) -> Element:
        return Element(self.f.xor(x.reg, y.reg), x.dtype)

    def not_(self, x: Element) -> Element:
        return Element(self.f.xor(x.reg, constant(-1 if x.dtype != bool_ else True, x.reg.type)), x.dtype)

    # Conversions ----------------------------------------------------------------------------------------------

    def convert(self, x: Element, dtype: DType) -> Element:
        """Another dtype: see the op `cast`."""
        if dtype == x.dtype:
            return x
        return Element(self._converted(x, dtype), dtype)

    def _converted(self, x: Element, dtype: DType) -> Reg:
        f, source, to = self.f, x.dtype, like(x.reg.type, register_type(dtype))
        if dtype == bool_:
            return self.not_equal(x, self.constant(0, x)).reg
        if source.is_float and dtype.is_float:
            return f.fpext(x.reg, to) if dtype.itemsize > source.itemsize else f.fptrunc(x.reg, to)
        if source.is_float:
            if dtype.kind == "int":
                return f.fptosi_sat(x.reg, to)
            return f.intrinsic("fptoui.sat", [to, x.reg.type], to, x.reg)
        if dtype.is_float:
            return f.sitofp(x.reg, to) if source.kind == "int" else f.uitofp(x.reg, to)
        if dtype.itemsize == source.itemsize and source != bool_:
            return x.reg
        if dtype.itemsize < source.itemsize:
            return f.trunc(x.reg, to)
        return f.sext(x.reg, to) if source.kind == "int" else f.zext(x.reg, to)

    def _either(
        self, x: Element, y: Element, floating: Callable[..., Reg], whole: Callable[..., Reg]
    ) -> Element:
        return Element((floating if x.dtype.is_float else whole)(x.reg, y.reg), x.dtype)

    def _compare(self, floating: str, whole: str, x: Element, y: Element) -> Element:
        if x.dtype.is_float:
            return Element(self.f.fcmp(floating, x.reg, y.reg), bool_)
        sign = "" if whole in ("eq", "ne") else "s" if x.dtype.kind == "int" else "u"
        return Element(self.f.icmp(sign + whole, x.reg, y.reg), bool_)
