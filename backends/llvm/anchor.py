"""Kernels around an anchor: something computed at every index of a result, then an epilogue, then the store.

An anchor (a product, a convolution, a window, random numbers) says what it reads as loads with index forms in the
result's loops and in inner loops of its own; the harness fuses loops, runs them in vectors, puts what the anchor
computes into the epilogue's program and stores the results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.backends.llvm.affine import Form, Ranges, variable
from graphc.backends.llvm.channel_loops import ChannelLoops
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Condition, Guard, reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.loop_kernel import Part, fuse_loops, nest, plain
from graphc.backends.llvm.program import Program, Root, Space, trace_in
from graphc.backends.llvm.storage import place
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node, Value
from graphc.ir.partition import Kernel
from graphc.plan.layout import Layouts

UNROLLED = 16  # trips of an anchor's own loops up to which they are written out


@dataclass(slots=True)
class Access:
    """An element of an array an anchor reads: an index form per axis, read only where the guard holds."""

    value: Value
    offset: Form
    guard: Guard


@dataclass(slots=True)
class Anchor(ABC):
    """What stands in the middle of a kernel: declares its accesses, then computes its results at a point.

    space      the loops of the result; `inner` loops are added to it and belong to the anchor
    uncounted  values whose elements may take several registers: they do not make vectors shorter
    """

    node: Node
    space: Space
    accesses: list[Access] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    inner: list[int] = field(default_factory=list)
    layouts: Layouts = field(default_factory=dict)
    uncounted: Sequence[Value] = ()

    def loop(self, extent: Dim) -> Form:
        """A loop of the anchor's own: its variable."""
        if extent == 1:
            return Form(())
        self.inner.append(self.space.variable(extent))
        return variable(self.inner[-1])

    def reads(self, value: Value, index: Sequence[Form], guard: Guard = ()) -> None:
        """Declare the next access. Conditions that always hold are left out."""
        ranges = Ranges(self.space.extents)
        kept = tuple(c for c in guard if c.divisor or not ranges.nonnegative(c.form))
        settled = Ranges(self.space.extents, may_split=False)
        self.accesses.append(Access(value, place(value, tuple(index), settled, self.layouts), kept))

    @abstractmethod
    def prepare(self) -> None:
        """Declare inner loops, accesses, and other forms the computation needs."""

    @abstractmethod
    def compute(self, e: Evaluator) -> Sequence[Element]:
        """The node's outputs at the evaluator's point."""

    def fold(
        self, e: Evaluator, initial: Sequence[Reg], body: Callable[[list[Reg]], Sequence[Reg]]
    ) -> list[Reg]:
        """Carry registers through all inner loops."""

        extents = [e.program.ranges.extents[v] for v in self.inner]
        trips = product(extents)
        unrolled = isinstance(trips, int) and trips <= UNROLLED

        def level(depth: int, values: list[Reg]) -> list[Reg]:
            if depth == len(self.inner):
                return list(body(values))
            number, extent = self.inner[depth], extents[depth]

            def step(i: Reg, carried: list[Reg]) -> list[Reg]:
                with e.scope({number: i}):
                    return level(depth + 1, carried)

            if not unrolled:
                return e.f.fold(0, plain(e.sizes(extent)), 1, values, step)
            assert isinstance(extent, int)
            for i in range(extent):
                values = step(constant(i, "i64"), values)
            return values

        return level(0, list(initial))


def inside(index: Form, size: Dim) -> Guard:
    """The index lies in an axis of this size."""
    return Condition(index), Condition(Form((), size - 1) - index)


def emit_anchor_kernel(k: KernelFunction, make: Callable[[Node, Space], Anchor]) -> None:
    """The body of a kernel with an anchor, element by element of its result."""
    emit_elements(k, make, {})
    k.f.ret(constant(0, "i32"))


