"""A loop with a state: native code runs the body's kernels in a loop, with the body's own memory plan.

The state moves by pointers. What a step gives as its next state and returns as well is written once, where it is
returned, and the next step reads it there; a state nobody sees lies in two buffers that take turns. Weights that change
between calls are packed once before the loop. On a team every member walks through the loop, and all meet once a step,
or wherever work by all begins or ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from graphc.backends.llvm import lowering
from graphc.backends.llvm.calls import Calls
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.kernel_function import KernelFunction, Packing
from graphc.backends.llvm.layouts import choose_layouts
from graphc.backends.llvm.loop_kernel import plain
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.target import Target
from graphc.ir.dims import Dim, SymbolicDim, substitute, symbol
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel
from graphc.ops.control import split
from graphc.passes.fuse import fuse
from graphc.plan import Plan, make_plan

LINE = 64
FAULTY = ("indexing", "random")  # kinds of kernels that may find a fault, which one member reports


@dataclass(frozen=True, slots=True)
class Loop:
    """How a scan runs.

    plan      of the body, whose outputs are the values a step makes, each once
    known     inputs of the body that may lie in another layout
    packs     those of them that are packed before the loop, and where
    homes     for each value a step makes the result of the scan it is written to; None: `rooms` or a state's buffers
    rooms     where values lie that are neither: in the working memory, as all that follows
    buffers   the two buffers of a state, by its position
    arena     the body's own working memory
    nbytes    working memory in all
    """

    node: Node
    plan: Plan
    known: frozenset[Value]
    packs: Mapping[Value, tuple[Packing, Dim]]
    homes: Mapping[Value, int | None]
    rooms: Mapping[Value, Dim]
    buffers: Mapping[int, tuple[Dim, Dim]]
    arena: Dim
    nbytes: Dim

    @property
    def body(self) -> Graph:
        body: Graph = self.node.attributes["body"]
        return body

    @property
    def carries(self) -> int:
        count: int = self.node.attributes["carries"]
        return count

    def parts(self, values: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value], Sequence[Value]]:
        return split(values, carries=self.carries, sequences=self.node.attributes["sequences"])


@dataclass
class _Room:
    """Working memory, handed out from its beginning."""

    nbytes: Dim = 0

    def take(self, nbytes: Dim) -> Dim:
        begin = self.nbytes
        self.nbytes = begin + _rounded(nbytes)
        return begin


def plan_loop(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Loop:
    """Plan the loop of a kernel; fixed: operands whose arrays are known now and never change."""
    return _plan_loop(kernel, target, fixed & frozenset(kernel.inputs))


@lru_cache(maxsize=256)
def _plan_loop(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Loop:
    (node,) = kernel.nodes
    target = _within(target)
    body, carries = node.attributes["body"], node.attributes["carries"]
    made = tuple(dict.fromkeys(v for v in body.outputs if v.node is not None))
    inner = body.with_(outputs=made, output_names=tuple(f"y{i}" for i in range(len(made))))
    always, changing = _packable(node, fixed)
    known = always | changing
    partition = fuse(inner)
    layouts = choose_layouts(partition, target, known)
    plan = make_plan(
        partition,
        scratch=lambda k: lowering.scratch_bytes(k, target, known, layouts),
        layouts=layouts,
    )
    room = _Room()
    homes: dict[Value, int | None] = {}
    rooms: dict[Value, Dim] = {}
    buffers: dict[int, tuple[Dim, Dim]] = {}
    for value in made:
        places = [i for i, v in enumerate(body.outputs) if v is value]
        results = [i for i in places if i >= carries and node.outputs[i] in kernel.outputs]
        homes[value] = results[0] if results else None
        if not results and places[0] >= carries:
            rooms[value] = room.take(value.type.nbytes)
        elif not results:
            buffers[places[0]] = room.take(value.type.nbytes), room.take(value.type.nbytes)
    for i, value in enumerate(body.outputs[:carries]):
        if value in body.inputs[:carries]:  # its own buffer may be written over before it is read
            buffers[i] = room.take(value.type.nbytes), room.take(value.type.nbytes)
    packs = {}
    for value, packing in _packings(plan, target, known, changing).items():
        packs[value] = packing, room.take(packing.nbytes)
    arena = room.take(0)
    one_more = {name: symbol(name) + 1 for name in plan.symbols}  # a size of 0 counts as 1
    for unit, count in plan.needs.items():
        room.take(substitute(unit, one_more) * count)
    return Loop(node, plan, known, packs, homes, rooms, buffers, arena, room.nbytes)


def _within(target: Target) -> Target:
    """The target of a body: its weights may have to be packed at run time, which not every kernel's can."""
    return replace(target, strict=True)


