"""Gather and scatter: elements taken from, or added to, positions that are data.

Each position is read once, checked, and then serves the run of neighbouring elements behind it. A position outside of
its axis ends the kernel with a fault. Additions happen in row-major order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.backends.llvm.affine import Form, Index, Ranges, ravel, strides
from graphc.backends.llvm.anchor import Finished, emit_elements, place_of_result
from graphc.backends.llvm.elements import Element, Elements
from graphc.backends.llvm.emitter import Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import Fault, KernelFunction
from graphc.backends.llvm.loop_kernel import in_vectors, plain
from graphc.backends.llvm.program import Program, Space
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.types import int64
from graphc.ops.indexing import IndexOutOfRange


def emit_indexing(k: KernelFunction) -> None:
    """One gather or scatter."""
    (node,) = k.kernel.nodes
    x, positions, *updates = node.inputs
    out = node.output
    by_element = node.op.name.endswith("elements")
    match node.op.name:
        case "gather" | "gather_elements":
            moves = _Moves(k, node, out, out.shape, x, x.shape, positions, positions.shape, by_element)
        case "scatter_add" | "scatter_elements":
            moves = _Moves(
                k, node, x, x.shape, out, out.shape, positions, positions.shape, by_element, Elements.add
            )
        case "scatter":
            (u,) = updates
            merge = _MERGES[node.attributes["how"]]
            moves = _Moves(k, node, u, u.shape, out, out.shape, positions, positions.shape, False, merge, x)
        case name:
            raise UnsupportedError(f"no native code for {name}")
    moves.emit(node.attributes["axis"], k.inputs | k.outputs)
    k.f.ret(constant(0, "i32"))


def emit_max_pool_dx(k: KernelFunction) -> None:
    """The gradient of max pooling: a scatter within each plane, then the epilogue over what it gave."""
    node = k.kernel.anchor
    assert node is not None
    c, positions = node.inputs
    x = node.output
    flat, plane = ((*v.shape[:2], product(v.shape[2:])) for v in (c, x))
    main = place_of_result(k.kernel)
    where = k.f.scratch if main is None else k.outputs[main]
    moves = _Moves(k, node, c, flat, x, plane, positions, flat, True, Elements.add)
    moves.emit(2, {**k.inputs, x: where})
    if k.kernel.epilogue:
        emit_elements(k, Finished, {x: where})
    k.f.ret(constant(0, "i32"))


@dataclass(slots=True)
class _Moves:
    """`moved` are the elements that go from or to the array `addressed`; each has its shape beside it.

    merge  how what comes and what is there become one, when elements go to `addressed`; None when they come from it
    onto   what `addressed` holds before; None for zeros
    """

    k: KernelFunction
    node: Node
    moved: Value
    moved_shape: tuple[Dim, ...]
    addressed: Value
    addressed_shape: tuple[Dim, ...]
    positions: Value
    positions_shape: tuple[Dim, ...]
    by_element: bool
    merge: Callable[[Elements, Element, Element], Element] | None = None
    onto: Value | None = None
    space: Space = field(init=False)
    e: Evaluator = field(init=False)
    size: Dim = 0

    def emit(self, axis: int, pointers: dict[Value, Reg]) -> None:
        self.size = self.addressed_shape[axis]
        self.space = Space(self.moved_shape)
        self.e = Evaluator(self.k.f, Program(Ranges(self.space.extents)), self.k.sizes, pointers)
        message = f"an index is out of range for a size of {self.size}"
        self.k.faults.append(Fault(self.node, message, IndexOutOfRange))
        if self.merge:
            self._begin()
        index = self.space.index()
        behind = axis + (1 if self.by_element else len(self.positions_shape))
        own = index if self.by_element else index[axis:behind]
        # The elements behind the position's axes share it.
        run = [] if self.by_element else self.space.variables(range(behind, len(index)))
        outer = [v for v in self.space.variables() if v not in run]
        rest = (*index[:axis], Form(()), *index[behind:])
        self._nest(outer, lambda: self._at(axis, own, rest, run))

    def _nest(self, loops: Sequence[int], body: Callable[[], None]) -> None:
        if not loops:
            body()
            return
        first, *rest = loops
        extent = self.e.sizes(self.space.extents[first])
        with self.k.f.loop(0, plain(extent)) as i, self.e.scope({first: i}):
            self._nest(rest, body)

    def _at(self, axis: int, own: Index, rest: Index, run: Sequence[int]) -> None:
        """Everything that one position serves."""
        f, e = self.k.f, self.e
        position = self._checked(e.load(self.positions, ravel(own, self.positions_shape), ()))
        stride = e.sizes(strides(self.addressed_shape)[axis])
        start = f.mul(f.mul(position, stride), self.addressed.dtype.itemsize)
        addressed = f.gep(e.pointers[self.addressed], start)
        there, here = ravel(rest, self.addressed_shape), ravel(self.space.index(), self.moved_shape)

        def body() -> None:
            element = e.load(self.addressed, there, (), addressed)
            if self.merge:
                element = self.merge(e.elements, element, e.load(self.moved, here, ()))
                e.store(element, self.addressed, there, addressed)
            else:
                e.store(element, self.moved, here, e.pointers[self.moved])

        if run:
            *outer, inner = run
            lanes = self.k.lanes([self.moved])
            self._nest(outer, lambda: in_vectors(e, inner, lanes, self.k.target.masked_memory, body))
        else:
            body()

    def _checked(self, given: Element) -> Reg:
        """The position as i64 in [0, size); returns from the function when it is not."""
        f, b, size = self.k.f, self.e.elements, self.e.sizes(self.size)
        position = b.convert(given, int64).reg
        if given.dtype.kind == "int":
            position = f.select(f.icmp("slt", position, 0), f.add(position, size), position)
        with f.if_(f.icmp("uge", position, size)):
            f.ret(constant(len(self.k.faults), "i32"))
        return position

    def _begin(self) -> None:
        """What stands in `addressed` before anything is written to it."""
        f, out = self.k.f, self.addressed
        size, there = self.k.sizes(out.type.nbytes), self.e.pointers[out]
        if self.onto is None:
            f.intrinsic("memset", ["ptr", "i64"], "void", there, "i8 0", size, "i1 false")
        else:
            origin = self.e.pointers[self.onto]
            f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", there, origin, size, "i1 false")


_MERGES: dict[str, Callable[[Elements, Element, Element], Element]] = {
    "set": lambda b, old, new: new,
    "add": Elements.add,
    "mul": Elements.mul,
    "max": Elements.maximum,
    "min": Elements.minimum,
}
