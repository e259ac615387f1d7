"""sin and cos, right for every finite argument.

Up to a bound, x - n pi/2 is taken with three parts of pi/2 and fma. A vector with a lane past the
bound calls a function out of line, where these lanes go one by one through Payne and Hanek's reduction with
1280 bits of 2/pi; the lane's result depends on the lane alone, so all widths agree bit for bit.
Source: Payne and Hanek, Radian reduction for trigonometric functions, SIGNUM 18 (1983).
"""

from . import coefficients as c
from .emitter import Function, Module, Reg, constant, element, lanes, like, mangle
from .polynomial import format_of, horner, nearest_multiple

# Below these n * HALF_PI[0] still cancels against x without rounding; beyond, the slow road is taken.
BOUND = {32: 2.0**17, 64: 2.0**27}


def sin(b: Function, x: Reg) -> Reg:
    """Sine; NaN for infinities."""
    return _with_large(b, x, "sin", quarter=0)


def cos(b: Function, x: Reg) -> Reg:
    """Cosine; NaN for infinities."""
    return _with_large(b, x, "cos", quarter=1)


def _with_large(b: Function, x: Reg, name: str, quarter: int) -> Reg:
    bits = format_of(x).bits
    magnitude = b.fabs(x)
    n, shifted = nearest_multiple(b, magnitude, c.TWO_OVER_PI[bits][0])
    r = magnitude
    for part in c.HALF_PI[bits]:
        r = b.fma(n, -part, r)
    direct = _with_sign(b, _sin_cos(b, r, b.add(shifted, quarter)), x, quarter)

    finite = b.fcmp("olt", magnitude, float("inf"))
    large = b.and_(b.fcmp("oge", magnitude, BOUND[bits]), finite)
    any_large = b.intrinsic("vector.reduce.or", [large.type], "i1", large) if lanes(x.type) else large
    helper = _large_function(b.module, x.type, name, quarter)
    start, slow, done = b.current, b.fresh("large"), b.fresh("reduced")
    b.cond_br(any_large, slow, done)
    b.begin(slow)
    exact = b.call(helper, x.type, x)
    b.br(done)
    b.begin(done)
    slow_result = b.phi(x.type, (direct, start), (exact, slow))
    return b.select(large, slow_result, direct)


def _sin_cos(b: Function, r: Reg, quadrant: Reg) -> Reg:
    """sin(r + quadrant pi/2) for |r| <= pi/4; only the low two bits of `quadrant` count."""
    form = format_of(r)
    z = b.fmul(r, r)
    sine = b.fma(b.fmul(r, z), horner(b, z, c.SIN[form.bits]), r)
    cosine = b.fma(b.fmul(z, z), horner(b, z, c.COS[form.bits]), b.fma(z, -0.5, 1.0))
    odd = b.icmp("ne", b.and_(quadrant, 1), 0)
    chosen = b.bitcast(b.select(odd, cosine, sine), quadrant.type)
    sign = b.shl(b.and_(quadrant, 2), form.bits - 2)
    return b.bitcast(b.xor(chosen, sign), r.type)


def _with_sign(b: Function, result: Reg, x: Reg, quarter: int) -> Reg:
    """sin is odd, so its argument's sign goes to the result; cos is even."""
    if quarter:
        return result
    form = format_of(x)
    integer = like(x.type, form.integer)
    sign = b.and_(b.bitcast(x, integer), -(1 << (form.bits - 1)))
    return b.bitcast(b.xor(b.bitcast(result, integer), sign), x.type)


def _large_function(module: Module, type: str, name: str, quarter: int) -> str:
    """The out-of-line function for `type`: every lane through the scalar double one."""
    scalar = f"graphc.{name}_large.f64"
    if scalar not in module.functions:
        f = module.function(scalar, {"x": "double"}, returns="double", internal=True, inline=False)
        f.ret(_payne_hanek(f, f.x, quarter))
    if type == "double":
        return scalar
    full = f"graphc.{name}_large.{mangle(type)}"
    if full not in module.functions:
        f = module.function(full, {"x": type}, returns=type, internal=True, inline=False)
        f.ret(_lane_by_lane(f, scalar))
    return full


