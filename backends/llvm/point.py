"""A point of the loops: values of the loop variables, and the index forms there.

The point may stand for several neighbours along one loop, the vector's; a form that depends on that loop is a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from graphc.backends.llvm.affine import Form, Quotient
from graphc.backends.llvm.elements import Element, Elements
from graphc.backends.llvm.emitter import Function, Reg, constant, vector
from graphc.backends.llvm.index_maps import Guard
from graphc.ir.dims import Dim, FloorDiv, SymbolicDim
from graphc.ir.types import bool_


class Sizes:
    """Dimensions as i64 registers, from the symbols a kernel is given."""

    def __init__(self, f: Function, symbols: Mapping[str, Reg]) -> None:
        self.f, self.symbols = f, symbols
        self._known: dict[Dim, Reg] = {}

    def __call__(self, dim: Dim) -> Reg:
        if isinstance(dim, int):
            return constant(dim, "i64")
        if dim not in self._known:
            value = self._emit(dim)
            if self.f.current != "entry":
                return value  # known in this block only
            self._known[dim] = value
        return self._known[dim]

    def _emit(self, dim: SymbolicDim) -> Reg:
        total: Reg | None = None
        for monomial, coefficient in dim.terms:
            part = constant(coefficient, "i64")
            for atom, power in monomial:
                if isinstance(atom, FloorDiv):
                    base = self.f.udiv(self(atom.numerator), atom.divisor)
                else:
                    base = self.symbols[atom]
                for _ in range(power):
                    part = base if part.name == "1" else self.f.mul(part, base)
            total = part if total is None else self.f.add(total, part)
        assert total is not None
        return total


class Point:
    """Where in the loops instructions are written.

    bound   values of the loop variables, outer loops first
    along   the loop whose neighbouring values a vector holds; None for scalars only
    count   lanes of a vector, 0 for scalars only
    mask    lanes that exist, None for all
    phase   the first lane's index modulo the lanes, None when that is not known
    """

    def __init__(self, f: Function, sizes: Sizes) -> None:
        self.f, self.sizes, self.elements = f, sizes, Elements(f)
        self.bound: dict[int, Reg] = {}
        self.along: int | None = None
        self.count = 0
        self.mask: Reg | None = None
        self.phase: int | None = None

    @contextmanager
    def vector(
        self, along: int | None, count: int, mask: Reg | None = None, phase: int | None = None
    ) -> Iterator[None]:
        """Inside, expressions that depend on the loop `along` are vectors of `count` neighbours."""
        before = self.along, self.count, self.mask, self.phase
        self.along, self.count, self.mask, self.phase = along, count, mask, phase
        try:
            yield
        finally:
            self.along, self.count, self.mask, self.phase = before

    def full(self, x: Element) -> Element:
        """As a vector of this point's lanes."""
        return self.elements.splat(x, self.count)

    def index(self, form: Form) -> Reg:
        """The value of a form: i64, or a vector of i64 when it depends on the vector's loop."""
        base = self._sum(form, lambda atom: not self._along(atom))
        if self.along is None or not self.count or self.along not in form.variables:
            return base
        lanes = self.f.splat(base, self.count)
        for atom, coefficient in form.terms:
            if not self._along(atom):
                continue
            part = self._lane_values(atom)
            if coefficient != 1:
                part = self.f.mul(part, self.f.splat(self.sizes(coefficient), self.count))
            lanes = self.f.add(lanes, part)
        return lanes

    def _along(self, atom: int | Quotient) -> bool:
        if self.along is None or not self.count:
            return False
        return atom == self.along if isinstance(atom, int) else self.along in atom.numerator.variables

    def _lane_values(self, atom: int | Quotient) -> Reg:
        """An atom that differs from lane to lane."""
        if isinstance(atom, int):
            ramp = constant(list(range(self.count)), vector("i64", self.count))
            return self.f.add(self.f.splat(self.bound[atom], self.count), ramp)
        divisor = self.f.splat(self._divisor(atom.divisor), self.count)
        return self.f.udiv(self.index(atom.numerator), divisor)

    def _divisor(self, dim: Dim) -> Reg:
        """A divisor that is never 0, not even for arrays without elements."""
        return self.sizes(dim) if isinstance(dim, int) else self.f.smax(self.sizes(dim), 1)

    def _sum(self, form: Form, chosen: Callable[[int | Quotient], bool] | None = None) -> Reg:
        """The sum of the scalar terms, outer loops first so that their part can leave the inner loops."""
        order = {v: i for i, v in enumerate(self.bound)}
        total: Reg | None = None if form.constant == 0 else self.sizes(form.constant)
        terms = [(a, c) for a, c in form.terms if chosen is None or chosen(a)]
        for atom, coefficient in sorted(terms, key=lambda t: order[t[0]] if isinstance(t[0], int) else -1):
            if isinstance(atom, int):
                part = self.bound[atom]
            else:
                part = self.f.udiv(self._sum(atom.numerator), self._divisor(atom.divisor))
            if coefficient != 1:
                part = self.f.mul(part, self.sizes(coefficient))
            total = part if total is None else self.f.add(total, part)
        return constant(0, "i64") if total is None else total

    def holds(self, guard: Guard) -> Element | None:
        """Whether all conditions hold, None when there are none."""
        result: Element | None = None
        for condition in guard:
            value = self.index(condition.form)
            if condition.divisor:
                one = self.f.icmp("eq", self.f.srem(value, condition.divisor), 0)
            else:
                one = self.f.icmp("sge", value, 0)
            part = Element(one, bool_)
            if result is None:
                result = part
            elif result.lanes or part.lanes:
                result = self.elements.and_(self.full(result), self.full(part))
            else:
                result = self.elements.and_(result, part)
        return result
