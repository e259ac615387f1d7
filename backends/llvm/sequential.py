"""Along one axis, an element after the other: running sums, linear recurrences, and sorting.

A running sum carries its state in registers, a vector of neighbouring rows where the axis is not the last. Sorting is
a merge sort of positions, so it is stable and its time does not depend on the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.backends.llvm.affine import Form, Ranges, number, ravel, strides, variable
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.loop_kernel import in_vectors, nested, plain
from graphc.backends.llvm.program import Program, Space
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.ir.types import bool_, int64


def emit_sequential(k: KernelFunction) -> None:
    """One node of the kind."""
    (node,) = k.kernel.nodes
    match node.op.name:
        case "cumsum" | "linear_recurrence":
            _Running(k, node).emit()
        case "argsort":
            _Sorting(k, node).emit()
        case name:
            raise UnsupportedError(f"no native code for {name}")
    k.f.ret(constant(0, "i32"))


def scratch_bytes(kernel: Kernel) -> Dim:
    """Two rows of positions for sorting."""
    (node,) = kernel.nodes
    return node.output.shape[node.attributes["axis"]] * 16 if node.op.name == "argsort" else 0


@dataclass(slots=True)
class _Walk:
    """A node, and loops over everything but its axis; `step` is the variable that goes along it."""

    k: KernelFunction
    node: Node
    axis: int = field(init=False)
    out: Value = field(init=False)
    space: Space = field(init=False)
    step: int = field(init=False)
    e: Evaluator = field(init=False)

    def __post_init__(self) -> None:
        self.axis, self.out = self.node.attributes["axis"], self.node.output
        self.space = Space(self.out.shape)
        self.step = self.space.variable(self.out.shape[self.axis])
        pointers = self.k.inputs | self.k.outputs
        self.e = Evaluator(self.k.f, Program(Ranges(self.space.extents)), self.k.sizes, pointers)

    def others(self) -> tuple[list[int], list[int]]:
        """The loops before the axis and those behind it."""
        rank = len(self.out.shape)
        return self.space.variables(range(self.axis)), self.space.variables(range(self.axis + 1, rank))

    def place(self, along: Form) -> Form:
        """The number of the element at a position along the axis."""
        index = self.space.index()
        return ravel((*index[: self.axis], along, *index[self.axis + 1 :]), self.out.shape)


class _Running(_Walk):
    """State after state; the first is the first element itself."""

    def emit(self) -> None:
        outer, inner = self.others()
        if not inner:
            nested(self.e, outer, (), self._row)
            return
        *middle, last = inner
        lanes, masked = self.k.lanes([self.out]), self.k.target.masked_memory
        nested(self.e, [*outer, *middle], (), lambda: in_vectors(self.e, last, lanes, masked, self._row))

    def _row(self) -> None:
        e, f, size = self.e, self.k.f, self.out.shape[self.axis]
        attributes = self.node.attributes
        along = number(size - 1) - variable(self.step) if attributes["reverse"] else variable(self.step)
        place = self.place(along)
        zero = e.full(e.elements.number(0, self.out.dtype))

        def one(i: Reg, carried: list[Reg]) -> list[Reg]:
            with e.scope({self.step: i}):
                state = Element(carried[0], self.out.dtype)
                first = e.full(Element(f.icmp("eq", i, 0), bool_))
                *factors, term = (e.full(e.load(v, place, ())) for v in self.node.inputs)
                grown = e.elements.mul(factors[0], state) if factors else state
                following = e.elements.select(first, term, e.elements.add(grown, term))
                kept = e.elements.select(first, zero, state) if attributes.get("exclusive") else following
                e.store(kept, self.out, place, e.pointers[self.out])
                return [following.reg]

        f.fold(0, plain(e.sizes(size)), 1, [zero.reg], one)


class _Sorting(_Walk):
    """Rows one by one; positions go back and forth between the two halves of the working memory."""

    def emit(self) -> None:
        outer, inner = self.others()
        nested(self.e, [*outer, *inner], (), self._row)

    def _row(self) -> None:
        f, e = self.k.f, self.e
        (x,) = self.node.inputs
        size = e.sizes(self.out.shape[self.axis])
        first = f.scratch
        second = f.gep(first, f.mul(size, 8))
        start, stride = e.index(self.place(Form(()))), e.sizes(strides(self.out.shape)[self.axis])
        last = f.smax(f.sub(size, 1), 0)

        def at(memory: Reg, position: Reg) -> Reg:
            return f.gep(memory, f.mul(position, 8))

        def key(position: Reg) -> Element:
            here = f.gep(e.pointers[x], f.mul(f.add(start, f.mul(position, stride)), x.dtype.itemsize))
            return e.load(x, Form(()), (), here)

        with f.loop(0, plain(size)) as i:
            f.store(i, at(first, i))
        # Runs of 1, 2, 4 ... are in order after 0, 1, 2 ... rounds.
        zeros = f.intrinsic("ctlz", ["i64"], "i64", last, "i1 false")
        rounds = f.sub(64, zeros)
        with f.loop(0, rounds) as number_of_round:
            odd = f.icmp("ne", f.and_(number_of_round, 1), 0)
            source, target = f.select(odd, second, first), f.select(odd, first, second)
            width = f.shl(constant(1, "i64"), number_of_round)
            with f.loop(0, size, f.shl(width, 1)) as low:
                middle = f.smin(f.add(low, width), size)
                high = f.smin(f.add(middle, width), size)

                def merge(place: Reg, carried: list[Reg]) -> list[Reg]:
                    i, j = carried
                    left = f.load(at(source, f.smin(i, last)), "i64")
                    right = f.load(at(source, f.smin(j, last)), "i64")
                    wins = f.and_(self._before(key(right), key(left)).reg, f.icmp("slt", j, high))
                    takes = f.or_(f.icmp("sge", i, middle), wins)
                    f.store(f.select(takes, right, left), at(target, place))
                    more = f.zext(takes, "i64")
                    return [f.add(i, f.sub(1, more)), f.add(j, more)]

                f.fold(low, high, 1, [low, middle], merge)
        odd = f.icmp("ne", f.and_(rounds, 1), 0)
        result = f.select(odd, second, first)
        with f.loop(0, plain(size)) as i:
            there = f.add(start, f.mul(i, stride))
            where = f.gep(e.pointers[self.out], f.mul(there, int64.itemsize))
            f.store(f.load(at(result, i), "i64"), where)

    def _before(self, x: Element, y: Element) -> Element:
        """Whether x must stand before y; NaN is larger than every number."""
        b, descending = self.e.elements, self.node.attributes["descending"]
        strictly = b.greater(x, y) if descending else b.less(x, y)
        if not x.dtype.is_float:
            return strictly
        nan, other = (x, y) if descending else (y, x)
        return b.or_(strictly, b.and_(b.is_nan(nan), b.not_(b.is_nan(other))))