def _packable(node: Node, fixed: frozenset[Value]) -> tuple[frozenset[Value], frozenset[Value]]:
    """Inputs of the body that may lie in another layout: known ones, and matrices that are packed before the loop."""
    body = node.attributes["body"]
    attributes = {name: node.attributes[name] for name in ("carries", "sequences")}
    always, changing = set(), set()
    for value, operand in zip(split(body.inputs, **attributes)[2], split(node.inputs, **attributes)[2]):
        reads = [(n, i) for n in body.nodes for i, v in enumerate(n.inputs) if v is value]
        if len(reads) != 1 or value in body.outputs:
            continue
        if operand in fixed and node.inputs.count(operand) == 1:
            always.add(value)
        elif reads[0][0].op.name == "matmul" and reads[0][1] == 1 and value.type.rank == 2:
            changing.add(value)
    return frozenset(always), frozenset(changing)


def _packings(
    plan: Plan, target: Target, known: frozenset[Value], changing: frozenset[Value]
) -> dict[Value, Packing]:
    """The layouts kernels want of matrices that change between calls, found by writing these kernels once."""
    module = target.module()
    found: dict[Value, Packing] = {}
    for kernel in plan.order:
        if changing & set(kernel.inputs):
            code = lowering.lower(module, target, kernel.name, kernel, plan.symbols, known, plan.layouts)
            found |= {value: packing for value, packing in code.packed.items() if value in changing}
    return found


