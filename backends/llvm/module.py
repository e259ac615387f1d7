"""A plan becomes one LLVM module: a function for each kernel, and `NAME_run`, which calls them in order.

`NAME_run` finds inputs and outputs in its arguments, weights at constant offsets from the address that the handle
begins with, and everything else in the workspace, where the plan put it. Kernels of one structure share a function.
The signature of `NAME_run` is that of `signature.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphc.backends.llvm.c_api import FAULT, Weights, emit_c_api
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.features import required
from graphc.backends.llvm.kernel_function import Fault, KernelFunction, Packing
from graphc.backends.llvm.lowering import lower, scratch_bytes, structure
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.signature import Array, Signature
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.weights_file import WeightsFile, weights_file
from graphc.errors import InternalError
from graphc.ir.cost import total_flops
from graphc.ir.dims import Dim, linear_in
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.ir.types import TensorType
from graphc.plan import Plan

ALIGNMENT = 64
FLOPS_PER_NANOSECOND = 30.0
BYTES_PER_NANOSECOND = 10.0


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
    """

    text: str
    signature: Signature
    pieces: tuple[Piece, ...]
    weights_bytes: int
    faults: tuple[Fault, ...]
    target: Target
    file: WeightsFile | None
    identity: int

    @property
    def entry(self) -> str:
        return f"{self.signature.name}_run"


def fixed_values(plan: Plan) -> frozenset[Value]:
    """Parameters and constants that no kernel writes."""
    written = set(plan.donated.values())
    return frozenset(v for v in (*plan.graph.parameters, *plan.graph.constants) if v not in written)


def build_module(
    plan: Plan, target: Target, name: str = "", public: Mapping[str, np.ndarray] | None = None
) -> NativeModule:
    """The module of a plan.

    name: prefix of the exported symbols, the graph's name by default. public: the user's arrays, which stand in the
    weights file too; asked for shapes only.
    """
    return _Driver(plan, target, name or plan.graph.name).build(dict(public or {}))


