"""atan and atan2: the angle of a slope low/high with 0 <= low <= high, from one polynomial on |r| <= tan(pi/8).

atan(low/high) = pi/4 + atan((low - high)/(low + high)) above tan(pi/8); beyond the diagonal pi/2 less it
"""

import math

from . import coefficients as c
from .emitter import Function, Reg, constant
from .polynomial import format_of, horner

TAN_EIGHTH = 0.4142135623730951  # tan(pi/8)


def atan(b: Function, x: Reg) -> Reg:
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    t, one = b.fabs(x), constant(1.0, x.type)
    over = b.fcmp("ogt", t, 1.0)
    return b.copysign(_angle(b, b.select(over, one, t), b.select(over, t, one), over), x)


def atan2(b: Function, y: Reg, x: Reg) -> Reg:
    """The angle in [-pi, pi] of the point (x, y); signs of zeros count, as in C."""
    form, one = format_of(x), constant(1.0, x.type)
    ay, ax = b.fabs(y), b.fabs(x)
    steep = b.fcmp("ogt", ay, ax)
    low, high = b.select(steep, ax, ay), b.select(steep, ay, ax)
    # 0/0 and inf/inf: the angles C's Annex F gives them are those of 0/1 and 1/1.
    both = b.fcmp("oeq", low, math.inf)
    low = b.select(both, one, low)
    high = b.select(b.or_(both, b.fcmp("oeq", high, 0.0)), one, high)
    # Near the end of the range low + high would overflow.
    large = b.fcmp("ogt", high, 2.0 ** (form.bias - 2))
    factor = b.select(large, constant(0.125, x.type), one)
    angle = _angle(b, b.fmul(low, factor), b.fmul(high, factor), steep)
    high_pi, low_pi = (2.0 * part for part in c.HALF_PI[form.bits][:2])
    left = b.fcmp("olt", b.copysign(one, x), 0.0)
    angle = b.select(left, b.fsub(high_pi, b.fsub(angle, low_pi)), angle)
    return b.select(b.fcmp("uno", x, y), b.fadd(x, y), b.copysign(angle, y))


def _angle(b: Function, low: Reg, high: Reg, over: Reg) -> Reg:
    """atan(low/high), or pi/2 less that where `over` holds."""
    bits = format_of(low).bits
    upper = b.fcmp("ogt", low, b.fmul(high, TAN_EIGHTH))
    r = b.fdiv(b.select(upper, b.fsub(low, high), low), b.select(upper, b.fadd(low, high), high))
    z = b.fmul(r, r)
    near = b.fma(b.fmul(r, z), horner(b, z, c.ATAN[bits]), r)
    pi_high, pi_low = c.HALF_PI[bits][:2]
    zero = constant(0.0, low.type)
    quarter_high = b.select(upper, constant(pi_high / 2, low.type), zero)
    quarter_low = b.select(upper, constant(pi_low / 2, low.type), zero)
    direct = b.fadd(quarter_high, b.fadd(near, quarter_low))
    # pi/2 - (pi/4 + near) = pi/4 - near: the parts of pi are put together before anything rounds.
    rest_high, rest_low = b.fsub(pi_high, quarter_high), b.fsub(pi_low, quarter_low)
    return b.select(over, b.fsub(rest_high, b.fsub(near, rest_low)), direct)