def _lane_by_lane(f: Function, scalar: str) -> Reg:
    def one(x: Reg) -> Reg:
        if element(x.type) == "double":
            return f.call(scalar, "double", x)
        return f.fptrunc(f.call(scalar, "double", f.fpext(x, "double")), "float")

    if not lanes(f.x.type):
        return one(f.x)
    count, item = lanes(f.x.type), element(f.x.type)
    size = format_of(f.x).bits // 8
    memory = f.alloca(item, count)
    f.store(f.x, memory)
    f.br("lane")
    f.begin("lane")
    following = Reg("%following", "i64")
    lane = f.phi("i64", (constant(0, "i64"), "entry"), (following, "lane"))
    address = f.gep(memory, f.mul(lane, size))
    f.store(one(f.load(address, item)), address)
    f.line(f"{following.name} = add i64 {lane.name}, 1")
    f.cond_br(f.icmp("ult", following, count), "lane", "done")
    f.begin("done")
    return f.load(memory, f.x.type)


def _payne_hanek(f: Function, x: Reg, quarter: int) -> Reg:
    """sin(x + quarter pi/2) for one finite double of at least 2^17.

    |x| = m 2^k with a 53-bit integer m. The bits of 2/pi that give multiples of 4 are skipped, so the product
    of m with the next 192 bits is x 2/pi mod 4 with an error below 2^-137, while no double comes closer to a
    multiple of pi/2 than about 2^-61.
    """
    # 64 zero bits in front let the window start before the binary point; lanes that are not large come here
    # too, with an exponent that would point outside the table, and their result is not used.
    table = f.module.table([0, *c.TWO_OVER_PI_WORDS], "i64")
    word = f.bitcast(x, "i64")
    exponent = f.smax(f.and_(f.lshr(word, 52), 0x7FF), 1075 - 60)
    exponent = f.smin(exponent, 2046)
    mantissa = f.or_(f.and_(word, (1 << 52) - 1), 1 << 52)
    skipped = f.sub(exponent, 1075 + 2 - 64)
    base = f.gep(table, f.shl(f.lshr(skipped, 6), 3))
    words = [f.load(f.gep(base, 8 * i), "i64", invariant=True) for i in range(4)]
    shift = f.and_(skipped, 63)
    a, b, d = (f.intrinsic("fshl", ["i64"], "i64", words[i], words[i + 1], shift) for i in range(3))
    m = f.zext(mantissa, "i128")
    low = f.lshr(f.mul(m, f.zext(d, "i128")), 64)
    middle = f.add(f.mul(m, f.zext(b, "i128")), low)
    turns = f.add(f.shl(f.zext(f.mul(mantissa, a), "i128"), 64), middle)  # in units of 2^-126 quarters
    n = f.lshr(f.add(turns, 1 << 125), 126)
    fraction = f.sub(turns, f.shl(n, 126))
    negative = f.icmp("slt", fraction, 0)
    size = f.select(negative, f.sub(0, fraction), fraction)
    # As a float: leading zeros out, then the top 64 bits as 53 + 11, each exact.
    zeros = f.intrinsic("ctlz", ["i128"], "i128", f.or_(size, 1), "i1 false")
    top = f.trunc(f.lshr(f.shl(size, zeros), 64), "i64")
    unit = f.bitcast(f.shl(f.sub(1023 - 62, f.trunc(zeros, "i64")), 52), "double")
    high = f.fmul(f.uitofp(f.and_(top, -2048), "double"), unit)
    rest = f.fmul(f.uitofp(f.and_(top, 2047), "double"), unit)
    product = f.fmul(high, c.HALF_PI[64][0])
    error = f.fma(high, c.HALF_PI[64][0], f.fneg(product))
    r = f.fadd(product, f.fma(high, c.HALF_PI[64][1], f.fma(rest, c.HALF_PI[64][0], error)))
    r = f.select(negative, f.fneg(r), r)
    result = _sin_cos(f, r, f.add(f.trunc(n, "i64"), quarter))
    return _with_sign(f, result, x, quarter)
