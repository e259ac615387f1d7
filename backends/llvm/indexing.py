"""Gather and scatter: elements taken from, or added to, positions that are data.

Each position is read once, checked, and then serves the run of neighbouring elements behind it. A position outside of
its axis ends the kernel with a fault. Additions happen in row-major order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm.affine import Form, Index, Ranges, ravel, strides
from graphc.backends.llvm.elements import Element
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
    if node.op.name not in ("gather", "gather_elements", "scatter_add", "scatter_elements"):
        raise UnsupportedError(f"no native code for {k.kernel!r}")
    if node.output.type.size != 0:
        _Indexing(k, node).emit()
    k.f.ret(constant(0, "i32"))


class _Indexing:
    """`moved` are the elements that go from or to the addressed array, `addressed`, along `axis`."""

    def __init__(self, k: KernelFunction, node: Node) -> None:
        self.k, self.node = k, node
        self.adds = node.op.name.startswith("scatter")
        self.elementwise = node.op.name.endswith("elements")
        x, self.positions = node.inputs
        self.moved, self.addressed = (x, node.output) if self.adds else (node.output, x)
        self.axis: int = node.attributes["axis"]
        self.space = Space(self.moved.shape)
        self.e = Evaluator(k.f, Program(Ranges(self.space.extents)), k.sizes, k.inputs)
        k.faults.append(Fault(node, f"an index is out of range for a size of {self._size}", IndexOutOfRange))

    @property
    def _size(self) -> Dim:
        return self.addressed.shape[self.axis]

    def emit(self) -> None:
        if self.adds:
            self._clear()
        index = self.space.index()
        behind = self.axis + (1 if self.elementwise else self.positions.type.rank)
        own = index if self.elementwise else index[self.axis : behind]
        # The elements behind the position's axes share it.
        run = [] if self.elementwise else self.space.variables(range(behind, len(index)))
        outer = [v for v in self.space.variables() if v not in run]
        rest = (*index[: self.axis], Form(()), *index[behind:])
        self._nest(outer, lambda: self._at(own, rest, run))

    def _nest(self, loops: Sequence[int], body: Callable[[], None]) -> None:
        if not loops:
            body()
            return
        first, *rest = loops
        extent = self.e.sizes(self.space.extents[first])
        with self.k.f.loop(0, plain(extent)) as i, self.e.scope({first: i}):
            self._nest(rest, body)

    def _at(self, own: Index, rest: Index, run: Sequence[int]) -> None:
        """Everything that one position serves."""
        f, e = self.k.f, self.e
        position = self._checked(e.load(self.positions, ravel(own, self.positions.shape), ()))
        stride = e.sizes(strides(self.addressed.shape)[self.axis])
        start = f.mul(f.mul(position, stride), self.addressed.dtype.itemsize)
        addressed = f.gep(self._pointer(self.addressed), start)
        there, here = ravel(rest, self.addressed.shape), ravel(self.space.index(), self.moved.shape)

        def body() -> None:
            with e.scope({}):
                e.pointers = {**self.k.inputs, self.addressed: addressed}
                element = e.load(self.addressed, there, ())
                if self.adds:
                    element = e.elements.add(element, e.load(self.moved, here, ()))
                    e.store(element, self.addressed, there, addressed)
                else:
                    e.store(element, self.moved, here, self._pointer(self.moved))

        if run:
            *outer, inner = run
            lanes = self.k.lanes([self.moved])
            self._nest(outer, lambda: in_vectors(e, inner, lanes, self.k.target.masked_memory, body))
        else:
            body()

    def _checked(self, given: Element) -> Reg:
        """The position as i64 in [0, size); returns from the function when it is not."""
        f, b, size = self.k.f, self.e.elements, self.e.sizes(self._size)
        position = b.convert(given, int64).reg
        if given.dtype.kind == "int":
            position = f.select(f.icmp("slt", position, 0), f.add(position, size), position)
        with f.if_(f.icmp("uge", position, size)):
            f.ret(constant(len(self.k.faults), "i32"))
        return position

    def _pointer(self, value: Value) -> Reg:
        return self.k.outputs[value] if value in self.k.outputs else self.k.inputs[value]

    def _clear(self) -> None:
        f, out = self.k.f, self.node.output
        size = self.k.sizes(product(out.shape) * out.dtype.itemsize)
        f.intrinsic("memset", ["ptr", "i64"], "void", self._pointer(out), "i8 0", size, "i1 false")