def _rounded(nbytes: Dim) -> Dim:
    """Bytes in whole cache lines, at every size."""
    if isinstance(nbytes, int):
        return -(-nbytes // LINE) * LINE
    return SymbolicDim(tuple((monomial, -(-count // LINE) * LINE) for monomial, count in nbytes.terms))


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> Dim:
    """Working memory of a loop."""
    return plan_loop(kernel, target, fixed).nbytes


def may_share(kernel: Kernel, target: Target, fixed: frozenset[Value]) -> bool:
    """Whether a team can walk through the loop: no kernel of it may end it early."""
    order = plan_loop(kernel, target, fixed).plan.order
    return not any(inner.kind in FAULTY or _refuses(inner) for inner in order)


def _refuses(kernel: Kernel) -> bool:
    return kernel.kind == "row" and any(
        n.op.kind is Kind.REDUCTION and n.op.name != "sum" for n in kernel.nodes
    )


def emit_scan(k: KernelFunction) -> None:
    """The body of a kernel with a loop."""
    _Body(k, plan_loop(k.kernel, k.target, k.fixed)).emit()


class _Body(Calls):
    """Writes the loop into the kernel's function."""

    def __init__(self, k: KernelFunction, loop: Loop) -> None:
        super().__init__(k.module, loop.plan, _within(k.target), k.f.name, loop.known)
        self.k, self.loop, self.shared = k, loop, k.share is not None
        self.operands_of = dict(zip(loop.body.inputs, loop.node.inputs, strict=True))
        self.where: dict[Value, Reg] = {}  # inputs of the body, at this step
        self.targets: list[Reg] = []  # outputs of the body, at this step
        self.arena_base = k.f.scratch

    def emit(self) -> None:
        k, f, loop = self.k, self.k.f, self.loop
        state, sequences, fixed = loop.parts(loop.body.inputs)
        self.arena_base = self._room(loop.arena)
        for value in fixed:
            self.where[value] = k.inputs[self.operands_of[value]]
        self._pack()
        length = plain(k.sizes(loop.node.attributes["length"]))
        starts = [k.inputs[self.operands_of[v]] for v in state]
        turns = [self._room(offset) for pair in loop.buffers.values() for offset in pair]
        reverse = loop.node.attributes["reverse"]

        def step(t: Reg, carried: list[Reg]) -> list[Reg]:
            at = f.sub(f.sub(f.operand(length, "i64"), 1), t) if reverse else t
            now, spare = carried[: len(state)], carried[len(state) :]
            buffers = dict(zip(loop.buffers, zip(spare[::2], spare[1::2])))
            self.where.update(zip(state, now))
            for value in sequences:
                self.where[value] = self._element(k.inputs[self.operands_of[value]], value, at)
            self.targets = [self._target(v, at, buffers) for v in loop.homes]
            self.turn = f.and_(t, 1)
            self.calls(f)
            after = self._copies(at, buffers)
            used = any(code.share is not None and code.share.used for code in self.functions.values())
            if self.met != "met" and used:
                self.meet(f, "together")
            self.met = "met"
            turned = [pointer for pair in buffers.values() for pointer in pair[::-1]]
            return [*after, *turned]

        carried = f.fold(0, length, 1, [*starts, *turns], step)
        with self.by_the_first(f):
            for position, pointer in enumerate(carried[: len(state)]):
                result = loop.node.outputs[position]
                if result in k.outputs:
                    self._copy(pointer, k.outputs[result], result)
        if k.share:
            inner = [code.share for code in self.functions.values() if code.share is not None]
            k.share.used = any(share.used for share in inner)
            k.share.meets = True
            for own in dict.fromkeys(share.own_bytes for share in inner):
                k.share.own_bytes = k.share.own_bytes + own
        f.ret(constant(0, "i32"))

    def _pack(self) -> None:
        """Put weights that change between calls into the order their kernels want."""
        k = self.k
        for value, (packing, offset) in self.loop.packs.items():
            assert packing.emit is not None
            packed = self._room(offset)
            packing.emit(k, self.where[value], packed)
            self.where[value] = packed
            if k.share:
                self.met = "together"
        self.meet(k.f, "together")
        self.met = "met"

    def _room(self, offset: Dim) -> Reg:
        return self.k.f.gep(self.k.f.scratch, self.k.sizes(offset)) if offset != 0 else self.k.f.scratch

    def _element(self, base: Reg, value: Value, at: Reg) -> Reg:
        """An element of a sequence, or of stacked results."""
        return self.k.f.gep(base, self.k.f.mul(at, self.k.sizes(value.type.nbytes)))

    def _target(self, value: Value, at: Reg, buffers: Mapping[int, tuple[Reg, Reg]]) -> Reg:
        """Where a step writes a value."""
        loop, home = self.loop, self.loop.homes[value]
        if home is not None:
            return self._element(self.k.outputs[loop.node.outputs[home]], value, at)
        if value in loop.rooms:
            return self._room(loop.rooms[value])
        return buffers[loop.body.outputs.index(value)][0]

    def _copies(self, at: Reg, buffers: Mapping[int, tuple[Reg, Reg]]) -> list[Reg]:
        """What a step returns beside what it makes; gives where the next state lies."""
        k, f, loop = self.k, self.k.f, self.loop
        lies = dict(zip(loop.homes, self.targets, strict=True)) | self.where
        todo: list[tuple[Reg, Reg, Value]] = []
        after = []
        for position, value in enumerate(loop.body.outputs):
            result = loop.node.outputs[position]
            if position < loop.carries:
                moved = position in buffers and value.node is None
                if moved:
                    todo.append((lies[value], buffers[position][0], value))
                after.append(buffers[position][0] if moved else lies[value])
            elif result in k.outputs and loop.homes.get(value) != position:
                todo.append((lies[value], self._element(k.outputs[result], value, at), value))
        if todo:
            with self.by_the_first(f):
                for source, to, value in todo:
                    self._copy(source, to, value)
        return after

    def _copy(self, source: Reg, to: Reg, value: Value) -> None:
        size = self.k.sizes(value.type.nbytes)
        self.k.f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", to, source, size, "i1 false")

    # What `Calls` asks ---------------------------------------------------------------------------------------------

    def lowered(self, name: str, kernel: Kernel) -> KernelFunction:
        shared = self.shared and self.is_shared(kernel)
        weights = "fp32" if self.loop.packs else self.k.weights  # what is packed at run time stays as it is
        return lowering.lower(
            self.module,
            self.target,
            name,
            kernel,
            self.symbols,
            self.fixed,
            self.plan.layouts,
            shared,
            weights,
        )

    def address(self, f: Function, value: Value, packing: Packing | None = None) -> Reg:
        location = self.plan.locations[value]
        match location.place:
            case "input":
                own = self.plan.graph.inputs[location.index]
                if packing is not None and own not in self.loop.packs:
                    self.k.packed[self.operands_of[own]] = packing
                return self.where[own]
            case "output":
                return self.targets[location.index]
        return self.arena(f, location.place, location.offset)

    def arena(self, f: Function, place: str, offset: int) -> Reg:
        start, counts = (
            self.arena_base,
            Sizes(f, {name: f.smax(n, 1) for name, n in self.k.sizes.symbols.items()}),
        )
        for region in self.plan.regions:
            unit = counts(region.unit)
            if region.name == place:
                return f.gep(start, f.mul(unit, offset))
            start = f.gep(start, f.mul(unit, region.nbytes))
        return f.gep(start, offset)  # WORKING lies behind all regions

    def given(self, f: Function) -> Sequence[Reg]:
        return [self.k.sizes.symbols[name] for name in self.symbols]

    def check(self, f: Function, status: Reg, code: KernelFunction, kernel: Kernel) -> None:
        if code.faults:
            first = len(self.k.faults)
            self.k.faults.extend(replace(fault, node=self.loop.node) for fault in code.faults)
            with f.if_(f.icmp("ne", status, 0)):
                f.ret(f.add(status, first))
