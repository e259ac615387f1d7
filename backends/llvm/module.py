"""A plan becomes one LLVM module: a function for each kernel, and `NAME_run`, which calls them in order.

`NAME_run` finds inputs and outputs in its arguments, weights at constant offsets from the address that the handle
begins with, and everything else in the workspace, where the plan put it. Kernels of one structure share a function.
The signature of `NAME_run` is that of `signature.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.backends.llvm.c_api import TEAM, Weights, emit_c_api, size_arguments, size_parameters
from graphc.backends.llvm.calls import Calls
from graphc.backends.llvm.clock import Clock
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.features import required
from graphc.backends.llvm.kernel_function import Fault, KernelFunction, Packing
from graphc.backends.llvm.lowering import lower
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.sharing import ALONE, PARAMETERS, RUN, estimate
from graphc.backends.llvm.signature import Array, Signature, signature_of
from graphc.backends.llvm.status import FAULT
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import call_acquire, call_run, can_share, emit_barrier
from graphc.backends.llvm.turns import chains, samples_of, turn
from graphc.backends.llvm.variants import Variant, emit_choice, needs_of
from graphc.backends.llvm.weights_file import WeightsFile, weights_file
from graphc.ir.dims import Dim, exact_divide
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.ir.types import TensorType
from graphc.plan import Plan
from graphc.plan.buffers import WORKING

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """An array in the weights: which one, in which layout (None: as it is), and where."""

    name: str
    packing: Packing | None
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class NativeModule:
    """The IR of a plan, and what its code needs around it.

    pieces   the layout of the weights, `weights_bytes` in all
    faults   what each status from FAULT on means: status s is faults[s - FAULT]
    file     the form of the weights file that `NAME_open` takes, and the number that names the layout of the weights;
             None for code that changes its weights, which has no C interface
    clock    what the marks between the kernels mean; None for code without
    """

    text: str
    signature: Signature
    pieces: tuple[Piece, ...]
    weights_bytes: int
    faults: tuple[Fault, ...]
    target: Target
    file: WeightsFile | None
    identity: int
    clock: Clock | None = None
    needs: Mapping[Dim, int] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        return f"{self.signature.name}_run"


def fixed_values(plan: Plan) -> frozenset[Value]:
    """Parameters and constants that no kernel writes."""
    written = set(plan.donated.values())
    return frozenset(v for v in (*plan.graph.parameters, *plan.graph.constants) if v not in written)


def build_module(
    plan: Plan,
    target: Target,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    *,
    weights: str = "fp32",
    clocked: bool = False,
    variants: Sequence[Variant] = (),
) -> NativeModule:
    """The module of a plan.

    name: prefix of the exported symbols, the graph's name by default. public: the user's arrays, which stand in the
    weights file too; asked for shapes only. weights: how those of matrix products are stored, fp32, fp16 or int8.
    clocked: with a clock between the kernels. variants: code for some sizes beside the general one.
    """
    driver = _Driver(plan, target, name or plan.graph.name, weights, clocked)
    return driver.build(dict(public or {}), variants)


class _Driver(Calls):
    """Builds `NAME_run`."""

    def __init__(
        self,
        plan: Plan,
        target: Target,
        name: str,
        stored: str,
        clocked: bool,
        within: _Driver | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(within.module if within else target.module(), plan, target, name, fixed_values(plan))
        self.stored, self.names = stored, names or {}
        self.clock = Clock(self.module, name) if clocked else None
        self.results = [i for i in range(len(plan.graph.outputs)) if i not in plan.donated]
        self.pieces: dict[tuple[str, str], Piece] = within.pieces if within else {}
        self.faults: list[Fault] = within.faults if within else []
        self.shared = can_share(self.module) and any(self.is_shared(kernel) for kernel in plan.order)
        self.variants: Sequence[Variant] = ()

    @property
    def weights_bytes(self) -> int:
        """Bytes of all pieces, each from a multiple of the alignment on."""
        return sum(-(-piece.size // ALIGNMENT) * ALIGNMENT for piece in self.pieces.values())

    @property
    def parameters(self) -> dict[str, str]:
        """Those of `NAME_run`."""
        parameters = {"handle": "ptr readonly", **size_parameters(self.symbols)}
        parameters |= {f"input{i}": "ptr" for i in range(len(self.plan.graph.inputs))}
        parameters |= {f"output{i}": "ptr" for i in self.results}
        return parameters | {"workspace": "ptr", "threads": "i32"}

    def _emit_body(self, entry: str, inner: bool) -> str:
        """The function `entry`, which runs all kernels."""
        parameters = self.parameters
        if self.shared:
            job, own = f"{self.name}.work", parameters | PARAMETERS | {"status": "ptr"}
            self._emit_kernels(self.module.function(job, own, returns="i32", internal=True, inline=False))
            f = self.module.function(entry, parameters, returns="i32", internal=inner)
            self._emit_team(f, job)
        else:
            self._emit_kernels(self.module.function(entry, parameters, returns="i32", internal=inner))
        return entry

    def build(self, public: Mapping[str, np.ndarray], variants: Sequence[Variant] = ()) -> NativeModule:
        inner = not self.plan.donated
        entry = f"{self.name}.body" if inner else f"{self.name}_run"
        self.variants = variants
        if variants:
            general = self._emit_body(f"{self.name}.general", True)
            made = [(variant, self._emit_variant(variant)) for variant in variants]
            f = self.module.function(entry, self.parameters, returns="i32", internal=inner)
            emit_choice(f, self.symbols, general, made)
        else:
            self._emit_body(entry, inner)
        pieces = tuple(self.pieces.values())
        file, identity = None, 0
        if inner:
            file = weights_file(self.weights_bytes, public)
            identity = self._identity(file)
            self._add_c_interface(file, identity)
        faults = tuple(self.faults)
        if self.clock:
            self.clock.finish()
        text = str(self.module)
        return NativeModule(
            text,
            self._signature(),
            pieces,
            self.weights_bytes,
            faults,
            self.target,
            file,
            identity,
            self.clock,
            needs_of(self.plan, variants),
        )

    def _emit_variant(self, variant: Variant) -> str:
        name = f"{self.name}.{variant.label}"
        driver = _Driver(variant.plan, self.target, name, self.stored, False, self, variant.names)
        return driver._emit_body(f"{name}.body", True)

    def _emit_kernels(self, f: Function) -> None:
        """All kernels in order; on a team, each member's part of those that are shared."""
        given = size_arguments(f, self.symbols)
        self.sizes = Sizes(f, given)
        self.weights = f.load(f.handle, "ptr", invariant=True)
        counts = Sizes(f, {name: f.smax(n, 1) for name, n in given.items()})
        self.starts = self._regions(f, counts)
        self.calls(f)
        # Updates of parameters come last: what they overwrite may still be an output to copy.
        copies = sorted(self.plan.copies, key=lambda copy: copy[1] in self.plan.donated)
        if copies or self.clock:
            self.meet(f, "alone")
            self.mark(f, None)
        if copies:
            with self.by_the_first(f):
                for value, index in copies:
                    self._copy(f, value, index)
            self.mark(f, None)
        f.ret(constant(0, "i32"))

    def mark(self, f: Function, kernel: Kernel | None) -> None:
        if self.clock:
            with f.if_(f.icmp("eq", f.part, 0)) if self.shared else nullcontext():
                self.clock.mark(f, kernel)

    def _emit_team(self, f: Function, work: str) -> None:
        """Run the kernels on a team, when the run takes long enough and there is one to be had, or alone."""
        status = f.alloca("i32")
        arguments = f.alloca("i64", len(f.parameters) + 1)
        f.store(constant(0, "i32"), status)
        team = f.load(f.gep(f.handle, TEAM), "ptr", invariant=True)
        least = self.least(self.plan.order, RUN)
        wanted = f.and_(f.icmp("sgt", f.threads, 1), f.icmp("ne", team, constant(0, "ptr")))
        if least:
            wanted = f.and_(wanted, f.icmp("sge", f.n, least))  # only of one size is there a least one
        if least is not None:
            self._run_on_team(f, work, team, wanted, arguments, status)
        f.ret(f.call(work, "i32", *f.parameters.values(), *ALONE, status))

    def _run_on_team(
        self, f: Function, work: str, team: Reg, wanted: Reg, arguments: Reg, status: Reg
    ) -> None:
        with f.if_(wanted):
            sizes, need = Sizes(f, size_arguments(f, self.symbols)), constant(0, "i64")
            for own in dict.fromkeys(code.share.own_bytes for code in self.functions.values() if code.share):
                need = f.smax(need, sizes(own)) if own else need
            parts = call_acquire(f, team, f.sext(f.threads, "i64"), need)
            with f.if_(f.icmp("sgt", parts, 1)):
                values = [*f.parameters.values(), status]
                for i, value in enumerate(values):
                    f.store(value, f.gep(arguments, 8 * i))
                call_run(f, team, self._emit_job(work, values), arguments, parts)
                f.ret(f.load(status, "i32"))

    def _emit_job(self, work: str, values: list[Reg]) -> str:
        """The function a team calls: it takes the arguments of the run from memory."""
        job = self.module.function(
            f"{self.name}.job", {"context": "ptr", **PARAMETERS}, internal=True, inline=False
        )
        loaded = [job.load(job.gep(job.context, 8 * i), v.type) for i, v in enumerate(values)]
        own = [job.parameters[key] for key in PARAMETERS]
        job.call(work, "i32", *loaded[:-1], *own, loaded[-1])
        job.ret()
        return job.name

    def _identity(self, file: WeightsFile) -> int:
        """64 bits that name the code and the layout of its weights."""
        digest = hashlib.sha256(str(self.module).encode() + file.header)
        digest.update(repr([(p.name, p.offset, p.size) for p in self.pieces.values()]).encode())
        return int.from_bytes(digest.digest()[:8], "little")

    def _add_c_interface(self, file: WeightsFile, identity: int) -> None:
        weights = Weights(file.length, identity, file.offset) if self.weights_bytes else None
        faults = [f"{fault.node.name}: {fault.message}" for fault in self.faults]
        needed = required(self.target.features)
        emit_c_api(self.module, self._signature(), f"{self.name}.body", needed, weights, faults, self.shared)

    def calls(self, f: Function) -> None:
        for chain in chains(self.plan):
            if not self._take_turns(f, chain):
                self.in_order(f, chain)

    def _take_turns(self, f: Function, chain: Sequence[Kernel]) -> bool:
        """Kernels that compute a few samples each, in turns, when the samples fit; False when they are not for that."""
        count = turn(self.plan, chain) if self.shared and not self.clock and len(chain) > 1 else 0
        if not count or not all(self._divides_samples(kernel) for kernel in chain):
            return False
        self.meet(f, "together")
        samples = self.sizes(samples_of(chain[0]))
        turns = f.udiv(samples, count)
        fit = f.and_(f.icmp("sgt", samples, 0), f.icmp("eq", f.urem(samples, f.mul(f.parts, count)), 0))
        with f.if_(fit):
            own = f.udiv(turns, f.parts)
            begin = f.mul(own, f.part)
            with f.loop(begin, f.add(begin, own)) as number:
                for kernel in chain:
                    code, operands = self.function(kernel), self.operands(f, kernel)
                    f.call(code.f.name, "i32", *operands, number, turns, f.team, f.room)
        with f.if_(f.xor(fit, constant(1, "i1"))):
            self.in_order(f, chain)
        self.met = "together"
        return True

    def _divides_samples(self, kernel: Kernel) -> bool:
        """Whether a kernel's code divides its samples, and needs nothing but them."""
        code, samples = self.function(kernel), samples_of(kernel)
        share = code.share
        if share is None or share.divided is None or share.meets or code.faults:
            return False
        return exact_divide(share.divided, samples) is not None

    def lowered(self, name: str, kernel: Kernel) -> KernelFunction:
        return lower(
            self.module, self.target, name, kernel, self.symbols, self.fixed, self.plan.layouts,
            self.is_shared(kernel), self.stored,
        )  # fmt: skip

    def alone(self, f: Function, code: KernelFunction, kernel: Kernel, operands: list[Reg]) -> None:
        with self.by_the_first(f):
            status = f.call(code.f.name, "i32", *operands)
            if code.faults:
                first = self._add_faults(code, kernel)
                bad = f.icmp("ne", status, 0)
                f.store(f.select(bad, f.add(status, first + FAULT - 1), constant(0, "i32")), f.status)
        if code.faults:
            # All members leave when one found a fault.
            f.call(emit_barrier(self.module), "void", f.team, f.parts)
            self.met = "met"
            status = f.load(f.status, "i32")
            with f.if_(f.icmp("ne", status, 0)):
                f.ret(status)

    def check(self, f: Function, status: Reg, code: KernelFunction, kernel: Kernel) -> None:
        if code.faults:
            first = self._add_faults(code, kernel)
            with f.if_(f.icmp("ne", status, 0)):
                f.ret(f.add(status, first + FAULT - 1))

    def _add_faults(self, code: KernelFunction, kernel: Kernel) -> int:
        """Note what can go wrong in a kernel; gives the number of the first."""
        counterparts = dict(zip(code.kernel.nodes, kernel.nodes, strict=True))
        first = len(self.faults)
        self.faults += [replace(fault, node=counterparts[fault.node]) for fault in code.faults]
        return first

    def given(self, f: Function) -> Sequence[Reg]:
        return list(size_arguments(f, self.symbols).values())

    def address(self, f: Function, value: Value, packing: Packing | None = None) -> Reg:
        location = self.plan.locations[value]
        match location.place:
            case "input":
                return f.parameters[f"input{location.index}"]
            case "output":
                return f.parameters[f"output{location.index}"]
            case "parameter" | "constant":
                graph = self.plan.graph
                leaves = graph.parameters if location.place == "parameter" else graph.constants
                return f.gep(self.weights, self._piece(leaves[location.index], packing).offset)
        return self.arena(f, location.place, location.offset)

    def _regions(self, f: Function, counts: Sizes) -> dict[str, tuple[Reg, Reg]]:
        """Where each region of the arena begins, and the value of its unit."""
        starts, start = {}, f.workspace
        for region in self.plan.regions:
            unit = counts(region.unit)
            starts[region.name] = start, unit
            start = f.gep(start, f.mul(unit, region.nbytes)) if region.nbytes else start
        starts[WORKING] = start, constant(1, "i64")
        return starts

    def arena(self, f: Function, place: str, offset: int) -> Reg:
        start, unit = self.starts[place]
        return f.gep(start, f.mul(unit, offset)) if offset else start

    def _piece(self, leaf: Value, packing: Packing | None) -> Piece:
        name = self.names.get(leaf.name, leaf.name)
        key = name, packing.key if packing else ""
        if key not in self.pieces:
            size = packing.nbytes if packing else _static(leaf.type.nbytes)
            self.pieces[key] = Piece(name, packing, self.weights_bytes, size)
        return self.pieces[key]

    def _copy(self, f: Function, value: Value, index: int) -> None:
        leaf = self.plan.donated.get(index)
        to = f.parameters[f"output{index}"] if leaf is None else self.address(f, leaf)
        size = self.sizes(value.type.nbytes)
        f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", to, self.address(f, value), size, "i1 false")

    def _signature(self) -> Signature:
        graph = self.plan.graph
        names = dict(zip(self.results, (graph.output_names[i] for i in self.results), strict=True))
        return signature_of(
            self.name,
            tuple(_array(value.name, value.type) for value in graph.inputs),
            tuple(_array(names[i], graph.outputs[i].type) for i in self.results),
            needs_of(self.plan, self.variants),
            graph.dims,
            estimate(self.plan.order, self.plan.symbol, self.target),
        )


def _array(name: str, type: TensorType) -> Array:
    return Array(name, type.dtype.name, type.shape)


def _static(dim: Dim) -> int:
    assert isinstance(dim, int), f"{dim} is no constant"
    return dim
