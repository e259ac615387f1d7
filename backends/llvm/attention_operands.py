"""q, k and v of an attention: read where they lie, packed, or made from the formula of their elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graphc.backends.llvm.affine import Index, Ranges
from graphc.backends.llvm.blocking import panels
from graphc.backends.llvm.emitter import Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.packing import emit_pack_b
from graphc.backends.llvm.program import Load, Space, trace
from graphc.backends.llvm.tile import Tile
from graphc.ir.dims import Dim
from graphc.ir.graph import Value


class Operand:
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

    def elements(self, head: list[Reg], row: Reg, column: Reg, lanes: int, left: int | None) -> Reg:
        """Neighbouring elements of a row; zeros from `left` on."""
        f = self.evaluator.f
        mask = None if left is None else present(f, constant(left, "i64"), lanes)
        with self.at(head, row=row, column=column) as e, e.vector(self.column, lanes, mask):
            (x,) = e.compute(self.program.results)
            found = e.full(x).reg
        return found if mask is None else f.select(mask, found, constant(0, found.type))

    def row_into(
        self, head: list[Reg], row: Reg, columns: int, tile: Tile, place: Callable[[Reg], Reg]
    ) -> None:
        """Store a row's elements, vector by vector, zeros behind them; place: where the one at a column goes."""
        f, lanes = self.evaluator.f, max(tile.lanes, 1)
        whole = columns - columns % lanes
        if whole:
            with f.loop(0, whole, lanes) as column:
                f.store(self.elements(head, row, column, lanes, None), place(column), tile.bytes)
        if columns % lanes:
            last = constant(whole, "i64")
            f.store(self.elements(head, row, last, lanes, columns % lanes), place(last), tile.bytes)


def packer(
    k: KernelFunction, name: str, operand: Operand, tile: Tile, depth: int, columns: int
) -> Callable[[list[Reg], Reg], None]:
    """How the panels of a head are made: from memory with fixed distances, or element by element.

    What comes back writes instructions that pack operand[depth, columns] of a head to an address.
    """
    f = k.f
    if operand.load is None or 1 not in operand.strides:

        def make(head: list[Reg], memory: Reg) -> None:
            with f.loop(0, depth) as step:

                def place(column: Reg) -> Reg:
                    panel = f.udiv(column, tile.width)
                    inside = f.sub(column, f.mul(panel, tile.width))
                    at = f.add(f.mul(f.add(f.mul(panel, depth), step), tile.width), inside)
                    return f.gep(memory, f.mul(at, tile.bytes))

                operand.row_into(head, step, columns, tile, place)

        return make
    step, column = operand.strides
    transposed = column != 1
    stride = column if transposed else step
    pack = emit_pack_b(k.module, f"{f.name}.{name}", k.target, tile, columns, depth, stride, transposed)
    pack.internal, pack.inline = True, False
    zero, count = constant(0, "i64"), constant(panels(columns, tile), "i64")

    def run(head: list[Reg], memory: Reg) -> None:
        f.call(pack.name, "void", operand.address(head, zero), memory, constant(depth, "i64"), zero, count)

    return run