class _Driver:
    """Builds `NAME_run`."""

    def __init__(self, plan: Plan, target: Target, name: str) -> None:
        self.plan, self.target, self.name = plan, target, name
        self.module = target.module()
        self.fixed = fixed_values(plan)
        self.symbols = (plan.symbol,) if plan.symbol else ()
        self.results = [i for i in range(len(plan.graph.outputs)) if i not in plan.donated]
        self.functions: dict[str, KernelFunction] = {}
        self.pieces: dict[tuple[str, str], Piece] = {}
        self.weights_bytes = 0
        self.faults: list[Fault] = []

    def build(self, public: Mapping[str, np.ndarray]) -> NativeModule:
        graph = self.plan.graph
        parameters = {"handle": "ptr readonly", "n": "i64"}
        parameters |= {f"input{i}": "ptr" for i in range(len(graph.inputs))}
        parameters |= {f"output{i}": "ptr" for i in self.results}
        parameters |= {"workspace": "ptr", "threads": "i32"}
        inner = not self.plan.donated
        f = self.module.function(
            f"{self.name}.body" if inner else f"{self.name}_run", parameters, returns="i32", internal=inner
        )
        self.sizes = Sizes(f, dict.fromkeys(self.symbols, f.n))
        self.weights = f.load(f.handle, "ptr", invariant=True)
        self.count = f.smax(f.n, 1)
        for kernel in self.plan.order:
            if kernel.kind != "view":
                self._call(f, kernel)
        # Updates of parameters come last: what they overwrite may still be an output to copy.
        for value, index in sorted(self.plan.copies, key=lambda copy: copy[1] in self.plan.donated):
            self._copy(f, value, index)
        f.ret(constant(0, "i32"))
        pieces = tuple(self.pieces.values())
        file, identity = None, 0
        if inner:
            file = weights_file(self.weights_bytes, public)
            identity = self._identity(file)
            self._add_c_interface(file, identity)
        faults = tuple(self.faults)
        text = str(self.module)
        return NativeModule(
            text, self._signature(), pieces, self.weights_bytes, faults, self.target, file, identity
        )

    def _identity(self, file: WeightsFile) -> int:
        """64 bits that name the code and the layout of its weights."""
        digest = hashlib.sha256(str(self.module).encode() + file.header)
        digest.update(repr([(p.name, p.offset, p.size) for p in self.pieces.values()]).encode())
        return int.from_bytes(digest.digest()[:8], "little")

    def _add_c_interface(self, file: WeightsFile, identity: int) -> None:
        weights = Weights(file.length, identity, file.offset) if self.weights_bytes else None
        faults = [f"{fault.node.name}: {fault.message}" for fault in self.faults]
        needed = required(self.target.features)
        emit_c_api(self.module, self._signature(), f"{self.name}.body", needed, weights, faults)

    def _call(self, f: Function, kernel: Kernel) -> None:
        shape = structure(kernel, self.fixed, self.plan.layouts)
        if shape not in self.functions:
            name = f"{self.name}_{kernel.name}"
            self.functions[shape] = lower(
                self.module, self.target, name, kernel, self.symbols, self.fixed, self.plan.layouts
            )
        code = self.functions[shape]
        operands = []
        for own, value in zip(code.kernel.inputs, kernel.inputs, strict=True):
            operands.append(self._address(f, value, code.packed.get(own)))
        operands += [self._address(f, value) for value in kernel.outputs]
        scratch = self.plan.scratch.get(kernel.name)
        if scratch is None and scratch_bytes(kernel, self.target, self.fixed, self.plan.layouts) != 0:
            raise InternalError(f"the plan has no working memory for {kernel!r}")
        operands.append(
            constant(0, "ptr") if scratch is None else self._arena(f, scratch.place, scratch.offset)
        )
        status = f.call(code.f.name, "i32", *operands, *(f.n for _ in self.symbols))
        if not code.faults:
            return
        counterparts = dict(zip(code.kernel.nodes, kernel.nodes, strict=True))
        first = len(self.faults)
        self.faults += [replace(fault, node=counterparts[fault.node]) for fault in code.faults]
        with f.if_(f.icmp("ne", status, 0)):
            f.ret(f.add(status, first + FAULT - 1))

    def _address(self, f: Function, value: Value, packing: Packing | None = None) -> Reg:
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
        return self._arena(f, location.place, location.offset)

    def _arena(self, f: Function, place: str, offset: int) -> Reg:
        if place == "sample":
            return f.gep(f.workspace, f.mul(self.count, offset)) if offset else f.workspace
        behind = self.plan.sample_bytes
        start = f.gep(f.workspace, f.mul(self.count, behind)) if behind else f.workspace
        return f.gep(start, offset)

    def _piece(self, leaf: Value, packing: Packing | None) -> Piece:
        key = leaf.name, packing.key if packing else ""
        if key not in self.pieces:
            size = packing.nbytes if packing else _static(leaf.type.nbytes)
            self.pieces[key] = Piece(leaf.name, packing, self.weights_bytes, size)
            self.weights_bytes += -(-size // ALIGNMENT) * ALIGNMENT
        return self.pieces[key]

    def _copy(self, f: Function, value: Value, index: int) -> None:
        leaf = self.plan.donated.get(index)
        to = f.parameters[f"output{index}"] if leaf is None else self._address(f, leaf)
        size = self.sizes(value.type.nbytes)
        f.intrinsic("memcpy", ["ptr", "ptr", "i64"], "void", to, self._address(f, value), size, "i1 false")

    def _signature(self) -> Signature:
        graph, symbol = self.plan.graph, self.plan.symbol
        names = dict(zip(self.results, (graph.output_names[i] for i in self.results), strict=True))
        bounds = graph.dims.get(symbol or "", (0, None))
        return Signature(
            self.name,
            tuple(_array(value.name, value.type) for value in graph.inputs),
            tuple(_array(names[i], graph.outputs[i].type) for i in self.results),
            # N counts as at least 1, so a batch of 0 needs the memory of one.
            (self.plan.fixed_bytes + (self.plan.sample_bytes if symbol else 0), self.plan.sample_bytes),
            (bounds[0], 2**31 if bounds[1] is None else bounds[1]),
            estimate(self.plan),
        )


def _array(name: str, type: TensorType) -> Array:
    return Array(name, type.dtype.name, type.shape)


def _static(dim: Dim) -> int:
    assert isinstance(dim, int), f"{dim} is no constant"
    return dim


def estimate(plan: Plan) -> tuple[float, float]:
    """Nanoseconds a run takes, roughly, as (fixed, per unit of the symbolic dimension)."""
    flops = total_flops(node for kernel in plan.order for node in kernel.nodes)
    traffic: Dim = 0
    for kernel in plan.order:
        if kernel.kind != "view":
            for value in (*kernel.inputs, *kernel.outputs):
                traffic = traffic + value.type.nbytes
    slope, rest = _linear(flops, plan.symbol)
    slope_bytes, rest_bytes = _linear(traffic, plan.symbol)
    return (
        rest / FLOPS_PER_NANOSECOND + rest_bytes / BYTES_PER_NANOSECOND,
        slope / FLOPS_PER_NANOSECOND + slope_bytes / BYTES_PER_NANOSECOND,
    )


def _linear(dim: Dim, symbol: str | None) -> tuple[int, int]:
    pair = linear_in(dim, symbol or "")
    return pair if pair is not None else (0, 10**9)