def emit_elements(
    k: KernelFunction, make: Callable[[Node, Space], Anchor], more: Mapping[Value, Reg]
) -> None:
    """The loops of a kernel with an anchor. more: where values lie that are no inputs of the kernel."""
    kernel, f, node = k.kernel, k.f, k.kernel.anchor
    assert node is not None
    result = node.outputs[0]
    space = Space(result.shape)

    def roots(ranges: Ranges) -> list[Root]:
        return [(v, reshape_index(space.index(), result.shape, v.shape, ranges)) for v in kernel.outputs]

    def holes(ranges: Ranges) -> dict[Value, tuple[Form, ...]]:
        return {v: space.index() for v in node.outputs}

    channels = ChannelLoops.of(space, (*kernel.outputs, *kernel.inputs, *more), k.layouts)
    program, chosen = trace_in(space, kernel.nodes, roots, holes, k.layouts)
    anchor = make(node, space)
    anchor.layouts = k.layouts
    anchor.prepare()
    stores = k.places(chosen, space)
    forms = [
        *stores,
        *anchor.forms,
        *(a.offset for a in anchor.accesses),
        *(c.form for a in anchor.accesses for c in a.guard),
    ]
    numerators = [q.numerator for form in forms for q in form.quotients]
    order = channels.order(space.variables()) if channels else space.variables()
    program = Program(Ranges(space.extents), program.expressions, program.results)
    program, fused, loops = fuse_loops(
        program, [*forms, *numerators], order, channels.apart if channels else ()
    )
    _take_back(anchor, stores, fused)
    e = Evaluator(f, program, k.sizes, {**k.inputs, **more})

    def body() -> None:
        found = anchor.compute(e)
        e.holes.update(zip(node.outputs, found, strict=True))
        elements = e.compute(program.results)
        for element, value, offset in zip(elements, kernel.outputs, stores, strict=True):
            e.store(element, value, offset, k.outputs[value])

    if 0 not in [program.ranges.extents[v] for v in loops]:
        lanes = k.lanes([v for v in (*node.inputs, *kernel.outputs) if v not in anchor.uncounted])
        run = channels.within(e, body) if channels else body
        parts = _parts(anchor, program.ranges, loops, lanes, _each(e, run))
        nest(e, loops, program.results, lanes, k.target.masked_memory, parts, k.share)


def _parts(
    anchor: Anchor, ranges: Ranges, loops: Sequence[int], lanes: int, body: Callable[[], None]
) -> list[Part]:
    """The innermost loop, cut where windows begin and cease to lie inside, if the part between is long enough."""
    everything = [Part(0, None, True, body)]
    inside_of = _inside(anchor, ranges, loops[-1]) if loops else None
    if inside_of is None or inside_of.stop - inside_of.start < lanes // 2:
        return everything
    guarded = anchor.accesses

    def free() -> None:
        anchor.accesses = [
            Access(a.value, a.offset, tuple(c for c in a.guard if loops[-1] not in c.form.variables))
            for a in guarded
        ]
        body()
        anchor.accesses = guarded

    return [
        Part(0, inside_of.start, False, body),
        Part(inside_of.start, inside_of.stop, True, free),
        Part(inside_of.stop, None, False, body),
    ]


def _inside(anchor: Anchor, ranges: Ranges, along: int) -> range | None:
    """The values of the innermost variable for which every condition on it holds, whatever the anchor's own loops do.

    None when there is no such condition, or one of another form.
    """
    extent = ranges.extents[along]
    conditions = [c for a in anchor.accesses for c in a.guard if along in c.form.variables]
    if not conditions or not isinstance(extent, int):
        return None
    low, high = 0, extent
    for condition in conditions:
        step = condition.form.coefficient(along)
        rest = ranges.below(condition.form - variable(along) * step)
        own = condition.form.variables - {along}
        plain_form = not condition.divisor and not condition.form.quotients and own <= set(anchor.inner)
        if not plain_form or not isinstance(step, int) or not isinstance(rest, int):
            return None
        if step > 0:
            low = max(low, -(rest // step))
        else:
            high = min(high, rest // -step + 1)
    return range(low, max(low, high))


@dataclass(slots=True)
class Finished(Anchor):
    """A result that is in memory already: what is left is its epilogue, which asks for no other result."""

    def prepare(self) -> None:
        self.reads(self.node.outputs[0], self.space.index())

    def compute(self, e: Evaluator) -> Sequence[Element]:
        (access,) = self.accesses
        others = [e.elements.number(0, v.dtype) for v in self.node.outputs[1:]]
        return [e.load(access.value, access.offset, ()), *others]


def place_of_result(kernel: Kernel) -> Value | None:
    """The output whose memory an anchor's result may be made in before the epilogue runs over it."""
    assert kernel.anchor is not None
    result = kernel.anchor.outputs[0]
    if result in kernel.outputs:
        return result
    return next((v for v in kernel.outputs if v.type == result.type), None)


def _each(e: Evaluator, body: Callable[[], None]) -> Callable[[], None]:
    """The body in a scope of its own, so that what it computes is not taken for the next point's."""

    def run() -> None:
        with e.scope({}):
            body()

    return run


def _take_back(anchor: Anchor, stores: list[Form], fused: list[Form]) -> None:
    """Put forms renamed by loop fusion where they came from."""
    following = iter(fused)
    stores[:] = [next(following) for _ in stores]
    anchor.forms = [next(following) for _ in anchor.forms]
    for access in anchor.accesses:
        access.offset = next(following)
    for access in anchor.accesses:
        access.guard = tuple(Condition(next(following), c.divisor) for c in access.guard)
