"""exp, log, tanh, sigmoid, erf, sin, cos, atan, pow and their kin, emitted as LLVM IR for float and double.

Every function takes the builder and a `Reg`, a scalar or a vector of any width, and gives the result's `Reg`.
Only correctly rounded operations are used (+ - * / sqrt fma and bits), so a lane has the same bits at
every width and on every processor. NaN stays NaN, infinities, signed zeros and denormals come out right, and
there is no branch (`sin` and `cos` have one, for very large arguments). Derivations and error
bounds: docs/design/vector_math.md; polynomials: benchmarks/fit_coefficients.py.
"""

from collections.abc import Callable

from . import coefficients as c
from .arctangent import atan, atan2
from .emitter import Function, Reg
from .exponential import exp, exp2, expm1, expm1_reduced, log, log1p, log2, sigmoid, tanh
from .polynomial import format_of, horner, scale_normal
from .power import pow, roots
from .trigonometry import cos, sin

__all__ = [
    "BINARY",
    "UNARY",
    "atan",
    "atan2",
    "cos",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "pow",
    "roots",
    "rsqrt",
    "sigmoid",
    "sin",
    "tanh",
]


def erf(b: Function, x: Reg) -> Reg:
    """Error function. float32: x P(x^2)/Q(x^2), each polynomial as even and odd part, whose chains are short.

    float64: x (1 + p(x^2)) up to 1, beyond it 1 - exp(-g(|x|)) with g fitted to -log(erfc).
    """
    bits = format_of(x).bits
    magnitude = b.fabs(x)
    if bits == 32:
        limited = b.minimum(magnitude, 3.95)  # 1 to the last bit from here on
        z = b.fmul(limited, limited)
        square = b.fmul(z, z)
        above, below = (
            b.fma(horner(b, square, table[bits][1::2]), z, horner(b, square, table[bits][0::2]))
            for table in (c.ERF_ABOVE, c.ERF_BELOW)
        )
        return b.copysign(b.minimum(b.fdiv(b.fmul(limited, above), below), 1.0), x)
    near = b.fma(x, horner(b, b.fmul(x, x), c.ERF_NEAR[bits]), x)
    g = horner(b, b.minimum(magnitude, 6.0), c.ERF_FAR[bits])
    p, shifted = expm1_reduced(b, b.fneg(g))
    power = scale_normal(b, shifted, x.type)
    far = b.fma(b.fneg(power), p, b.fsub(1.0, power))
    return b.select(b.fcmp("olt", magnitude, 1.0), near, b.copysign(far, x))


def rsqrt(b: Function, x: Reg) -> Reg:
    """1 / sqrt(x), two correctly rounded steps."""
    return b.fdiv(1.0, b.sqrt(x))


UNARY: dict[str, Callable[[Function, Reg], Reg]] = {
    "atan": atan,
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "rsqrt": rsqrt,
}
BINARY: dict[str, Callable[[Function, Reg, Reg], Reg]] = {"atan2": atan2, "pow": pow}
