"""Index arithmetic: where an element lies, as a formula in the loop variables of a kernel.

A `Form` is a sum of loop variables and floor divisions with coefficients that may be symbolic. Every movement op is a
map from the index of its output to the index of its operand (`index_maps.py`), and what reaches a load or a store is
one form again, so a transpose costs a stride and a broadcast the stride 0. A floor division that does not divide out
asks, with `SplitLoop`, for the loop it belongs to to be cut in two; only where that cannot help it stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphc.ir.dims import Dim, SymbolicDim, exact_divide, product


@dataclass(frozen=True, slots=True)
class Quotient:
    """The atom `numerator // divisor`, for what does not divide out."""

    numerator: Form
    divisor: Dim


Atom = int | Quotient  # a loop variable is its number


@dataclass(frozen=True)
class Form:
    """`constant + sum of coefficient * atom`; no coefficient is 0.

    >>> i, j = variable(0), variable(1)
    >>> i * 28 + j + (i - i) + 3
    28*i0 + i1 + 3
    """

    terms: tuple[tuple[Atom, Dim], ...]
    constant: Dim = 0

    def __add__(self, other: Form | Dim) -> Form:
        if not isinstance(other, Form):
            return Form(self.terms, self.constant + other)
        total: dict[Atom, Dim] = dict(self.terms)
        for atom, coefficient in other.terms:
            total[atom] = total.get(atom, 0) + coefficient
        return _form(total, self.constant + other.constant)

    def __mul__(self, factor: Dim) -> Form:
        if factor == 1:
            return self
        return _form({atom: c * factor for atom, c in self.terms}, self.constant * factor)

    def __sub__(self, other: Form | Dim) -> Form:
        return self + (other * -1)

    def __repr__(self) -> str:
        parts = [(f"{c}*" if isinstance(c, int) else f"({c})*") * (c != 1) + _shown(a) for a, c in self.terms]
        if self.constant != 0 or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)

    @cached_property
    def variables(self) -> frozenset[int]:
        """Loop variables the form depends on."""
        found: set[int] = set()
        for atom, _ in self.terms:
            found |= {atom} if isinstance(atom, int) else atom.numerator.variables
        return frozenset(found)

    @cached_property
    def quotients(self) -> tuple[Quotient, ...]:
        """All floor divisions in the form, inner ones first."""
        found: list[Quotient] = []
        for atom, _ in self.terms:
            if isinstance(atom, Quotient):
                found += [*atom.numerator.quotients, atom]
        return tuple(dict.fromkeys(found))

    def coefficient(self, variable: int) -> Dim:
        """The coefficient of a loop variable outside of quotients."""
        return next((c for atom, c in self.terms if atom == variable), 0)

    def substitute(self, replacements: Mapping[int, Form]) -> Form:
        """Loop variables replaced by forms. Quotients are kept as they are, over the new numerator."""
        total = Form((), self.constant)
        for atom, coefficient in self.terms:
            if isinstance(atom, Quotient):
                part = Form(((Quotient(atom.numerator.substitute(replacements), atom.divisor), 1),))
            else:
                part = replacements.get(atom, variable(atom))
            total = total + part * coefficient
        return total


Index = tuple[Form, ...]
ZERO = Form(())


def variable(number: int) -> Form:
    return Form(((number, 1),))


def number(value: Dim) -> Form:
    return Form((), value)


def _form(terms: Mapping[Atom, Dim], constant: Dim) -> Form:
    kept = [(atom, c) for atom, c in terms.items() if c != 0]
    # Variables in order of their number, quotients behind them in order of their text.
    kept.sort(key=lambda term: (0, term[0], "") if isinstance(term[0], int) else (1, 0, _shown(term[0])))
    return Form(tuple(kept), constant)


def _shown(atom: Atom) -> str:
    return f"i{atom}" if isinstance(atom, int) else f"(({atom.numerator!r}) // {atom.divisor})"


class SplitLoop(Exception):
    """An index would be a plain form if loop `variable` were two: `variable = outer * inner_extent + inner`."""

    def __init__(self, variable: int, inner_extent: Dim) -> None:
        super().__init__(f"split loop {variable} by {inner_extent}")
        self.variable, self.inner_extent = variable, inner_extent


@dataclass(frozen=True, slots=True)
class Ranges:
    """The extent of each loop variable: it counts from 0 to extent - 1."""

    extents: Mapping[int, Dim]
    may_split: bool = True

    def above(self, form: Form) -> Dim | None:
        """An upper bound of the form, None when none is known."""
        return self._bound(form, upper=True)

    def below(self, form: Form) -> Dim | None:
        """A lower bound of the form."""
        return self._bound(form, upper=False)

    def _bound(self, form: Form, upper: bool) -> Dim | None:
        total = form.constant
        for atom, coefficient in form.terms:
            rises, falls = is_nonnegative(coefficient), is_nonnegative(coefficient * -1)
            if not rises and not falls:
                return None
            at_end = rises == upper
            if isinstance(atom, int):
                value: Dim | None = self.extents[atom] - 1 if at_end else 0
            else:
                value = self._quotient_bound(atom, at_end)
            if value is None:
                return None
            total = total + coefficient * value
        return total

    def _quotient_bound(self, atom: Quotient, upper: bool) -> Dim | None:
        least, most = self.below(atom.numerator), self.above(atom.numerator)
        if least is None or most is None or not is_nonnegative(least):
            return None
        if not upper:
            return 0
        return most // atom.divisor if isinstance(most, int) and isinstance(atom.divisor, int) else most

    def nonnegative(self, form: Form) -> bool | None:
        """Whether the form is >= 0 for every value of the loop variables; None when it depends or is not known."""
        least, most = self.below(form), self.above(form)
        if least is not None and is_nonnegative(least):
            return True
        if most is not None and is_nonnegative(most * -1 - 1):
            return False
        return None

    def divide(self, form: Form, divisor: Dim) -> Form:
        """`form // divisor` for a form that is never negative where it counts.

        Raises SplitLoop when cutting a loop in two would give a plain form.
        """
        if divisor == 1:
            return form
        if divisor == 0:
            return ZERO  # of an array without elements: no loop gets here
        whole, rest = ZERO, ZERO
        for atom, coefficient in form.terms:
            exact = exact_divide(coefficient, divisor)
            if exact is None:
                rest = rest + _form({atom: coefficient}, 0)
            else:
                whole = whole + _form({atom: exact}, 0)
        exact = exact_divide(form.constant, divisor)
        if exact is not None:
            whole = whole + exact
        elif isinstance(form.constant, int) and isinstance(divisor, int):
            whole, rest = whole + form.constant // divisor, rest + form.constant % divisor
        else:
            rest = rest + form.constant
        least, most = self.below(rest), self.above(rest)
        if (
            least is not None
            and most is not None
            and is_nonnegative(least)
            and is_nonnegative(divisor - 1 - most)
        ):
            return whole
        if self.may_split:
            self._ask_for_split(rest, divisor)
        return whole + Form(((Quotient(rest, divisor), 1),))

    def _ask_for_split(self, rest: Form, divisor: Dim) -> None:
        for atom, coefficient in rest.terms:
            if not isinstance(atom, int):
                continue
            inner = exact_divide(divisor, coefficient)
            if inner is None or inner in (0, 1) or exact_divide(self.extents[atom], inner) in (None, 0, 1):
                continue
            raise SplitLoop(atom, inner)

    def remainder(self, form: Form, divisor: Dim) -> Form:
        return form - self.divide(form, divisor) * divisor

    def unravel(self, linear: Form, shape: Sequence[Dim]) -> Index:
        """The index of element number `linear` of an array of this shape, row-major."""
        index, rest = [], linear
        for axis in range(len(shape)):
            stride = product(shape[axis + 1 :])
            here = self.divide(rest, stride) if axis < len(shape) - 1 else rest
            index.append(here)
            rest = rest - here * stride
        return tuple(index)


def ravel(index: Index, shape: Sequence[Dim]) -> Form:
    """The number of an element in row-major order."""
    total = ZERO
    for form, stride in zip(index, strides(shape), strict=True):
        total = total + form * stride
    return total


def strides(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """Elements between neighbours along each axis of a dense row-major array."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def is_nonnegative(dim: Dim) -> bool:
    """Whether a dimension is known to be >= 0 when every symbol is >= 0."""
    if isinstance(dim, SymbolicDim):
        return all(coefficient >= 0 for _, coefficient in dim.terms)
    return dim >= 0


def dims_of(form: Form) -> Iterator[Dim]:
    """Every dimension that occurs in a form, those of its quotients included."""
    yield form.constant
    for atom, coefficient in form.terms:
        yield coefficient
        if isinstance(atom, Quotient):
            yield atom.divisor
            yield from dims_of(atom.numerator)
