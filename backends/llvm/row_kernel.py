"""Row kernels: reductions over common axes, with elementwise work before, between and after them.

A row is what is reduced to one number. For each row one sweep runs for every depth of reductions (softmax: maximum,
then sum, then the store), and a short row stays in registers from sweep to sweep.

The order of additions is fixed by the graph alone, so no bit depends on the machine, the number of threads, or the
number of rows. Where the innermost axis is reduced, 16 partial results run side by side and a fixed tree folds them;
where it is kept, neighbouring rows fill a vector and each row adds up in blocks of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.backends.llvm.affine import Form, Index, Ranges
from graphc.backends.llvm.channel_loops import ChannelLoops
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import reshape_index
from graphc.backends.llvm.kernel_function import Fault, KernelFunction
from graphc.backends.llvm.loop_kernel import Part, fuse_loops, nest, nested, plain, undivided
from graphc.backends.llvm.memory import present
from graphc.backends.llvm.program import Hole, Root, Space, operands_of, trace_in
from graphc.backends.llvm.reducers import Reducer, State, across, axes_of, reducer
from graphc.backends.llvm.sharing import outermost
from graphc.errors import ArgumentShapeError, UnsupportedError
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.limits import OF_NOTHING
from graphc.ir.op import Kind
from graphc.ir.types import bool_, int64

WIDTH = 16
KEPT_CHUNKS = 4  # vectors of a row that stay in registers between sweeps


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of the kernel: its operand's position in the program, and the index along its row."""

    node: Node
    reducer: Reducer
    operand: int
    position: Form


@dataclass(frozen=True, slots=True)
class Store:
    """An output: its position in the program, and where it goes."""

    value: Value
    position: int
    offset: Form


@dataclass(slots=True)
class Sweep:
    """One pass over a row: what is reduced and what is stored in it."""

    reductions: list[Reduction]
    stores: list[Store]


def emit_row_kernel(k: KernelFunction) -> None:
    """The body of a row kernel's function."""
    _RowKernel(k).emit()


