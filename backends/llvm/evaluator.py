"""From a program to instructions: the elements of a kernel at a point of its loops.

What does not depend on the vector's loop stays scalar until it meets something that does, and what does not depend on
the inner loops is computed before they begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Function, Reg
from graphc.backends.llvm.memory import Memory
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import (
    Apply,
    Choose,
    Constant,
    Hole,
    Load,
    Position,
    Program,
    operands_of,
    variables_of,
)
from graphc.ir.graph import Value
from graphc.ir.types import int64


class Evaluator(Memory):
    """Computes the expressions of a program. holes: the values somebody else computed, at this point."""

    def __init__(self, f: Function, program: Program, sizes: Sizes, pointers: Mapping[Value, Reg]) -> None:
        super().__init__(f, sizes, pointers)
        self.program = program
        self.holes: dict[Value, Element] = {}
        self._done: dict[int, Element] = {}
        self._variables: list[frozenset[int]] = []
        for expression in program.expressions:
            inner = [self._variables[p] for p in operands_of(expression)]
            self._variables.append(variables_of(expression).union(*inner))

    @contextmanager
    def scope(self, bindings: Mapping[int, Reg], kept: dict[int, Element] | None = None) -> Iterator[None]:
        """Loop variables have these values inside; what is computed inside is forgotten after it.

        kept: where it is remembered instead, for the next scope at the same point in code that this one dominates.
        """
        before = self._done, self.bound, self.holes
        self._done = {**self._done, **(kept or {})}
        self.bound, self.holes = {**self.bound, **bindings}, dict(self.holes)
        try:
            yield
        finally:
            if kept is not None:
                kept.update((p, x) for p, x in self._done.items() if p not in before[0])
            self._done, self.bound, self.holes = before

    def needed(self, positions: Sequence[int]) -> list[int]:
        """All expressions these are made of, in order of evaluation, without what is computed already."""
        wanted = set(positions)
        for position in range(max(wanted, default=-1), -1, -1):
            if position in wanted and position not in self._done:
                wanted.update(operands_of(self.program.expressions[position]))
        return [p for p in sorted(wanted) if p not in self._done]

    def settle(self, positions: Sequence[int]) -> None:
        """Compute what these need as far as the loops that are open allow, so that no inner loop does it again."""
        ready = set(self._done)
        for position in self.needed(positions):
            expression = self.program.expressions[position]
            if not self._variables[position] <= self.bound.keys():
                continue
            if not all(p in ready for p in operands_of(expression)):
                continue
            if isinstance(expression, Hole) and expression.value not in self.holes:
                continue
            if isinstance(expression, Constant):
                continue  # free where it is used
            ready.add(position)
            self._done[position] = self._compute(position)

    def compute(self, positions: Sequence[int]) -> list[Element]:
        """The elements of these expressions at this point."""
        for position in self.needed(positions):
            self._done[position] = self._compute(position)
        return [self._done[p] for p in positions]

    def _compute(self, position: int) -> Element:
        match self.program.expressions[position]:
            case Load(value=value, offset=offset, guard=guard):
                return self.load(value, offset, guard)
            case Constant(number=value, dtype=dtype):
                return self.elements.number(value, dtype)
            case Position(form=form, dtype=dtype):
                return self.elements.convert(Element(self.index(form), int64), dtype)
            case Hole(value=value):
                return self.holes[value]
            case Choose(guard=guard, yes=yes, no=no):
                holds = self.holds(guard)
                assert holds is not None
                first, second = self._done[yes], self._done[no]
                if any((holds.lanes, first.lanes, second.lanes)):
                    holds, first, second = self.full(holds), self.full(first), self.full(second)
                return self.elements.select(holds, first, second)
            case Apply(node=node, operands=operands):
                values = [self._done[p] for p in operands]
                if any(x.lanes for x in values):
                    values = [self.full(x) for x in values]
                exponent = self.program.expressions[operands[-1]]
                if node.op.name == "pow" and isinstance(exponent, Constant):
                    return self.elements.power(values[0], exponent.number)
                if node.op.scalar is None:
                    raise AssertionError(f"{node.op.name} has no scalar rule")
                return node.op.scalar(self.elements, *values, **node.attributes)
        raise AssertionError("an unknown expression")
