"""Gates: a matrix product whose columns come in equal parts, and the elementwise work on them, as one kernel.

The weights lie in panels `[H/16][K][part][16]`: the columns of all parts that belong to 16 neighbouring results. So the
accumulators of a tile hold everything those results are made of; the product itself is never stored. Each product is
one chain of fused multiply-adds, as everywhere, so no bit depends on the tile, the rows or the threads. Neighbouring
panels of few parts are woven, `[H/32][K][panel][part][16]`: a single row then has enough sums that need not wait for
each other, and reads memory in one long run.

In a loop the same weights are read every step. Odd steps go through the panels backwards: of weights a little larger
than a cache, which would be read from the next one in every step, those read last are still there.

    Zhang et al., DeepCPU: serving RNN-based deep learning models 10x faster, 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from graphc.backends.llvm.affine import Form, Index, Ranges
from graphc.backends.llvm.elements import Element, memory_type
from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction, Packing, packable
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.packing import in_fewer_bits, pack_columns, pack_rows
from graphc.backends.llvm.program import Hole, Program, Space, trace_in
from graphc.backends.llvm.sharing import unevenness
from graphc.backends.llvm.stored import LINE, Stored, stored_as
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Stream, Tile, contract, zeros
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.passes.gates import parts_of

ACCUMULATORS = 6  # of a single row at most: memory is read best with few
ACCUMULATORS_STORED = 8  # where half the bytes are read, and sums wait for each other instead
TALLEST = 14


@dataclass(frozen=True, slots=True)
class Gates:
    """How a kernel of gates runs.

    parts, width   the product's columns are parts x width
    tile           a tile of rows by the vectors of all parts
    packed         whether the weights lie in panels when the kernel is called; else it packs them in working memory
    stored         how weights lie that are stored in fewer bits
    """

    node: Node
    parts: int
    width: int
    rows: Dim
    depth: int
    tile: Tile
    packed: bool
    stored: Stored | None = None

    @property
    def panels(self) -> int:
        return ceil(self.width / self.tile.lanes)

    @property
    def group(self) -> int:
        """Panels that are woven."""
        most = (ACCUMULATORS_STORED if self.stored else ACCUMULATORS) // self.parts
        return max(n for n in range(1, max(most, 1) + 1) if self.panels % n == 0)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the weights of one vector."""
        return self.tile.lanes * (self.stored.bytes if self.stored else self.tile.bytes)

    @property
    def step_bytes(self) -> int:
        """Bytes from one step of the product to the next."""
        return self.group * self.parts * self.vector_bytes

    @property
    def scales(self) -> int:
        """Where the scales of the columns lie, behind all panels."""
        return ceil(self.panels // self.group * self.depth * self.step_bytes / LINE) * LINE

    @property
    def nbytes(self) -> int:
        if self.stored is not None and self.stored.scaled:
            return self.scales + self.panels * self.parts * self.tile.lanes * self.tile.bytes
        return self.panels // self.group * self.depth * self.step_bytes

    def place(self, f: Function, panel: Reg) -> Reg:
        """Bytes from the first panel to another."""
        if self.group == 1:
            return f.mul(panel, self.depth * self.step_bytes)
        inner = f.urem(panel, self.group)
        start = f.mul(f.sub(panel, inner), self.depth * self.step_bytes // self.group)
        return f.add(start, f.mul(inner, self.parts * self.vector_bytes))

    @property
    def transposed(self) -> bool:
        return bool(self.node.attributes["transpose_w"])


def plan_gates(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Gates:
    node = kernel.anchor
    assert node is not None
    x, w = node.inputs
    parts, width = parts_of(kernel)
    element = memory_type(node.output.dtype)
    lanes = target.lanes(element)
    rows = product(node.output.shape[:-1])
    tallest = max(1, min(TALLEST, (target.vector_registers - parts - 1) // parts))
    if isinstance(rows, int):
        tallest = max(1, min(tallest, rows))
    depth = x.shape[-1]
    assert isinstance(depth, int)
    tile = Tile(tallest, parts, lanes, element)
    return Gates(node, parts, width, rows, depth, tile, packable(kernel, w, fixed))


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Dim:
    """Working memory: the panels of weights that change between calls."""
    plan = plan_gates(kernel, target, fixed)
    return 0 if plan.packed else plan.nbytes


def emit_gates(k: KernelFunction) -> None:
    """The body of a kernel of gates."""
    plan = plan_gates(k.kernel, k.target, k.fixed)
    if plan.packed and plan.tile.element == "float":
        plan = replace(plan, stored=stored_as(k.weights, k.target))
    f, w = k.f, plan.node.inputs[1]
    keep = f.alloca(plan.tile.type, plan.tile.rows * plan.parts)  # accumulators of a tile
    packing = _packing(plan)
    weights = k.inputs[w]
    if plan.packed:
        k.packed[w] = packing
    else:
        assert packing.emit is not None
        packing.emit(k, weights, f.scratch)
        weights = f.scratch
        if k.share:
            k.share.barrier()
    _Kernel(k, plan, weights, keep).emit()
    f.ret(constant(0, "i32"))


class _Cell(Evaluator):
    """Computes the elementwise part; each of its holes is one part of the product."""

    def __init__(self, k: KernelFunction, program: Program, parts: dict[int, int]) -> None:
        super().__init__(k.f, program, k.sizes, k.inputs)
        self.parts = parts
        self.found: Sequence[Element] = ()

    def _compute(self, position: int) -> Element:
        if position in self.parts:
            return self.found[self.parts[position]]
        return super()._compute(position)


class _Kernel:
    """Writes the loops over panels and rows."""

    def __init__(self, k: KernelFunction, plan: Gates, weights: Reg, keep: Reg) -> None:
        self.k, self.plan, self.weights = k, plan, weights
        self.a = k.inputs[plan.node.inputs[0]]
        self.keep = keep
        shape = (plan.rows, plan.width)
        space = Space(shape)

        def index(value: Value, ranges: Ranges) -> Index:
            return reshape_index(space.index(), shape, value.shape, ranges)

        program, roots = trace_in(
            space,
            k.kernel.nodes,
            lambda ranges: [(v, index(v, ranges)) for v in k.kernel.outputs],
            lambda ranges: {plan.node.output: None},
            k.layouts,
        )
        column = space.index()[-1]
        parts = {
            position: _part(expression.index[-1] - column, plan.width)
            for position, expression in enumerate(program.expressions)
            if isinstance(expression, Hole)
        }
        self.stores = k.places(roots, space)
        self.cell = _Cell(k, program, parts)
        numbers = iter(space.variables())
        self.row, self.column = (next(numbers) if size != 1 else None for size in shape)

    def emit(self) -> None:
        k, plan, f = self.k, self.plan, self.k.f
        rows = plain(k.sizes(plan.rows))
        panels: tuple[Any, Any] = (0, plan.panels)
        ends: tuple[Any, Any] = (0, rows)
        if k.share:
            tiles = ceil(plan.rows / plan.tile.rows) if isinstance(plan.rows, int) else 2
            groups = plan.panels // plan.group
            if groups > 1 and unevenness(groups) <= unevenness(tiles):
                first, last = k.share.of(groups)
                panels = f.mul(first, plan.group), f.mul(last, plan.group)
            else:
                ends = k.share.of(k.sizes(plan.rows))
        if rows == 1:
            self._single(panels, ends)
            return
        if not isinstance(plan.rows, int):
            alone = f.icmp("eq", k.sizes(plan.rows), 1)
            with f.if_(alone):
                self._single(panels, ends)
                f.ret(constant(0, "i32"))
        self._tall(panels, ends)

    def _panels(self, panels: tuple[Any, Any], count: int, body: Callable[[Reg, bool], None]) -> None:
        """Call the body for `count` panels at once; the very last one may be narrower."""
        f, plan = self.k.f, self.plan
        narrow = plan.width % plan.tile.lanes != 0
        whole = plan.panels - narrow * count
        first = f.operand(panels[0], "i64")
        last = f.smin(f.operand(panels[1], "i64"), whole) if narrow else f.operand(panels[1], "i64")
        with f.loop(plain(first), plain(last), count) as panel:
            body(self._turned(panel, first, last, count), False)
        if narrow:
            mine = f.and_(
                f.icmp("sle", f.operand(panels[0], "i64"), whole),
                f.icmp("sgt", f.operand(panels[1], "i64"), whole),
            )
            with f.if_(mine):
                body(constant(whole, "i64"), True)

    def _turned(self, panel: Reg, first: Reg, end: Reg, count: int) -> Reg:
        """Every other step goes through the panels backwards, and begins with those that are still in the cache."""
        f = self.k.f
        mirrored = f.sub(f.add(f.sub(end, count), first), panel)
        return f.select(f.icmp("ne", f.turn, 0), mirrored, panel)

    def _single(self, panels: tuple[Any, Any], ends: tuple[Any, Any]) -> None:
        """One row; whoever has it."""
        f, plan = self.k.f, self.plan
        zero = constant(0, "i64")

        def body(group: Reg, narrow: bool) -> None:
            values = self._product(zero, group, 1, plan.group)
            for n in range(plan.group):
                held = values[n * plan.parts : (n + 1) * plan.parts]
                panel = f.add(group, n) if n else group
                self._finish(zero, panel, held, narrow and n == plan.group - 1)

        with f.if_(f.icmp("slt", f.operand(ends[0], "i64"), f.operand(ends[1], "i64"))):
            self._panels(panels, plan.group, body)

    def _tall(self, panels: tuple[Any, Any], ends: tuple[Any, Any]) -> None:
        """Several rows: tiles of as many as registers hold, then what is left."""
        f, plan = self.k.f, self.plan
        tallest = plan.tile.rows
        first, last = (f.operand(end, "i64") for end in ends)
        heights = sorted({tallest, *(h for h in (4, 2, 1) if h < tallest)}, reverse=True)

        def body(panel: Reg, narrow: bool) -> None:
            done = first
            for height in heights:
                left = f.sub(last, done)
                end = f.add(done, f.sub(left, f.urem(left, height))) if height > 1 else last
                with f.loop(plain(done), plain(end), height) as row:
                    values = self._product(row, panel, height, 1)
                    if height == 1:
                        self._finish(row, panel, values, narrow)
                    else:
                        self._by_rows(row, panel, values, height, narrow)
                done = end

        self._panels(panels, 1, body)

    def _by_rows(self, row: Reg, panel: Reg, values: Sequence[Reg], height: int, narrow: bool) -> None:
        """The rest of several rows in a loop: its code stands once."""
        f, tile, keep = self.k.f, self.plan.tile, self.keep
        size = tile.lanes * tile.bytes
        for number, value in enumerate(values):
            f.store(value, f.gep(keep, number * size))
        with f.loop(0, height) as r:
            here = f.gep(keep, f.mul(r, tile.vectors * size))
            held = [f.load(f.gep(here, part * size), tile.type) for part in range(tile.vectors)]
            self._finish(f.add(row, r), panel, held, narrow)

    def _product(self, row: Reg, panel: Reg, height: int, group: int) -> list[Reg]:
        """The products of some rows with the columns of some panels, by row, then panel, then part."""
        f, plan, tile = self.k.f, self.plan, self.plan.tile
        a_row = plan.depth * tile.bytes
        shape = replace(tile, rows=height, vectors=plan.parts * group)
        vectors = Stream(
            f.gep(self.weights, plan.place(f, panel)),
            plan.step_bytes,
            tuple(v * plan.vector_bytes for v in range(shape.vectors)),
            plan.vector_bytes,
            stored=plan.stored,
        )
        base = f.gep(self.a, f.mul(row, a_row))
        scalars = Stream(base, tile.bytes, tuple(r * a_row for r in range(height)), tile.bytes)
        sums = contract(f, shape, plan.depth, scalars, vectors, zeros(shape))
        if plan.stored is None or not plan.stored.scaled:
            return sums
        size = tile.lanes * tile.bytes
        scales = f.gep(self.weights, f.add(f.mul(panel, plan.parts * size), plan.scales))
        scale = [f.load(f.gep(scales, v * size), tile.type) for v in range(shape.vectors)]
        return [f.fmul(value, scale[n % shape.vectors]) for n, value in enumerate(sums)]

    def _finish(self, row: Reg, panel: Reg, held: Sequence[Reg], narrow: bool) -> None:
        """The elementwise work on 16 results, and their stores."""
        k, plan, cell = self.k, self.plan, self.cell
        f, lanes = k.f, plan.tile.lanes
        mask = None
        if narrow:
            rest = plan.width % lanes
            mask = constant([lane < rest for lane in range(lanes)], vector("i1", lanes))
        values = ((self.row, row), (self.column, f.mul(panel, lanes)))
        dtype = plan.node.output.dtype
        with (
            cell.scope({v: reg for v, reg in values if v is not None}),
            cell.vector(self.column, lanes, mask),
        ):
            cell.found = [Element(value, dtype) for value in held]
            elements = cell.compute(cell.program.results)
            for element, value, offset in zip(elements, k.kernel.outputs, self.stores, strict=True):
                cell.store(element, value, offset, k.outputs[value])


def _part(distance: Form, width: int) -> int:
    """Which part of the columns an index lies in that is so far from the result's."""
    assert isinstance(distance.constant, int) and not distance.terms and distance.constant % width == 0
    return distance.constant // width


# Weights -------------------------------------------------------------------------------------------------------------


def _packing(plan: Gates) -> Packing:
    parts, width, lanes = plan.parts, plan.width, plan.tile.lanes

    def woven(columns: Any) -> Any:
        """Panels of an array [parts·width, ...]."""
        rest = columns.shape[1:]
        filled = np.zeros((parts, plan.panels * lanes, *rest), columns.dtype)
        filled[:, :width] = columns.reshape(parts, width, *rest)
        panels = filled.reshape(parts, plan.panels // plan.group, plan.group, lanes, -1)
        return np.ascontiguousarray(panels.transpose(1, 4, 2, 0, 3))

    def apply(array: Any) -> Any:
        columns = array if plan.transposed else array.T  # [parts·width, K]
        if plan.stored is None:
            return woven(columns)
        numbers, scales = in_fewer_bits(columns.T, plan.stored)
        packed = np.zeros(plan.nbytes, np.uint8)
        flat = woven(numbers.T).reshape(-1).view(np.uint8)
        packed[: len(flat)] = flat
        if scales is not None:
            packed[plan.scales :] = woven(scales).reshape(-1).view(np.uint8)
        return packed

    def emit(k: KernelFunction, source: Reg, destination: Reg) -> None:
        pack = _emit_packer(k.module, f"{k.f.name}.{plan.node.name}.pack", k.target, plan)
        ends = k.share.of(plan.panels) if k.share else (constant(0, "i64"), constant(plan.panels, "i64"))
        k.f.call(pack, "void", source, destination, *ends)

    turned = " of the transpose" * plan.transposed
    key = f"gates {parts} x {width} by {plan.group} x {lanes}{turned}"
    if plan.stored is not None:
        return Packing(f"{plan.stored.word} {key}", plan.nbytes, apply)
    return Packing(key, plan.nbytes, apply, emit)


def _emit_packer(module: Module, name: str, target: Target, plan: Gates) -> str:
    """Add `name(source, packed, panel0, panel1)`: put weights into panels at run time."""
    if name in module.functions:
        return name
    pointers = {"source": "ptr noalias readonly", "packed": "ptr noalias"}
    f: Function = module.function(
        name, pointers | {"panel0": "i64", "panel1": "i64"}, internal=True, inline=False
    )
    one = replace(plan.tile, rows=1, vectors=1)
    across = plan.depth * one.bytes if plan.transposed else one.bytes  # from column to column
    row = plan.depth * one.bytes if plan.transposed else plan.parts * plan.width * one.bytes
    pack = pack_columns if plan.transposed else pack_rows
    depth = constant(plan.depth, "i64")
    whole, rest = divmod(plan.width, one.lanes)

    def panel(number: Reg, present: int) -> None:
        for part in range(plan.parts):
            column = f.add(f.mul(number, one.lanes), part * plan.width)
            packed = f.gep(f.packed, f.add(plan.place(f, number), part * plan.vector_bytes))
            source = f.gep(f.source, f.mul(column, across))
            pack(f, target, one, source, row, packed, depth, present, plan.step_bytes)

    if whole:
        with f.loop(f.panel0, f.smin(f.panel1, whole)) as number:
            panel(number, one.lanes)
    if rest:
        with f.if_(f.and_(f.icmp("sle", f.panel0, whole), f.icmp("sgt", f.panel1, whole))):
            panel(constant(whole, "i64"), rest)
    f.ret()
    return name
