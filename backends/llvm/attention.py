"""Attention kernels: for a block of rows the scores, their softmax and its product with v, all in the cache.

Members of a team divide the blocks of all heads. Whoever begins a head packs its keys and values into panels; the two
products are those of `gemm.py` on a block of at most two tiles of rows, and between them each row of scores is read
twice. The division by the row's sum waits for the result, which is shorter than the row. Rows are reduced 16 partial
results side by side, as in row kernels. A query is read where it lies when its rows are a fixed distance apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graphc.backends.llvm.affine import Form, Index, Ranges, ravel
from graphc.backends.llvm.blocking import Blocking, Gemm, panel_tile, panels
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Reg, constant, vector
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.gemm import emit_gemm
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.packing import emit_pack_b, packed_bytes
from graphc.backends.llvm.program import Load, Program, Space, trace
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Site, Tile
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.passes.attention import Attention, attention_of

WIDTH = 16
LINE = 64
TILES = 2  # of rows in a block
ABREAST = 4  # rows of scores at once


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of an attention, and where its parts lie in working memory.

    rows, keys, depth, columns   of one head: q[rows, depth], k[keys, depth], v[keys, columns]
    blocks, height               blocks of rows, and rows of the largest
    keys_at ... end              offsets in bytes: panels of k, panels of v, a block of q, scores, sums of rows
    """

    parts: Attention
    lead: tuple[Dim, ...]
    rows: int
    keys: int
    depth: int
    columns: int
    tile: Tile
    blocks: int
    height: int
    values_at: int
    query_at: int
    scores_at: int
    sums_at: int
    end: int

    @property
    def line(self) -> int:
        """Elements between rows of scores."""
        return -(-self.keys // WIDTH) * WIDTH

    @property
    def query_line(self) -> int:
        """Elements between rows of the copy of q."""
        return -(-self.depth // WIDTH) * WIDTH

    def first(self, strides: tuple[int, int]) -> Gemm:
        """The product of q and k; keys are filled up with zeros."""
        return Gemm(self.line, self.depth, self.even_rows, self.tile.element, strides)

    def second(self, stride: int, tile: Tile) -> Gemm:
        """The product of the powers and v."""
        return Gemm(self.columns, self.keys, self.even_rows, tile.element, (self.line, 1), stride)

    @property
    def even_rows(self) -> int | None:
        """Rows of every block, when they all have the same number."""
        return self.height if self.rows % self.blocks == 0 else None


def lay_out(kernel: Kernel, target: Target) -> Layout:
    """The layout of a kernel of kind attention."""
    parts = attention_of(kernel.nodes)
    assert parts is not None
    *lead, rows, keys = parts.scores.output.shape
    depth, columns = parts.scores.inputs[0].shape[-1], parts.mix.output.shape[-1]
    assert isinstance(rows, int) and isinstance(keys, int)
    assert isinstance(depth, int) and isinstance(columns, int)
    element = memory_type(parts.mix.output.dtype)
    line = -(-keys // WIDTH) * WIDTH
    tile = panel_tile(target, line, element)
    blocks = -(-rows // (TILES * tile.rows))
    height = -(-rows // blocks)
    tile = tile.with_rows(-(-height // -(-height // tile.rows)))
    second = panel_tile(target, columns, element)
    sizes = [
        packed_bytes(depth, line, tile.width, element),
        packed_bytes(keys, columns, second.width, element),
        height * -(-depth // WIDTH) * WIDTH * tile.bytes,
        height * line * tile.bytes,
        height * tile.bytes,
    ]
    at = [0]
    for size in sizes:
        at.append(at[-1] + -(-size // LINE) * LINE)
    return Layout(
        parts,
        tuple(lead),
        rows,
        keys,
        depth,
        columns,
        tile,
        blocks,
        height,
        at[1],
        at[2],
        at[3],
        at[4],
        at[5],
    )


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """Working memory of a member."""
    return lay_out(kernel, target).end


def emit_attention(k: KernelFunction) -> None:
    """The body of an attention kernel's function."""
    _Emission(k, lay_out(k.kernel, k.target)).emit()
    k.f.ret(constant(0, "i32"))


class _Operand:
    """A matrix for each head, by the formula of its elements: where it lies, or how to make it.

    across   the axes (of the matrix's rows, of its columns) in the operand's own order
    """

    def __init__(self, k: KernelFunction, lead: tuple[Dim, ...], value: Value, turned: bool) -> None:
        shape = value.shape[-2:][::-1] if turned else value.shape[-2:]
        space = Space((*lead, *shape))
        *outer, row, column = space.index()
        ranges = Ranges(space.extents, may_split=False)
        index: Index = (*outer, column, row) if turned else (*outer, row, column)
        self.program = trace(k.kernel.nodes, [(value, index)], ranges, {}, k.layouts)
        self.evaluator = Evaluator(k.f, self.program, k.sizes, k.inputs)
        rank = len(lead)
        self.lead = [next(iter(space.variables([axis])), None) for axis in range(rank)]
        self.row, self.column = (next(iter(space.variables([rank + n])), None) for n in range(2))

    @property
    def load(self) -> Load | None:
        """The operand as memory, when its elements are at fixed distances."""
        (result,) = self.program.results
        found = self.program.expressions[result]
        if not isinstance(found, Load) or found.guard or found.offset.quotients:
            return None
        return found if all(isinstance(s, int) for s in self._distances(found)) else None

    @property
    def strides(self) -> tuple[int, int]:
        """Elements between rows and between columns; 1 along an axis with one element."""
        assert self.load is not None
        row, column = self._distances(self.load)
        assert isinstance(row, int) and isinstance(column, int)
        return row, column

    def _distances(self, load: Load) -> tuple[Dim, Dim]:
        row, column = (1 if v is None else load.offset.coefficient(v) for v in (self.row, self.column))
        return row, column

    @contextmanager
    def at(self, head: list[Reg], **place: Reg) -> Iterator[Evaluator]:
        """The evaluator at a head, and at a `row` and `column`."""
        bindings = {v: reg for v, reg in zip(self.lead, head, strict=True) if v is not None}
        for name, reg in place.items():
            if (v := getattr(self, name)) is not None:
                bindings[v] = reg
        with self.evaluator.scope(bindings):
            yield self.evaluator

    def address(self, head: list[Reg], row: Reg) -> Reg:
        """Where a row begins."""
        load = self.load
        assert load is not None
        zero = constant(0, "i64")
        with self.at(head, row=row, column=zero) as e:
            return e.f.gep(e.pointers[load.value], e.f.mul(e.index(load.offset), load.value.dtype.itemsize))


class _Emission:
    def __init__(self, k: KernelFunction, layout: Layout) -> None:
        self.k, self.f, self.layout = k, k.f, layout
        parts, lead = layout.parts, layout.lead
        self.q = _Operand(k, lead, parts.scores.inputs[0], False)
        # k as [depth, keys], v as [keys, columns]: steps of the contraction, then columns of the result.
        self.keys = _Operand(k, lead, parts.scores.inputs[1], bool(parts.scores.attributes["transpose_w"]))
        self.values = _Operand(k, lead, parts.mix.inputs[1], bool(parts.mix.attributes["transpose_w"]))
        self.element = layout.tile.element
        self.size = layout.tile.bytes
        self.second_tile = panel_tile(k.target, layout.columns, self.element).with_rows(layout.tile.rows)
        self._shown()
        self._result()

    def _shown(self) -> None:
        """The program of what the softmax is taken of, from a score."""
        parts, lead = self.layout.parts, self.layout.lead
        space = Space((*lead, self.layout.rows, self.layout.keys))
        ranges, index = Ranges(space.extents, may_split=False), space.index()
        self.program: Program = trace(
            self.k.kernel.nodes, [(parts.shown, index)], ranges, {parts.scores.output: index}, self.k.layouts
        )
        self.shown = Evaluator(self.f, self.program, self.k.sizes, self.k.inputs)
        rank = len(lead)
        self.shown_lead = [next(iter(space.variables([axis])), None) for axis in range(rank)]
        self.shown_row, self.shown_key = (next(iter(space.variables([rank + n])), None) for n in range(2))

    def _result(self) -> None:
        """Where an element of the result goes, in the variables of head, row and column."""
        parts, lead = self.layout.parts, self.layout.lead
        space = Space((*lead, self.layout.rows, self.layout.columns))
        index, node = space.index(), parts.result.node
        if parts.result is not parts.mix.output:
            assert node is not None
            index = tuple(index[axis] for axis in node.attributes["permutation"])
        self.place: Form = ravel(index, parts.result.shape)
        rank = len(lead)
        self.place_lead = [next(iter(space.variables([axis])), None) for axis in range(rank)]
        self.place_row = next(iter(space.variables([rank])), None)
        stride = self.layout.columns if self.place_row is None else self.place.coefficient(self.place_row)
        assert isinstance(stride, int)
        self.result_stride = stride

    # Code -----------------------------------------------------------------------------------------------------

    def emit(self) -> None:
        f, layout = self.f, self.layout
        memory = f.scratch
        heads = self.k.sizes(product(layout.lead))
        items: Reg = f.mul(heads, layout.blocks)
        ends: tuple[Reg, Reg] = (constant(0, "i64"), items)
        if self.k.share:
            self.k.share.own_bytes = layout.end
            memory = self.k.share.own(memory)
            ends = self.k.share.of(items)
        pack_keys, pack_values = self._packer("k", self.keys), self._packer("v", self.values)
        first, second = self._products()
        with f.loop(*ends) as item:
            flat = f.udiv(item, layout.blocks)
            block = f.sub(item, f.mul(flat, layout.blocks))
            head = self._coordinates(flat)
            with f.if_(f.or_(f.icmp("eq", item, ends[0]), f.icmp("eq", block, 0))):
                pack_keys(head, memory)
                pack_values(head, f.gep(memory, layout.values_at))
            row = f.udiv(f.mul(block, layout.rows), layout.blocks)
            end = f.udiv(f.mul(f.add(block, 1), layout.rows), layout.blocks)
            rows = f.sub(end, row)
            query = self._query(head, row, rows, memory)
            scores, sums = f.gep(memory, layout.scores_at), f.gep(memory, layout.sums_at)
            self._call(first, query, memory, scores, rows, layout.depth, panels(layout.line, layout.tile))
            self._softmax(head, row, rows, scores, sums)
            values, result = f.gep(memory, layout.values_at), self._target(head, row)
            count = panels(layout.columns, self.second_tile)
            self._call(second, scores, values, result, rows, layout.keys, count, sums)

    def _coordinates(self, flat: Reg) -> list[Reg]:
        """A head's index along each leading axis."""
        found = []
        for extent in reversed(self.layout.lead[1:]):
            size = self.k.sizes(extent)
            found.append(self.f.urem(flat, size))
            flat = self.f.udiv(flat, size)
        return [flat, *reversed(found)] if self.layout.lead else []

    def _products(self) -> tuple[Function, Function]:
        layout, k = self.layout, self.k
        strides = (layout.query_line, 1) if self.q.load is None else self.q.strides

        def cut(tile: Tile) -> Blocking:
            return Blocking(tile, -(-layout.height // tile.rows) * tile.rows, None, False, 0)

        def divided(b: Function, accumulators: Reg, site: Site) -> Reg:
            return b.fdiv(accumulators, site.per_row(b.sums))

        first = emit_gemm(
            k.module, f"{k.f.name}.scores", layout.first(strides), k.target, cut=cut(layout.tile)
        )
        spec = layout.second(self.result_stride, self.second_tile)
        sums = {"sums": "ptr readonly"}
        second = emit_gemm(k.module, f"{k.f.name}.mix", spec, k.target, divided, sums, cut(self.second_tile))
        for each in (first, second):
            each.internal, each.inline = True, False
        return first, second

    def _call(
        self, kernel: Function, a: Reg, b: Reg, c: Reg, rows: Reg, depth: int, count: int, *more: Reg
    ) -> None:
        zero, one, none = constant(0, "i64"), constant(1, "i64"), constant(0, "ptr")
        numbers = rows, constant(depth, "i64"), zero, one, zero, constant(count, "i64")
        self.f.call(kernel.name, "void", a, b, c, none, *numbers, *more)

    def _target(self, head: list[Reg], row: Reg) -> Reg:
        """Where the result of a block goes."""
        bound = {v: reg for v, reg in zip(self.place_lead, head, strict=True) if v is not None}
        if self.place_row is not None:
            bound[self.place_row] = row
        columns = Form(tuple(t for t in self.place.terms if t[0] in bound), self.place.constant)
        e = self.shown
        with e.scope(bound):
            return self.f.gep(
                self.k.outputs[self.layout.parts.result], self.f.mul(e.index(columns), self.size)
            )

    # Operands ---------------------------------------------------------------------------------------------------

    def _packer(self, name: str, operand: _Operand) -> Callable[[list[Reg], Reg], None]:
        """How the panels of a head are made: from memory with fixed distances, or element by element."""
        keys = operand is self.keys
        tile = self.layout.tile if keys else self.second_tile
        depth, columns = (
            (self.layout.depth, self.layout.keys) if keys else (self.layout.keys, self.layout.columns)
        )
        count = constant(panels(columns, tile), "i64")
        if operand.load is None or 1 not in operand.strides:
            return lambda head, memory: self._make(operand, head, memory, tile, depth, columns)
        step, column = operand.strides
        transposed = column != 1
        stride = column if transposed else step
        pack = emit_pack_b(
            self.k.module, f"{self.f.name}.{name}", self.k.target, tile, columns, depth, stride, transposed
        )
        pack.internal, pack.inline = True, False
        zero = constant(0, "i64")

        def run(head: list[Reg], memory: Reg) -> None:
            source = operand.address(head, zero)
            self.f.call(pack.name, "void", source, memory, constant(depth, "i64"), zero, count)

        return run

    def _make(
        self, operand: _Operand, head: list[Reg], memory: Reg, tile: Tile, depth: int, columns: int
    ) -> None:
        """Panels from the formula of the elements."""
        f, lanes, size = self.f, max(tile.lanes, 1), self.size

        def group(step: Reg, column: Reg, left: int | None) -> None:
            panel = f.udiv(column, tile.width)
            inside = f.sub(column, f.mul(panel, tile.width))
            at = f.add(f.mul(f.add(f.mul(panel, depth), step), tile.width), inside)
            f.store(
                self._elements(operand, head, step, column, lanes, left), f.gep(memory, f.mul(at, size)), size
            )

        whole = columns - columns % lanes
        with f.loop(0, depth) as step:
            if whole:
                with f.loop(0, whole, lanes) as column:
                    group(step, column, None)
            if columns % lanes:
                group(step, constant(whole, "i64"), columns % lanes)

    def _elements(
        self, operand: _Operand, head: list[Reg], row: Reg, column: Reg, lanes: int, left: int | None
    ) -> Reg:
        """Neighbouring elements of a row; zeros from `left` on."""
        f = self.f
        mask = None if left is None else present(f, constant(left, "i64"), lanes)
        with operand.at(head, row=row, column=column) as e, e.vector(operand.column, lanes, mask):
            (x,) = e.compute(operand.program.results)
            found = e.full(x).reg
        return found if mask is None else f.select(mask, found, constant(0, found.type))

    def _query(self, head: list[Reg], row: Reg, rows: Reg, memory: Reg) -> Reg:
        """A block of q: where it lies, or made in working memory."""
        f, layout = self.f, self.layout
        if self.q.load is not None:
            return self.q.address(head, row)
        lanes = max(layout.tile.lanes, 1)
        place = f.gep(memory, layout.query_at)
        whole = layout.depth - layout.depth % lanes
        with f.loop(0, rows) as r:
            here, at = f.add(row, r), f.gep(place, f.mul(r, layout.query_line * self.size))
            if whole:
                with f.loop(0, whole, lanes) as c:
                    x = self._elements(self.q, head, here, c, lanes, None)
                    f.store(x, f.gep(at, f.mul(c, self.size)), self.size)
            if layout.depth % lanes:
                last = constant(whole, "i64")
                x = self._elements(self.q, head, here, last, lanes, layout.depth % lanes)
                f.store(x, f.gep(at, whole * self.size), self.size)
        return place

    # Softmax ----------------------------------------------------------------------------------------------------

    def _softmax(self, head: list[Reg], row: Reg, rows: Reg, scores: Reg, sums: Reg) -> None:
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

            states = [constant(start, self._vector)] * count
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
            x = Element(f.load(where, self._vector, self.size), dtype)
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
        x = self.f.load(where, self._vector, self.size)
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
    def _vector(self) -> str:
        return vector(self.element, WIDTH)

    def _at(self, line: Reg, key: Reg) -> Reg:
        return self.f.gep(line, self.f.mul(key, self.size))


def _apply(b: object, node: Node, *operands: Element) -> Element:
    """An elementwise node on vectors."""
    assert node.op.scalar is not None
    found: Element = node.op.scalar(b, *operands, **node.attributes)
    return found
