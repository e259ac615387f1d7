"""Dimensions: integers, and integer polynomials in named symbols.

A dimension is never unknown.  It is an `int`, or a polynomial such as `N`, `2*N + 1` or `H*W`
whose atoms are symbols and floor divisions like `(H + 1)//2`.  Polynomials have one canonical
form, so equality of dimensions is equality of objects and needs no guards at run time.
"""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RESERVED = frozenset(  # they mean something else in `.gir` text
    (
        "nan inf bool f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 "
        "float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"
    ).split()
)
MAX_EXPRESSION = 200  # characters; longer is no dimension anyone wrote


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """The atom `numerator // divisor` that does not divide out."""

    numerator: SymbolicDim
    divisor: int

    def __str__(self) -> str:
        text = str(self.numerator)
        return f"{text}//{self.divisor}" if text.isidentifier() else f"({text})//{self.divisor}"


Atom = str | FloorDiv
Monomial = tuple[tuple[Atom, int], ...]  # ((atom, power), ...) sorted by the atom's text


@dataclass(frozen=True, slots=True)
class SymbolicDim:
    """A polynomial that is not a plain integer: ((monomial, coefficient), ...) in canonical order.

    >>> n = symbol("N")
    >>> print(2 * n + n - 1, (n * 6) // 3, n - n)
    3*N - 1 2*N 0
    """

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _canonical(total)

    def __mul__(self, other: Dim) -> Dim:
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                product = _multiply(left, right)
                total[product] = total.get(product, 0) + a * b
        return _canonical(total)

    def __floordiv__(self, divisor: Dim) -> Dim:
        exact = exact_divide(self, divisor)
        if exact is not None:
            return exact
        if not isinstance(divisor, int) or divisor <= 0:
            raise ValueError(f"cannot divide dimension {self} by {divisor}")
        whole = {m: c // divisor for m, c in self.terms}
        rest = _canonical({m: c % divisor for m, c in self.terms})
        remainder: Dim = (
            rest // divisor if isinstance(rest, int) else SymbolicDim(((((FloorDiv(rest, divisor), 1),), 1),))
        )
        return _canonical(whole) + remainder

    def __mod__(self, divisor: Dim) -> Dim:
        return self - (self // divisor) * divisor

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        parts = []
        for monomial, coefficient in self.terms:
            # `-A//2` would be read as (-A)//2, `3*A//2` as (3*A)//2.
            alone = len(monomial) == 1 and monomial[0][1] == coefficient == 1
            factors = [f"({a})" if isinstance(a, FloorDiv) and not alone else str(a) for a, _ in monomial]
            factors = [f if p == 1 else f"{f}**{p}" for f, (_, p) in zip(factors, monomial)]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            parts.append(("-" if coefficient < 0 else "+", "*".join(factors)))
        first_sign, first = parts[0]
        return ("-" if first_sign == "-" else "") + first + "".join(f" {s} {t}" for s, t in parts[1:])

    __repr__ = __str__

    def __bool__(self) -> bool:
        return True


Dim = int | SymbolicDim


def symbol(name: str) -> SymbolicDim:
    """The dimension that is just the symbol `name`."""
    if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
        raise ValueError(f"{name!r} is not a name for a dimension")
    return SymbolicDim(((((name, 1),), 1),))


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions; 1 for none."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def exact_divide(numerator: Dim, divisor: Dim) -> Dim | None:
    """`numerator / divisor` when it divides without remainder for every binding, else None.

    >>> n = symbol("N")
    >>> print(exact_divide(400 * n, n), exact_divide(400 * n, 400), exact_divide(n, 2))
    400 N None
    """
    if divisor == 0:
        return None
    if isinstance(numerator, int) and isinstance(divisor, int):
        return numerator // divisor if numerator % divisor == 0 else None
    quotient: Dim = 0
    rest: Dim = numerator
    leading, scale = _terms(divisor)[0]
    for _ in range(len(_terms(numerator)) + 8):  # long division; a few steps or not at all
        if rest == 0:
            return quotient
        monomial, coefficient = _terms(rest)[0]
        factor = _divide(monomial, leading)
        if factor is None or coefficient % scale:
            return None
        term = _canonical({factor: coefficient // scale})
        quotient, rest = quotient + term, rest - term * divisor
    return None


def symbols_of(dim: Dim) -> tuple[str, ...]:
    """The names a dimension depends on, sorted."""
    found: set[str] = set()
    pending = [dim]
    while pending:
        current = pending.pop()
        for monomial, _ in _terms(current):
            for atom, _power in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    pending.append(atom.numerator)
    return tuple(sorted(found))


def substitute(dim: Dim, bindings: Mapping[str, Dim] | Mapping[str, int]) -> Dim:
    """The dimension with symbols replaced; an int when every symbol is bound to one.

    >>> substitute(symbol("N") * 3 + 1, {"N": 4})
    13
    """
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        value: Dim = coefficient
        for atom, power in monomial:
            base: Dim
            if isinstance(atom, str):
                base = bindings.get(atom, symbol(atom))
            else:
                base = substitute(atom.numerator, bindings) // atom.divisor
            for _ in range(power):
                value = value * base
        total = total + value
    return total


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The number a dimension is when all its symbols are known."""
    value = substitute(dim, sizes)
    if not isinstance(value, int):
        raise KeyError(f"{value} is not known")
    return value


def positive_part(dim: Dim) -> Dim:
    """The dimension without its negative terms, inside quotients too: never smaller, and rising with every symbol.

    >>> print(positive_part(parse_dim("N*T - N + 2")), positive_part(parse_dim("(H - 1)//2 + 1")))
    N*T + 2 (H + 1)//2
    """
    if isinstance(dim, int):
        return max(dim, 0)
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        if coefficient < 0:
            continue
        value: Dim = coefficient
        for atom, power in monomial:
            base = symbol(atom) if isinstance(atom, str) else positive_part(atom.numerator) // atom.divisor
            value = product([value, *[base] * power])
        total = total + value
    return total


def unit_of(dim: Dim) -> tuple[Dim, int]:
    """(unit, count) with unit · count >= dim where every symbol is at least 1.

    The unit is 1, or a product of symbols where that is the largest term; else what is left of the dimension's positive
    part when its greatest common factor is taken out.

    >>> [unit_of(parse_dim(d)) for d in ("640", "4*N + 3", "8*N*T + 4*N", "6*N + 4*T", "2*(H//2)*N - N")]
    [(1, 640), (N, 7), (N*T, 12), (3*N + 2*T, 2), ((H//2)*N, 2)]
    """
    dim = positive_part(dim)
    if isinstance(dim, int):
        return 1, dim
    powers: dict[str, int] = {}
    atoms = [pair for monomial, _ in dim.terms for pair in monomial]
    for atom, power in atoms:
        if isinstance(atom, str):
            powers[atom] = max(powers.get(atom, 0), power)
    if len(powers) == len({atom for atom, _ in atoms}):
        largest = tuple(sorted(powers.items()))
        if any(monomial == largest for monomial, _ in dim.terms):
            return SymbolicDim(((largest, 1),)), sum(coefficient for _, coefficient in dim.terms)
    common = math.gcd(*(coefficient for _, coefficient in dim.terms))
    return dim // common, common


def linear_in(dim: Dim, name: str) -> tuple[int, int] | None:
    """(a, b) when the dimension is a*name + b, else None."""
    slope = offset = 0
    for monomial, coefficient in _terms(dim):
        if monomial == ():
            offset = coefficient
        elif monomial == ((name, 1),):
            slope = coefficient
        else:
            return None
    return slope, offset


def parse_dim(text: str) -> Dim:
    """Read `N`, `28`, `2*N + 1`, `H//2`.  Raises ValueError naming what it could not read."""
    if len(text) > MAX_EXPRESSION:
        raise ValueError("a dimension longer than 200 characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{text.strip()!r} is not a dimension") from None
    return _read(tree)


def _read(tree: ast.expr) -> Dim:
    match tree:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _read(operand) * -1
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _read(left), _read(right)
            match operator:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv() if isinstance(b, int) and b > 0:
                    return a // b
                case ast.Pow() if isinstance(b, int) and 0 <= b <= 8:
                    return product([a] * b)
    raise ValueError(f"{ast.unparse(tree)!r} is not a dimension")


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, SymbolicDim):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _order(monomial: Monomial) -> tuple:
    # Higher degree first, then by name, so that a constant comes last.
    return (-sum(p for _, p in monomial), tuple((str(a), -p) for a, p in monomial))


def _canonical(terms: Mapping[Monomial, int]) -> Dim:
    kept = sorted(((m, c) for m, c in terms.items() if c), key=lambda term: _order(term[0]))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return SymbolicDim(tuple(kept))


def _multiply(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _divide(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    powers = dict(monomial)
    for atom, power in divisor:
        powers[atom] = powers.get(atom, 0) - power
        if powers[atom] < 0:
            return None
    return tuple(item for item in sorted(powers.items(), key=lambda item: str(item[0])) if item[1])


def bounds(dim: Dim, ranges: Mapping[str, tuple[int, int | None]]) -> tuple[float, float]:
    """Interval of the values a dimension can take, given the declared range of each symbol."""
    if isinstance(dim, int):
        return dim, dim
    low, high = 0.0, 0.0
    for monomial, coefficient in dim.terms:
        least, most = 1.0, 1.0
        for atom, power in monomial:
            if isinstance(atom, str):
                a, b = ranges.get(atom, (1, None))
                below, above = float(a), math.inf if b is None else float(b)
            else:
                below, above = (
                    v // atom.divisor if math.isfinite(v) else v for v in bounds(atom.numerator, ranges)
                )
            least, most = least * below**power, most * above**power
        ends = (coefficient * least, coefficient * most)
        low, high = low + min(ends), high + max(ends)
    return low, high
