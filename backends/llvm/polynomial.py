"""What the vector functions share: the two float formats, Horner's rule, powers of two made from bits.

Everything here is written with operations whose result IEEE 754 fixes to the last bit, so a lane of any
vector width and a scalar agree exactly, on every processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .emitter import Function, Reg, constant, element, like


@dataclass(frozen=True, slots=True)
class Format:
    """A binary float: its bits as an integer are sign, exponent + bias, `mantissa` bits behind the point."""

    bits: int
    mantissa: int
    bias: int
    smallest_normal: float

    @property
    def integer(self) -> str:
        return f"i{self.bits}"

    @property
    def rounder(self) -> float:
        """1.5 * 2^mantissa: adding it leaves a number rounded to an integer in the low mantissa bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def rounder_bits(self) -> int:
        return ((self.bias + self.mantissa) << self.mantissa) | (1 << (self.mantissa - 1))


FORMATS = {"float": Format(32, 23, 127, 2.0**-126), "double": Format(64, 52, 1023, 2.0**-1022)}


SCALES = {  # vectors that AVX-512 multiplies by powers of two
    "<16 x float>": ("x86.avx512.mask.scalef.ps.512", "i16 -1"),
    "<8 x double>": ("x86.avx512.mask.scalef.pd.512", "i8 -1"),
}


def format_of(x: Reg) -> Format:
    """The format of a scalar or of a vector's lanes; TypeError for anything but float and double."""
    try:
        return FORMATS[element(x.type)]
    except KeyError:
        raise TypeError(f"float or double wanted, not {x.type}") from None


def horner(b: Function, x: Reg, coefficients: Sequence[float]) -> Reg:
    """sum c_k x^k, one fma for each step, lowest degree first."""
    p = constant(coefficients[-1], x.type)
    for c in reversed(coefficients[:-1]):
        p = b.fma(p, x, c)
    return p


def nearest_multiple(b: Function, x: Reg, inverse: float) -> tuple[Reg, Reg]:
    """n = x * inverse rounded to an integer, as a float and as the integer bits of n + rounder.

    Subtract `rounder_bits` from the second for n itself; its low bits are those of n already.
    Valid for |n| < 2^(mantissa - 1).
    """
    form = format_of(x)
    shifted = b.fma(x, inverse, form.rounder)
    return b.fsub(shifted, form.rounder), b.bitcast(shifted, like(x.type, form.integer))


def from_bits(b: Function, exponent: Reg, type: str) -> Reg:
    """The float whose biased exponent is given and whose mantissa is 0: 2^(exponent - bias)."""
    return b.bitcast(b.shl(exponent, FORMATS[element(type)].mantissa), type)


def scale(b: Function, p: Reg, shifted: Reg) -> Reg:
    """p * 2^n with `shifted` from `nearest_multiple`, |n| < 2 * bias, rounded once even when it is denormal.

    The power goes in as two halves, so that neither leaves the normal range; the first product is exact.  Where one
    instruction does it, with the same bits, it is that.
    """
    form = format_of(p)
    if b.module.wide and p.type in SCALES:
        name, mask = SCALES[p.type]
        n = b.fsub(b.bitcast(shifted, p.type), form.rounder)
        return b.intrinsic(name, [], p.type, p, n, p, mask, "i32 4")  # 4: rounded as the thread rounds
    both = b.add(shifted, 2 * form.bias - form.rounder_bits)
    first = b.lshr(both, 1)
    second = b.sub(both, first)
    return b.fmul(b.fmul(p, from_bits(b, first, p.type)), from_bits(b, second, p.type))


def scale_normal(b: Function, shifted: Reg, type: str) -> Reg:
    """2^n for an n whose power is a normal number."""
    form = FORMATS[element(type)]
    return from_bits(b, b.add(shifted, form.bias - form.rounder_bits), type)


def split_exponent(b: Function, x: Reg, subnormals: bool = True) -> tuple[Reg, Reg]:
    """x = m * 2^e for a positive finite x, with sqrt(1/2) <= m < sqrt(2); both as floats of x's type."""
    form = format_of(x)
    integer = like(x.type, form.integer)
    zero = 2.0**form.mantissa  # in a float at least this large the last bit counts 1
    offset = constant(zero + form.bias, x.type)
    if subnormals:
        up = form.mantissa + 1
        tiny = b.fcmp("olt", x, form.smallest_normal)
        x = b.select(tiny, b.fmul(x, 2.0**up), x)
        offset = b.select(tiny, constant(zero + form.bias + up, x.type), offset)
    root = {23: 0x3F3504F3, 52: 0x3FE6A09E667F3BCD}[form.mantissa]  # the bits of sqrt(1/2)
    above = b.add(b.bitcast(x, integer), (form.bias << form.mantissa) - root)
    biased = b.lshr(above, form.mantissa)
    whole = b.or_(biased, (form.bias + form.mantissa) << form.mantissa)
    e = b.fsub(b.bitcast(whole, x.type), offset)
    m = b.bitcast(b.add(b.and_(above, (1 << form.mantissa) - 1), root), x.type)
    return m, e
