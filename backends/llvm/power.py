"""x to the power y, by exp(y log|x|) with the logarithm carried in twice the precision.

float goes through double arithmetic, where 29 spare bits make that precision plain; double keeps the
logarithm as an unevaluated sum of two doubles with about 66 bits (Dekker, A floating-point technique for
extending the available precision, 1971). Special values are those of IEEE 754 pow.
"""

import math

from . import coefficients as c
from .emitter import Function, Reg, constant, element
from .exponential import exp, log
from .polynomial import horner, nearest_multiple, scale, split_exponent

Pair = tuple[Reg, Reg]  # an unevaluated sum, the first the rounded value


def pow(b: Function, x: Reg, y: Reg) -> Reg:
    """x^y; NaN for a negative x and a y that is no integer; 1 for y = 0 and for x = 1, whatever the other
    is."""
    if element(x.type) == "float":
        wide = _pow(b, b.fpext(x, "double"), b.fpext(y, "double"), precise=False)
        return b.fptrunc(wide, "float")
    return _pow(b, x, y, precise=True)


def roots(b: Function, x: Reg, quarters: int) -> Reg:
    """x^(quarters / 4) of a float, as products of square roots in double; `quarters` is no multiple of 4.

    Each root and each product rounds to 53 bits, so the result is that of the power rounded once, but for one in
    millions.
    """
    if element(x.type) != "float" or quarters % 4 == 0:
        raise ValueError(f"no roots for {quarters}/4 of {x.type}")
    # What is no number below zero: the root of -0 is -0, that of -inf no number, the power of both is positive.
    plain = b.fabs(x)
    ends = b.or_(b.fcmp("oeq", plain, 0.0), b.fcmp("oeq", plain, math.inf))
    wide = b.fpext(b.select(ends, plain, x), "double")
    second = b.sqrt(wide)
    total, power = None, abs(quarters)
    factors = [b.sqrt(second)] * (power % 2) + [second] * (power // 2 % 2) + [wide] * (power // 4)
    for factor in factors:
        total = factor if total is None else b.fmul(total, factor)
    assert total is not None
    if quarters < 0:
        total = b.fdiv(1.0, total)
    return b.fptrunc(total, "float")


def _pow(b: Function, x: Reg, y: Reg, precise: bool) -> Reg:
    size = b.fabs(x)
    magnitude = _power_pair(b, size, y) if precise else exp(b, b.fmul(y, log(b, size)))
    whole = b.fcmp("oeq", b.ftrunc(y), y)
    half = b.fmul(y, 0.5)
    odd = b.and_(whole, b.fcmp("one", b.ftrunc(half), half))
    result = b.select(odd, b.copysign(magnitude, x), magnitude)
    below_zero = b.and_(b.fcmp("olt", x, 0.0), b.fcmp("ogt", x, -math.inf))
    undefined = b.and_(below_zero, b.fcmp("une", b.ftrunc(y), y))
    result = b.select(undefined, constant(math.nan, x.type), result)
    one = b.or_(b.fcmp("oeq", x, 1.0), b.fcmp("oeq", y, 0.0))
    one = b.or_(one, b.and_(b.fcmp("oeq", x, -1.0), b.fcmp("oeq", b.fabs(y), math.inf)))
    return b.select(one, constant(1.0, x.type), result)


def _power_pair(b: Function, x: Reg, y: Reg) -> Reg:
    """exp(y log x) for x >= 0, with the product carried as a pair."""
    high, low = _log_pair(b, x)
    # log at the ends, so that the product below has the right sign and the right NaN.
    high = b.select(b.fcmp("oeq", x, 0.0), constant(-math.inf, x.type), high)
    high = b.select(b.fcmp("ueq", x, math.inf), x, high)
    product = b.fmul(y, high)
    tail = b.fma(y, low, b.fma(y, high, b.fneg(product)))
    # Far outside, the result is 0 or inf, and the tail would be inf - inf.
    inside = b.fcmp("olt", b.fabs(product), 800.0)
    product = b.minimum(b.maximum(product, -800.0), 800.0)
    return _exp_pair(b, product, b.select(inside, tail, constant(0.0, x.type)))


def _fast_two_sum(b: Function, x: Reg, y: Reg) -> Pair:
    """x + y exactly, for |x| >= |y| or x = 0."""
    total = b.fadd(x, y)
    return total, b.fsub(y, b.fsub(total, x))


def _two_product(b: Function, x: Reg, y: Reg | float) -> Pair:
    product = b.fmul(x, y)
    return product, b.fma(x, y, b.fneg(product))


def _log_pair(b: Function, x: Reg) -> Pair:
    """log(x) for a positive finite x, as a pair.

    log(m) = 2 atanh(s) = 2s + s z (2/3 + z T(z)), s = (m-1)/(m+1), z = s^2. Only z T(z) is taken in plain
    double: it counts less than 2^-12 of the sum.
    """
    m, e = split_exponent(b, x)
    f = b.fsub(m, 1.0)
    d = b.fadd(m, 1.0)
    reciprocal = b.fdiv(1.0, d)
    s = b.fmul(f, reciprocal)
    d_low = b.fsub(m, b.fsub(d, 1.0))
    s_low = b.fmul(b.fma(b.fneg(s), d_low, b.fma(b.fneg(s), d, f)), reciprocal)
    z, z_low = _two_product(b, s, s)
    z_low = b.fma(b.fmul(s, 2.0), s_low, z_low)
    w, w_low = _fast_two_sum(b, constant(c.TWO_THIRDS[64][0], x.type), b.fmul(z, horner(b, z, c.POW_S[64])))
    w_low = b.fadd(w_low, c.TWO_THIRDS[64][1])
    zw, zw_low = _two_product(b, z, w)
    zw_low = b.fma(z_low, w, b.fma(z, w_low, zw_low))
    v, v_low = _two_product(b, s, zw)
    v_low = b.fma(s_low, zw, b.fma(s, zw_low, v_low))
    p, p_low = _two_product(b, e, c.LN2[64][0])
    p_low = b.fma(e, c.LN2[64][1], p_low)
    total, first = _fast_two_sum(b, p, b.fmul(s, 2.0))
    total, second = _fast_two_sum(b, total, v)
    low = b.fadd(b.fadd(first, second), b.fadd(b.fadd(p_low, v_low), b.fmul(s_low, 2.0)))
    return _fast_two_sum(b, total, low)


def _exp_pair(b: Function, high: Reg, low: Reg) -> Reg:
    """exp(high + low) for |high| <= 800."""
    n, shifted = nearest_multiple(b, high, c.LOG2_E[64][0])
    r = b.fma(n, -c.LN2[64][0], high)
    r = b.fadd(r, b.fma(n, -c.LN2[64][1], low))
    p = b.fma(b.fmul(r, r), horner(b, r, c.EXP[64]), r)
    return scale(b, b.fadd(p, 1.0), shifted)