class _RowKernel:
    def __init__(self, k: KernelFunction) -> None:
        self.k, kernel = k, k.kernel
        nodes = [n for n in kernel.nodes if n.op.kind is Kind.REDUCTION]
        self.shape = nodes[0].inputs[0].shape
        self.reduced = axes_of(nodes[0])
        self.kept = tuple(a for a in range(len(self.shape)) if a not in self.reduced)
        space = Space(self.shape)
        row_shape = [self.shape[a] for a in self.kept]

        def on_row(value: Value, ranges: Ranges) -> Index:
            return reshape_index(space.index(self.kept), row_shape, value.shape, ranges)

        def everywhere(value: Value, ranges: Ranges) -> Index:
            return reshape_index(space.index(), self.shape, value.shape, ranges)

        def roots(ranges: Ranges) -> list[Root]:
            found = []
            for value in kernel.outputs:
                where = everywhere if self.is_full(value) else on_row
                found.append((value, where(value, ranges)))
            return found + [(n.inputs[0], everywhere(n.inputs[0], ranges)) for n in nodes]

        def holes(ranges: Ranges) -> dict[Value, Index | None]:
            return {n.output: on_row(n.output, ranges) for n in nodes}

        channels = None
        if 1 in self.kept:
            channels = ChannelLoops.of(space, (*kernel.outputs, *kernel.inputs), k.layouts)
        self.channels = channels
        program, chosen = trace_in(space, kernel.nodes, roots, holes, k.layouts)
        for node in nodes:
            self._check(node)
        forms = k.places(chosen[: len(kernel.outputs)], space)
        operands = chosen[len(kernel.outputs) :]
        forms += [
            i[axes_of(n)[0]] if n.op.name.startswith("arg") else Form(())
            for n, (_, i) in zip(nodes, operands)
        ]
        kept, reduced = space.variables(self.kept), space.variables(self.reduced)
        # Vectors run along the row when its elements are neighbours, else across rows.
        kept, every = channels.order(kept) if channels else kept, space.variables()
        self.along_rows = bool(every) and every[-1] in reduced and channels is None
        apart = [*reduced[:1], *(channels.apart if channels else ())]
        self.program, forms, loops = fuse_loops(program, forms, [*kept, *reduced], apart)
        self.rows = [v for v in loops if v in kept]
        self.inner = [v for v in loops if v in reduced]
        results = self.program.results
        outputs = len(kernel.outputs)
        self.stores = [Store(*item) for item in zip(kernel.outputs, results, forms)]
        self.reductions = [
            Reduction(node, reducer(node), operand, form)
            for node, operand, form in zip(nodes, results[outputs:], forms[outputs:])
        ]
        self.e = Evaluator(k.f, self.program, k.sizes, k.inputs)

    def _check(self, node: Node) -> None:
        own = node.inputs[0].shape
        kept = [own[a] for a in range(len(own)) if a not in axes_of(node)]
        if product(own) != product(self.shape) or product(kept) != product(self.shape[a] for a in self.kept):
            raise UnsupportedError(f"{self.k.kernel!r}: reductions over different axes")

    def is_full(self, value: Value) -> bool:
        """Whether a value has an element for every element of the rows, not one for each row."""
        rows = [self.shape[a] for a in self.kept if self.shape[a] != 1]
        return [d for d in value.shape if d != 1] != rows

    # Sweeps ---------------------------------------------------------------------------------------------------

    def sweeps(self) -> list[Sweep]:
        """The passes over a row, each with what depends on the ones before only."""
        depth: list[int] = []
        at = {r.node.output: r for r in self.reductions}
        for expression in self.program.expressions:
            if isinstance(expression, Hole):
                depth.append(depth[at[expression.value].operand] + 1)
            else:
                depth.append(max((depth[p] for p in operands_of(expression)), default=0))
        found: dict[int, Sweep] = {}
        for reduction in self.reductions:
            found.setdefault(depth[reduction.operand], Sweep([], [])).reductions.append(reduction)
        for store in self.stores:
            if self.is_full(store.value):
                found.setdefault(depth[store.position], Sweep([], [])).stores.append(store)
        return [found[d] for d in sorted(found)]

    # Code -----------------------------------------------------------------------------------------------------

    def emit(self) -> None:
        f, extents = self.k.f, self.program.ranges.extents
        self._refuse_empty_rows()
        if all(extents[v] != 0 for v in self.rows):
            results = self.program.results
            if self.along_rows:
                self._each_row()
            else:
                lanes, masked = self.k.lanes(), self.k.target.masked_memory
                run = self.channels.within(self.e, self._row) if self.channels else self._row
                parts = [Part(0, None, True, run)]
                nest(self.e, self.rows, results, lanes, masked, parts, self.k.share)
        f.ret(constant(0, "i32"))

    def _refuse_empty_rows(self) -> None:
        """A maximum of no elements does not exist; only a size known at run time can be the cause."""
        size = product(self.shape[a] for a in self.reduced)
        refusing = [r.node for r in self.reductions if r.node.op.name not in OF_NOTHING]
        if isinstance(size, int) or not refusing:
            return
        message = f"a {refusing[0].op.name} of no elements does not exist"
        self.k.faults.append(Fault(refusing[0], message, ArgumentShapeError))
        with self.k.f.if_(self.k.f.icmp("eq", self.k.sizes(size), 0)):
            self.k.f.ret(constant(len(self.k.faults), "i32"))

    def _each_row(self) -> None:
        e, share, rows = self.e, self.k.share, self.rows
        e.settle(self.program.results)
        if share and rows:
            divided = rows[outermost([self.program.ranges.extents[v] for v in rows])]
            nested(e, rows, self.program.results, self._row, share, divided)
        else:
            with undivided(e, share):
                nested(e, rows, self.program.results, self._row)

    def _row(self) -> None:
        """One row, or a vector of neighbouring rows."""
        with self.e.scope({}):
            kept: list[dict[int, Element]] = []
            for sweep in self.sweeps():
                self.e.settle(self.program.results)
                states = self._sweep(sweep, kept)
                for reduction, state in zip(sweep.reductions, states):
                    self.e.holes[reduction.node.output] = state[-1]
            row_stores = [s for s in self.stores if not self.is_full(s.value)]
            elements = self.e.compute([s.position for s in row_stores])
            for store, element in zip(row_stores, elements):
                self.e.store(element, store.value, store.offset, self.k.outputs[store.value])

    def _sweep(self, sweep: Sweep, kept: list[dict[int, Element]]) -> list[State]:
        if self.along_rows:
            width = self._width(self.program.ranges.extents[self.inner[-1]])
            initial = [r.reducer.initial(self.e.elements, width) for r in sweep.reductions]
            states = self._along(sweep, self.inner, width, initial, kept)
            return [across(self.e.elements, r.reducer, s) for r, s in zip(sweep.reductions, states)]
        return self._beside(sweep, self.inner)

    def _width(self, extent: Dim) -> int:
        """Partial results side by side: 16, fewer for the shortest rows."""
        if not isinstance(extent, int):
            return WIDTH
        return min(WIDTH, 1 << (extent - 1).bit_length()) if extent > 1 else 2

    def _step(self, sweep: Sweep, states: list[State], present: Reg | None) -> list[State]:
        """The elements at the point: stored, and taken into the states."""
        e, b = self.e, self.e.elements
        positions = [r.operand for r in sweep.reductions] + [s.position for s in sweep.stores]
        elements = e.compute(positions)
        for store, element in zip(sweep.stores, elements[len(sweep.reductions) :]):
            e.store(element, store.value, store.offset, self.k.outputs[store.value])
        mask = None if present is None else Element(present, bool_)
        after = []
        for reduction, state, x in zip(sweep.reductions, states, elements):
            where = e.full(Element(e.index(reduction.position), int64))
            after.append(reduction.reducer.step(b, state, e.full(x), where, mask))
        return after

    # Vectors along the row --------------------------------------------------------------------------------------

    def _along(
        self,
        sweep: Sweep,
        loops: Sequence[int],
        width: int,
        states: list[State],
        kept: list[dict[int, Element]],
    ) -> list[State]:
        first, *rest = loops
        extent = self.program.ranges.extents[first]
        if rest:
            return self._fold(states, first, lambda inner: self._along(sweep, rest, width, inner, kept))
        if len(self.inner) == 1 and isinstance(extent, int) and extent <= KEPT_CHUNKS * width:
            return self._unrolled(sweep, first, extent, width, states, kept)
        f, e = self.k.f, self.e
        total = e.sizes(extent)
        whole = (
            f.and_(total, -width) if not isinstance(extent, int) else constant(extent // width * width, "i64")
        )

        def chunk(i: Reg, flat: list[Reg]) -> list[Reg]:
            with e.scope({first: i}), e.vector(first, width):
                return _flat(self._step(sweep, _packed(flat, states), None))

        flat = _flat(states)
        if plain(whole) != 0:
            flat = f.fold(0, plain(whole), width, flat, chunk)

        def tail() -> list[Reg]:
            left = constant(extent % width, "i64") if isinstance(extent, int) else f.sub(total, whole)
            mask = present(f, left, width)
            with e.scope({first: whole}), e.vector(first, width, mask):
                return _flat(self._step(sweep, _packed(flat, states), mask))

        if isinstance(extent, int):
            return _packed(tail() if extent % width else flat, states)
        return _packed(self._if(f.icmp("slt", whole, total), tail, flat), states)

    def _unrolled(
        self, sweep: Sweep, variable: int, extent: int, width: int, states: list[State], kept: list
    ) -> list[State]:
        """A short row: its vectors one after the other, with what was computed for them in earlier sweeps."""
        f, e = self.k.f, self.e
        for number, start in enumerate(range(0, extent, width)):
            if number == len(kept):
                kept.append({})
            left = extent - start
            mask = present(f, constant(left, "i64"), width) if left < width else None
            at = {variable: constant(start, "i64")}
            with e.scope(at, kept[number]), e.vector(variable, width, mask):
                states = self._step(sweep, states, mask)
        return states

    # Vectors across rows ----------------------------------------------------------------------------------------

    def _beside(self, sweep: Sweep, loops: Sequence[int]) -> list[State]:
        """The states after all elements under these loops, starting afresh."""
        e, b = self.e, self.e.elements
        fresh = [r.reducer.initial(b, e.count) for r in sweep.reductions]
        fresh = [self._same_start(state) for state in fresh]
        if not loops:
            with e.scope({}):
                return self._step(sweep, fresh, None)
        first, *rest = loops
        if rest:

            def inner(states: list[State]) -> list[State]:
                return self._join(sweep, states, self._beside(sweep, rest))

            return self._fold(fresh, first, inner)
        return self._blocks(sweep, first, fresh)

    def _same_start(self, state: State) -> State:
        """Rows side by side all begin at position 0."""
        return [x if x.dtype != int64 or len(state) == 1 else self.e.elements.constant(0, x) for x in state]

    def _blocks(self, sweep: Sweep, variable: int, fresh: list[State]) -> list[State]:
        """Sums of blocks of 16, added up: the error grows with the number of blocks, not of elements."""
        f, e = self.k.f, self.e
        extent = self.program.ranges.extents[variable]
        total = e.sizes(extent)

        def element(i: Reg, flat: list[Reg]) -> list[Reg]:
            with e.scope({variable: i}):
                return _flat(self._step(sweep, _packed(flat, fresh), None))

        if isinstance(extent, int) and extent <= WIDTH:
            return _packed(f.fold(0, extent, 1, _flat(fresh), element), fresh)

        def block(start: Reg, flat: list[Reg]) -> list[Reg]:
            stop = f.smin(f.add(start, WIDTH), total)
            inside = f.fold(start, stop, 1, _flat(fresh), element)
            return _flat(self._join(sweep, _packed(flat, fresh), _packed(inside, fresh)))

        return _packed(f.fold(0, plain(total), WIDTH, _flat(fresh), block), fresh)

    def _join(self, sweep: Sweep, first: list[State], second: list[State]) -> list[State]:
        b = self.e.elements
        return [r.reducer.join(b, x, y) for r, x, y in zip(sweep.reductions, first, second)]

    # Loops that carry states --------------------------------------------------------------------------------------

    def _fold(
        self, states: list[State], variable: int, body: Callable[[list[State]], list[State]]
    ) -> list[State]:
        f, e = self.k.f, self.e
        extent = e.sizes(self.program.ranges.extents[variable])

        def step(i: Reg, flat: list[Reg]) -> list[Reg]:
            with e.scope({variable: i}):
                e.settle(self.program.results)
                return _flat(body(_packed(flat, states)))

        return _packed(f.fold(0, plain(extent), 1, _flat(states), step), states)

    def _if(self, condition: Reg, then: Callable[[], list[Reg]], otherwise: list[Reg]) -> list[Reg]:
        if otherwise:
            return self.k.f.if_else(condition, then, lambda: otherwise)
        with self.k.f.if_(condition):
            then()
        return []


def _flat(states: Sequence[State]) -> list[Reg]:
    return [x.reg for state in states for x in state]


def _packed(flat: Sequence[Reg], like: Sequence[State]) -> list[State]:
    registers = iter(flat)
    return [[Element(next(registers), x.dtype) for x in state] for state in like]
