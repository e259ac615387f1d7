"""The softmax of a block of scores in the cache, without its division: that waits for the result.

Each row is read twice, 16 partial results side by side as in row kernels. Several rows run abreast, since the steps of
one wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.backends.llvm.affine import Ranges
from graphc.backends.llvm.attention_layout import WIDTH, AttentionLayout
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg, constant, vector
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.program import Space, trace
from graphc.ir.graph import Node

ABREAST = 4  # rows of scores at once


class Softmax:
    def __init__(self, k: KernelFunction, layout: AttentionLayout) -> None:
        self.f, self.layout = k.f, layout
        self.element, self.size = layout.tile.element, layout.tile.bytes
        parts, lead = layout.parts, layout.lead
        space = Space((*lead, layout.rows, layout.keys))
        ranges, index = Ranges(space.extents, may_split=False), space.index()
        roots, holes = [(parts.shown, index)], {parts.scores.output: index}
        self.program = trace(k.kernel.nodes, roots, ranges, holes, k.layouts)
        self.shown = Evaluator(k.f, self.program, k.sizes, k.inputs)
        rank = len(lead)
        self.shown_lead = [next(iter(space.variables([axis])), None) for axis in range(rank)]
        self.shown_row, self.shown_key = (next(iter(space.variables([rank + n])), None) for n in range(2))

    def emit(self, head: list[Reg], row: Reg, rows: Reg, scores: Reg, sums: Reg) -> None:
        """Scores become powers, without the division; sums[r] is that of row r.

        Several rows run side by side, since the steps of one wait for each other.
        """
        f = self.f
        bound = {v: reg for v, reg in zip(self.shown_lead, head, strict=True) if v is not None}
        whole = f.and_(rows, -ABREAST)

        def some(first: Reg, count: int) -> None:
            each = [f.add(first, r) for r in range(count)]
            lines = [f.gep(scores, f.mul(r, self.layout.line * self.size)) for r in each]
            with self.shown.scope(bound):
                totals = self._rows([f.add(row, r) for r in each], lines)
            for r, total in zip(each, totals, strict=True):
                f.store(total, f.gep(sums, f.mul(r, self.size)))

        with f.loop(0, whole, ABREAST) as r:
            some(r, ABREAST)
        with f.loop(whole, rows) as r:
            some(r, 1)

    def _rows(self, rows: list[Reg], lines: list[Reg]) -> list[Reg]:
        """The sums of some rows of powers."""
        f, b, parts, keys = self.f, self.shown.elements, self.layout.parts, self.layout.keys
        dtype, count, whole = parts.shown.dtype, len(rows), keys - keys % WIDTH
        mask = present(f, constant(keys % WIDTH, "i64"), WIDTH) if keys % WIDTH else None

        def sweep(start: float, step: Callable[[int, Reg, Reg, Reg | None], Reg]) -> list[Reg]:
            def body(j: Reg, states: list[Reg], some: Reg | None = None) -> list[Reg]:
                return [step(r, j, state, some) for r, state in enumerate(states)]

            states = [constant(start, self.type)] * count
            if whole:
                states = f.fold(0, whole, WIDTH, states, body)
            return states if mask is None else body(constant(whole, "i64"), states, mask)

        def larger(r: int, j: Reg, state: Reg, some: Reg | None) -> Reg:
            x = self._show(rows[r], lines[r], j, some)
            if some is not None:
                x = f.select(some, x, constant(-math.inf, x.type))
            # A NaN may be lost here: its power is NaN all the same, and so is the sum.
            return f.select(f.fcmp("ogt", state, x), state, x)

        tops = [self._across(state, larger=True) for state in sweep(-math.inf, larger)]
        tops = [f.splat(top, WIDTH) for top in tops]

        def power(r: int, j: Reg, state: Reg, some: Reg | None) -> Reg:
            where = self._at(lines[r], j)
            x = Element(f.load(where, self.type, self.size), dtype)
            found = _apply(b, parts.power, _apply(b, parts.less, x, Element(tops[r], dtype))).reg
            f.store(found, where, self.size)
            return f.fadd(state, found if some is None else f.select(some, found, constant(0, found.type)))

        return [self._across(state, larger=False) for state in sweep(0.0, power)]

    def _across(self, state: Reg, larger: bool) -> Reg:
        """All lanes together, lane i with lane i + half."""
        f, count = self.f, WIDTH
        while count > 1:
            count //= 2
            low, high = ([*range(at, at + count)] for at in (0, count))
            if count == 1:
                x, y = f.extract(state, 0), f.extract(state, 1)
            else:
                x, y = f.shuffle(state, state, low), f.shuffle(state, state, high)
            state = f.select(f.fcmp("ogt", x, y), x, y) if larger else f.fadd(x, y)
        return state

    def _show(self, row: Reg, line: Reg, key: Reg, mask: Reg | None) -> Reg:
        """What the softmax is taken of, kept in place of the scores."""
        parts, e = self.layout.parts, self.shown
        where, score = self._at(line, key), parts.scores.output
        x = self.f.load(where, self.type, self.size)
        if parts.shown is score:
            return x
        bound = {v: reg for v, reg in ((self.shown_row, row), (self.shown_key, key)) if v is not None}
        with e.scope(bound), e.vector(self.shown_key, WIDTH, mask):
            e.holes[score] = Element(x, score.dtype)
            (shown,) = e.compute(self.program.results)
            shown = e.full(shown)
        self.f.store(shown.reg, where, self.size)
        return shown.reg

    @property
    def type(self) -> str:
        return vector(self.element, WIDTH)

    def _at(self, line: Reg, key: Reg) -> Reg:
        return self.f.gep(line, self.f.mul(key, self.size))


def _apply(b: object, node: Node, *operands: Element) -> Element:
    """An elementwise node on vectors."""
    assert node.op.scalar is not None
    found: Element = node.op.scalar(b, *operands, **node.attributes)
    return found
