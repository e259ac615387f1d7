"""Fits the minimax polynomials of `backends/llvm/coefficients.py` and prints that file.

    python benchmarks/fit_coefficients.py > backends/llvm/coefficients.py      (about two minutes)

Each row of `TARGETS` is one polynomial p(x) = sum c_k x^k that stands for f(x) on an interval, with the
largest weighted error |w(x) (f(x) - p(x))| as small as the Remez exchange can make it.  The weight turns the
error of p into the relative error of the function p is a part of.  Coefficients are rounded to the format
from the lowest degree up, and the rest is fitted again after each rounding, so the rounding of one
coefficient is taken up by the next ones.  All arithmetic is mpmath's with 60 digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Real = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True, slots=True)
class Target:
    """One polynomial: what it stands for, where, how errors count, and its degree in each format."""

    name: str
    formula: str
    f: Real
    weight: Real
    low: float
    high: float | tuple[float, float]  # one end for both formats, or (float32, float64)
    degrees: tuple[int | None, int | None]  # float32, float64; None where the format uses another form


def series_safe(direct: Real, series: Real, radius: float = 1e-3) -> Real:
    """`direct`, except near 0 where it cancels and `series` takes over."""
    return lambda x: series(x) if abs(x) < radius else direct(x)


def taylor(coefficient: Callable[[int], mp.mpf], terms: int = 24) -> Real:
    return lambda x: mp.polyval([coefficient(k) for k in reversed(range(terms))], x)


HALF_LN2 = 0.34658 * 1.002  # rounding n may leave r a hair outside ln2/2
QUARTER_PI_SQUARED = (0.785398163397 * 1.0005) ** 2

TARGETS = [
    Target(
        "EXP",
        "(exp(r) - 1 - r) / r^2,  |r| <= ln2/2",
        series_safe(lambda r: (mp.expm1(r) - r) / r**2, taylor(lambda k: 1 / mp.factorial(k + 2))),
        lambda r: abs(r),  # relative error of expm1, which is the hardest user
        -HALF_LN2,
        HALF_LN2,
        (4, 10),
    ),
    Target(
        "LOG",
        "(log(1+f) - f + f^2/2) / f^3,  sqrt(1/2) <= 1+f <= sqrt(2)",
        series_safe(
            lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3, taylor(lambda k: mp.mpf(-1) ** k / (k + 3))
        ),
        lambda f: f**2,
        -0.29290,
        0.41422,
        (8, None),
    ),
    Target(
        "LOG_S",
        "(2 atanh(s) - 2s) / s^3 in z = s^2,  s = f/(2+f)",
        series_safe(
            lambda z: 2 * (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
            taylor(lambda k: mp.mpf(2) / (2 * k + 3)),
        ),
        lambda z: mp.mpf(1),
        0.0,
        0.02944,
        (None, 6),
    ),
    Target(
        "POW_S",
        "(2 atanh(s) - 2s - 2/3 s^3) / s^5 in z = s^2",
        series_safe(
            lambda z: (2 * (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z - mp.mpf(2) / 3) / z,
            taylor(lambda k: mp.mpf(2) / (2 * k + 5)),
        ),
        lambda z: mp.mpf(1),
        0.0,
        0.02944,
        (None, 8),
    ),
    Target(
        "SIN",
        "(sin(r) - r) / r^3 in z = r^2,  |r| <= pi/4",
        series_safe(
            lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
            taylor(lambda k: mp.mpf(-1) ** (k + 1) / mp.factorial(2 * k + 3)),
        ),
        lambda z: z,
        0.0,
        QUARTER_PI_SQUARED,
        (2, 5),
    ),
    Target(
        "COS",
        "(cos(r) - 1 + r^2/2) / r^4 in z = r^2,  |r| <= pi/4",
        series_safe(
            lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
            taylor(lambda k: mp.mpf(-1) ** k / mp.factorial(2 * k + 4)),
        ),
        lambda z: z**2,
        0.0,
        QUARTER_PI_SQUARED,
        (2, 5),
    ),
    Target(
        "ATAN",
        "(atan(r) - r) / r^3 in z = r^2,  |r| <= tan(pi/8)",
        series_safe(
            lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
            taylor(lambda k: mp.mpf(-1) ** (k + 1) / (2 * k + 3)),
        ),
        lambda z: z,
        0.0,
        0.17158,
        (4, 10),
    ),
    Target(
        "ERF_NEAR",
        "erf(x)/x - 1 in z = x^2,  |x| <= 1",
        series_safe(
            lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
            lambda z: (
                taylor(lambda k: 2 / mp.sqrt(mp.pi) * mp.mpf(-1) ** k / (mp.factorial(k) * (2 * k + 1)))(z)
                - 1
            ),
        ),
        lambda z: mp.mpf(1),
        0.0,
        1.0,
        (None, 12),
    ),
    Target(
        "ERF_FAR",
        "-log(erfc(a)),  1 <= a <= 6",
        lambda a: -mp.log(mp.erfc(a)),
        lambda a: mp.erfc(a) / mp.erf(a),
        1.0,
        6.0,
        (None, 17),
    ),
]

ERF_END = 3.88  # a little later erf is 1 to the last bit of float32
# Of 2000 drawn from [1, 2] the one whose rounding costs erf least; the power keeps x P normal for every x.
ERF_FACTOR = 1.4649923001754772 * 2**40


def evaluate(coefficients: list[mp.mpf], x: mp.mpf) -> mp.mpf:
    return mp.polyval(list(reversed(coefficients)), x)


def remez(
    grid: list[mp.mpf], values: list[mp.mpf], weights: list[mp.mpf], first: int, degree: int
) -> tuple[list[mp.mpf], mp.mpf]:
    """Weighted minimax coefficients of x^first .. x^degree on the grid, and the error reached.

    One exchange: solve for coefficients and a levelled error at degree-first+2 points, then move the
    points to the extrema of the error; ends when the largest error is within 0.1 % of the levelled one.
    """
    unknowns = degree - first + 1
    last = len(grid) - 1
    points = [round(last * (1 - np.cos(np.pi * i / unknowns)) / 2) for i in range(unknowns + 1)]
    best: tuple[mp.mpf, list[mp.mpf]] = (mp.inf, [])
    for _ in range(40):
        rows = mp.matrix(unknowns + 1, unknowns + 1)
        right = mp.matrix(unknowns + 1, 1)
        for i, at in enumerate(points):
            for k in range(unknowns):
                rows[i, k] = weights[at] * grid[at] ** (first + k)
            rows[i, unknowns] = mp.mpf(-1) ** i
            right[i] = weights[at] * values[at]
        solution = mp.lu_solve(rows, right)
        coefficients = [solution[k] for k in range(unknowns)]
        errors = [
            w * (v - x**first * evaluate(coefficients, x))
            for x, v, w in zip(grid, values, weights, strict=True)
        ]
        # One extremum for each run of equal sign; the runs alternate by construction.
        extrema: list[int] = []
        for i, e in enumerate(errors):
            if extrema and mp.sign(e) == mp.sign(errors[extrema[-1]]):
                if abs(e) > abs(errors[extrema[-1]]):
                    extrema[-1] = i
            else:
                extrema.append(i)
        worst = max(abs(e) for e in errors)
        if worst < best[0]:
            best = (worst, coefficients)
        if worst <= abs(solution[unknowns]) * mp.mpf("1.001"):
            break
        while len(extrema) > unknowns + 1:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < unknowns + 1:
            break
        points = extrema
    return best[1], best[0]


def round_to(bits: int, x: mp.mpf) -> float:
    with mp.workprec(bits):
        return float(+x)


def fit(target: Target, column: int) -> tuple[list[float], float]:
    """Coefficients rounded to float32 (column 0) or float64 (column 1), and log2 of the error they leave."""
    degree = target.degrees[column]
    assert degree is not None
    bits = (24, 53)[column]
    high = target.high if isinstance(target.high, float) else target.high[column]
    count = 60 * (degree + 2)
    middle, half = mp.mpf(high + target.low) / 2, mp.mpf(high - target.low) / 2
    grid = [middle - half * mp.cos(mp.pi * i / count) for i in range(count + 1)]
    # A weight that vanishes would let the exchange put a point where nothing can be levelled.
    grid = [x if x else half / 1000 for x in grid]
    weights = [target.weight(x) for x in grid]
    values = [target.f(x) for x in grid]
    left = list(values)
    rounded: list[float] = []
    for k in range(degree + 1):
        coefficients, _ = remez(grid, left, weights, k, degree)
        rounded.append(round_to(bits, coefficients[0]))
        left = [v - mp.mpf(rounded[k]) * x**k for v, x in zip(left, grid, strict=True)]
    worst = max(abs(w * e) for w, e in zip(weights, left, strict=True))
    return rounded, float(mp.log(worst, 2))


def ratio(f: Real, high: float, degrees: tuple[int, int], factor: float) -> tuple[list[float], list[float]]:
    """P and Q, rounded to float32, whose ratio stands for f on [0, high] with the relative error levelled.

    Least squares in Chebyshev polynomials, each time divided by the last Q (Sanathanan and Koerner) and weighted by
    the errors so far (Lawson).  factor: Q(0); which one is free, but not how well all coefficients round.
    """
    t = np.cos(np.pi * (np.arange(1200) + 0.5) / 1200)
    values = np.array([float(f(mp.mpf(v))) for v in (t + 1) / 2 * high])
    above, below = (np.polynomial.chebyshev.chebvander(t, degree) for degree in degrees)
    weights, q = np.ones(len(t)), np.ones(len(t))
    least, best = np.inf, np.zeros(1)
    for turn in range(400):
        rows = np.hstack([above, -values[:, None] * below]) * (np.sqrt(weights) / (q * values))[:, None]
        size = np.linalg.norm(rows, axis=0)
        solution = np.linalg.svd(rows / size, full_matrices=False)[2][-1] / size
        solution /= np.mean(below @ solution[degrees[0] + 1 :])
        q = below @ solution[degrees[0] + 1 :]
        errors = np.abs(above @ solution[: degrees[0] + 1] / q / values - 1)
        if errors.max() < least:
            least, best = errors.max(), solution
        if turn > 5:
            weights *= errors / errors.max() + 1e-4
            weights /= weights.sum()
    p, q = (
        np.polynomial.Chebyshev(part, domain=[0, high]).convert(kind=np.polynomial.Polynomial).coef
        for part in np.split(best, [degrees[0] + 1])
    )
    print(f"ratio float32 2^{np.log2(least):.1f} before rounding", file=sys.stderr)
    return [float(np.float32(c / q[0] * factor)) for c in p], [
        float(np.float32(c / q[0] * factor)) for c in q
    ]


def split(x: mp.mpf, bits: int, count: int) -> list[float]:
    """x as an unevaluated sum of `count` numbers of the format with that many bits."""
    parts: list[float] = []
    for _ in range(count):
        parts.append(round_to(bits, x))
        x -= parts[-1]
    return parts


def two_over_pi_words(words: int) -> list[int]:
    """The first words * 64 bits of 2/pi behind the binary point, most significant word first."""
    with mp.workprec(64 * words + 64):
        whole = int(mp.floor(2 / mp.pi * mp.mpf(2) ** (64 * words)))
    return [(whole >> (64 * (words - 1 - i))) & (2**64 - 1) for i in range(words)]


def main() -> None:
    print('"""Minimax coefficients and split constants, lowest degree first.\n')
    print("Printed by benchmarks/fit_coefficients.py; the error of a row is the largest weighted error, as a")
    print('power of two.  Do not edit by hand.\n"""\n')
    print("# fmt: off")
    print("Table = dict[int, tuple[float, ...]]\n")
    for target in TARGETS:
        print(f"# {target.formula}")
        print(f"{target.name}: Table = {{")
        for column, bits in ((0, 32), (1, 64)):
            if target.degrees[column] is None:
                continue
            coefficients, error = fit(target, column)
            print(f"{target.name} float{bits} 2^{error:.1f}", file=sys.stderr)
            print(f"    {bits}: (  # 2^{error:.1f}")
            for c in coefficients:
                print(f"        float.fromhex({c.hex()!r}),")
            print("    ),")
        print("}\n")
    print(f"# P and Q, erf(x) = x P(z)/Q(z) in z = x^2,  |x| <= {ERF_END}")
    erf_ratio = ratio(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z), ERF_END**2, (5, 5), ERF_FACTOR)
    for name, coefficients in zip(("ERF_ABOVE", "ERF_BELOW"), erf_ratio, strict=True):
        print(f"{name}: Table = {{\n    32: (")
        for c in coefficients:
            print(f"        float.fromhex({c.hex()!r}),")
        print("    ),\n}")
    print("\n# Constants as unevaluated sums, largest part first")
    for name, value in (
        ("LN2", mp.log(2)),
        ("HALF_PI", mp.pi / 2),
        ("LOG2_E", 1 / mp.log(2)),
        ("TWO_OVER_PI", 2 / mp.pi),
        ("TWO_THIRDS", mp.mpf(2) / 3),
    ):
        print(f"{name}: Table = {{")
        for bits, precision in ((32, 24), (64, 53)):
            print(f"    {bits}: (")
            for part in split(value, precision, 3):
                print(f"        float.fromhex({part.hex()!r}),")
            print("    ),")
        print("}")
    print("\n# 2/pi behind the binary point, most significant word first (enough for the largest float64)")
    print("TWO_OVER_PI_WORDS: tuple[int, ...] = (")
    for word in two_over_pi_words(20):
        print(f"    0x{word:016X},")
    print(")")
    print("# fmt: on")


if __name__ == "__main__":
    main()
