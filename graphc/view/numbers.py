"""Numbers as a picture writes them: four significant digits and a true minus sign."""

from __future__ import annotations

import math
import re
from typing import Any

from graphc.ir.dims import Dim, SymbolicDim, linear_in, symbols_of

MINUS = "\N{MINUS SIGN}"


def number(value: Any) -> str:
    """
    >>> number(-4.0), number(0.731058), number(1e-7), number(2.5e4 + 1e5 * 3), number(float("nan"))
    ('−4', '0.7311', '1e−7', '3.25e5', 'NaN')
    """
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return str(bool(value))
    real = float(value)
    if math.isnan(real):
        return "NaN"
    if math.isinf(real):
        return "∞" if real > 0 else MINUS + "∞"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{real + 0.0:.4g}").replace("-", MINUS)


def duration(seconds: float) -> str:
    """
    >>> duration(1.25e-5), duration(0.002)
    ('12.5 µs', '2 ms')
    """
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def factor(text: str) -> str:
    """A number after an operator sign: in brackets when it has a sign of its own.

    >>> factor("−4"), factor("3")
    ('(−4)', '3')
    """
    return f"({text})" if text.startswith(MINUS) else text


def subscript(count: int) -> str:
    """
    >>> subscript(12)
    '₁₂'
    """
    return "".join(chr(ord("₀") + int(digit)) for digit in str(count))


_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def amount(count: Dim) -> str:
    """A count for people; a symbol stays a symbol.

    >>> from graphc.ir.dims import symbol
    >>> amount(61706), amount(120), amount(symbol("N") * 416_520)
    ('61.71 k', '120', '416.5 k·N')
    """
    if isinstance(count, SymbolicDim):
        names = symbols_of(count)
        line = linear_in(count, names[0]) if len(names) == 1 else None
        if line is None:
            return str(count).replace("-", MINUS)
        slope, rest = line
        if abs(rest) * 2_000 < abs(slope):
            rest = 0  # below the digits that are shown
        return f"{amount(slope)}·{names[0]}" + (
            f" + {amount(rest)}" if rest > 0 else f" {MINUS} {amount(-rest)}" if rest else ""
        )
    for unit, letter in _UNITS:
        if count >= unit:
            return f"{count / unit:.4g} {letter}"
    return str(count)
