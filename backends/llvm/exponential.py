"""exp, log and what is made of them: exp2, expm1, log2, log1p, tanh, sigmoid.

One reduction serves them all: x = n ln2 + r with |r| <= ln2/2 and a polynomial for exp(r) - 1; for the
logarithm x = 2^e m with sqrt(1/2) <= m < sqrt(2) and a polynomial for log(m).
"""

import math

from . import coefficients as c
from .emitter import Function, Reg, constant
from .polynomial import format_of, horner, nearest_multiple, scale, scale_normal, split_exponent


def expm1_reduced(b: Function, x: Reg) -> tuple[Reg, Reg]:
    """exp(r) - 1 and the bits of n, where x = n ln2 + r and |r| <= ln2/2.

    The product n * LN2[0] is exact inside the fma and so is the difference, which leaves only the last fma to
    round.
    """
    bits = format_of(x).bits
    n, shifted = nearest_multiple(b, x, c.LOG2_E[bits][0])
    r = b.fma(n, -c.LN2[bits][0], x)
    r = b.fma(n, -c.LN2[bits][1], r)
    return b.fma(b.fmul(r, r), horner(b, r, c.EXP[bits]), r), shifted


def exp(b: Function, x: Reg) -> Reg:
    """e^x. Overflow gives inf, underflow goes through the denormals to 0."""
    # Past these ends the result is inf or 0 anyway; inside, n stays where `scale` is valid.
    low, high = (-104.0, 89.0) if format_of(x).bits == 32 else (-746.0, 710.0)
    p, shifted = expm1_reduced(b, b.minimum(b.maximum(x, low), high))
    return scale(b, b.fadd(p, 1.0), shifted)


def exp2(b: Function, x: Reg) -> Reg:
    """2^x, exact for whole x. The fraction x - n is exact, and e^((x - n) ln2) is what `exp` computes."""
    bits = format_of(x).bits
    low, high = (-151.0, 129.0) if bits == 32 else (-1076.0, 1025.0)
    limited = b.minimum(b.maximum(x, low), high)
    n, shifted = nearest_multiple(b, limited, 1.0)
    r = b.fmul(b.fsub(limited, n), math.log(2.0))
    p = b.fma(b.fmul(r, r), horner(b, r, c.EXP[bits]), r)
    return scale(b, b.fadd(p, 1.0), shifted)


def expm1(b: Function, x: Reg) -> Reg:
    """e^x - 1, accurate near 0."""
    form = format_of(x)
    low, high = (-18.0, 89.0) if form.bits == 32 else (-38.0, 710.0)
    p, shifted = expm1_reduced(b, b.minimum(b.maximum(x, low), high))
    # 2^n itself overflows one step before the result does, so the sum is made at half size.
    half = scale_normal(b, b.sub(shifted, 1), x.type)
    result = b.fmul(b.fma(half, p, b.fsub(half, 0.5)), 2.0)
    tiny = 2.0 ** -(form.mantissa + 2)
    return b.select(b.fcmp("olt", b.fabs(x), tiny), x, result)


def tanh(b: Function, x: Reg) -> Reg:
    """tanh(x) = -t / (2 + t) with t = expm1(-2|x|), and the sign of x."""
    limit = 10.0 if format_of(x).bits == 32 else 20.0  # 1 to the last bit from here on
    p, shifted = expm1_reduced(b, b.fmul(b.minimum(b.fabs(x), limit), -2.0))
    power = scale_normal(b, shifted, x.type)
    t = b.fma(power, p, b.fsub(power, 1.0))
    return b.copysign(b.fdiv(t, b.fadd(t, 2.0)), x)


def sigmoid(b: Function, x: Reg) -> Reg:
    """1 / (1 + e^-x), through e^-|x| so that the left tail keeps its digits."""
    p, shifted = expm1_reduced(b, b.maximum(b.fneg(b.fabs(x)), -104.0 if format_of(x).bits == 32 else -746.0))
    e = scale(b, b.fadd(p, 1.0), shifted)
    return b.fdiv(b.select(b.fcmp("olt", x, 0.0), e, constant(1.0, x.type)), b.fadd(e, 1.0))


def _log_reduced(b: Function, f: Reg, e: Reg, correction: Reg | None = None) -> Reg:
    """e ln2 + log(1 + f) + correction for sqrt(1/2) <= 1 + f <= sqrt(2)."""
    bits = format_of(f).bits
    square = b.fmul(f, f)
    if bits == 32:
        tail = b.fmul(square, b.fma(f, horner(b, f, c.LOG[32]), -0.5))
    else:
        # log(1+f) = f - f^2/2 + s (f^2/2 + R) with s = f/(2+f): the polynomial in s^2 is a third as long.
        s = b.fdiv(f, b.fadd(f, 2.0))
        z = b.fmul(s, s)
        half_square = b.fmul(square, 0.5)
        tail = b.fma(s, b.fma(z, horner(b, z, c.LOG_S[64]), half_square), b.fneg(half_square))
    tail = b.fma(e, c.LN2[bits][1], tail)
    if correction is not None:
        tail = b.fadd(tail, correction)
    return b.fma(e, c.LN2[bits][0], b.fadd(f, tail))


def _log_domain(b: Function, x: Reg, result: Reg) -> Reg:
    """`result` where x is a positive number; -inf at 0, NaN below, x itself at inf and NaN."""
    outside = b.select(b.fcmp("oeq", x, 0.0), constant(-math.inf, x.type), constant(math.nan, x.type))
    result = b.select(b.fcmp("ogt", x, 0.0), result, outside)
    return b.select(b.fcmp("ueq", x, math.inf), x, result)


def log(b: Function, x: Reg) -> Reg:
    """Natural logarithm. -inf at both zeros, NaN below."""
    m, e = split_exponent(b, x)
    return _log_domain(b, x, _log_reduced(b, b.fsub(m, 1.0), e))


def log2(b: Function, x: Reg) -> Reg:
    """Logarithm to base 2, exact for powers of 2."""
    m, e = split_exponent(b, x)
    natural = _log_reduced(b, b.fsub(m, 1.0), constant(0.0, x.type))
    return _log_domain(b, x, b.fma(natural, c.LOG2_E[format_of(x).bits][0], e))


def log1p(b: Function, x: Reg) -> Reg:
    """log(1 + x), accurate near 0."""
    u = b.fadd(x, 1.0)
    # What the rounding of 1 + x lost, exactly; it counts c/u in the logarithm.
    large = b.fcmp("oge", x, 1.0)
    lost = b.select(large, b.fsub(1.0, b.fsub(u, x)), b.fsub(x, b.fsub(u, 1.0)))
    m, e = split_exponent(b, u, subnormals=False)
    near = b.fcmp("oeq", e, 0.0)
    f = b.select(near, x, b.fsub(m, 1.0))
    correction = b.select(near, constant(0.0, x.type), b.fdiv(lost, u))
    result = _log_domain(b, u, _log_reduced(b, f, e, correction))
    tiny = 2.0 ** -(format_of(x).mantissa + 2)
    return b.select(b.fcmp("olt", b.fabs(x), tiny), x, result)
