"""The kernels of a plan, called one after the other from one function: of a model, or of the body of a loop.

Kernels of one structure share a function. On a team every member walks through the same calls, computes its part of
those kernels that are shared, and leaves the others to the first; members meet where work by all begins or ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.backends.llvm.kernel_function import KernelFunction, Packing
from graphc.backends.llvm.sharing import ALONE, KERNEL, PARAMETERS, estimate, least_size
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import emit_barrier
from graphc.errors import InternalError
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.plan import Plan


class Calls(ABC):
    """Writes the calls; who inherits says where values lie, and what a fault leads to.

    met   what was done last: nothing that others have not seen, work of the first member alone, or work by all
    """

    def __init__(
        self, module: Module, plan: Plan, target: Target, name: str, fixed: frozenset[Value]
    ) -> None:
        self.module, self.plan, self.target, self.name, self.fixed = module, plan, target, name, fixed
        self.symbols = plan.symbols
        self.functions: dict[str, KernelFunction] = {}
        self.shared = False
        self.turn = constant(0, "i64")  # 1 in every other step of a loop
        self.met: Literal["met", "alone", "together"] = "met"

    @abstractmethod
    def address(self, f: Function, value: Value, packing: Packing | None = None) -> Reg:
        """Where a value lies."""

    @abstractmethod
    def arena(self, f: Function, place: str, offset: int) -> Reg:
        """An address in the working memory of the plan."""

    @abstractmethod
    def size(self, f: Function) -> Reg:
        """The symbolic size, where there is one alone."""

    @abstractmethod
    def sizes_of(self, f: Function) -> list[Reg]:
        """All symbolic sizes."""

    @abstractmethod
    def check(self, f: Function, status: Reg, code: KernelFunction, kernel: Kernel) -> None:
        """What follows the call of a kernel that was not shared."""

    @abstractmethod
    def lowered(self, name: str, kernel: Kernel) -> KernelFunction:
        """The function of a kernel."""

    def mark(self, f: Function, kernel: Kernel | None) -> None:  # noqa: B027
        """What is to be done before a kernel; None: before the copies at the end, and after them."""

    def is_shared(self, kernel: Kernel) -> bool:
        """Whether a kernel is worth sharing at some size."""
        return kernel.kind != "view" and self.least([kernel], KERNEL) is not None

    def least(self, kernels: Sequence[Kernel], limit: float) -> int | None:
        """The least size from which kernels take so long."""
        return least_size(estimate(kernels, self.plan.symbol, self.target), limit)

    def calls(self, f: Function) -> None:
        """All kernels."""
        self.in_order(f, self.plan.order)

    def in_order(self, f: Function, kernels: Sequence[Kernel]) -> None:
        for kernel in kernels:
            if kernel.kind != "view":
                self._call(f, kernel)

    def meet(self, f: Function, following: Literal["met", "alone", "together"]) -> None:
        """Wait for all members, where work by all begins or ends."""
        if self.shared and self.met != "met" and "together" in (self.met, following):
            f.call(emit_barrier(self.module), "void", f.team, f.parts)
        self.met = following

    @contextmanager
    def by_the_first(self, f: Function) -> Iterator[None]:
        """What is written inside is done by one member."""
        self.meet(f, "alone")
        if not self.shared:
            yield
            return
        with f.if_(f.icmp("eq", f.part, 0)):
            yield

    def function(self, kernel: Kernel) -> KernelFunction:
        """The code of a kernel, which kernels of one structure share."""
        from graphc.backends.llvm.lowering import structure

        shape = structure(kernel, self.fixed, self.plan.layouts)
        if shape not in self.functions:
            self.functions[shape] = self.lowered(f"{self.name}_{kernel.name}", kernel)
        return self.functions[shape]

    def operands(self, f: Function, kernel: Kernel) -> list[Reg]:
        """What a kernel's code is called with, but for what `PARAMETERS` holds."""
        from graphc.backends.llvm.lowering import scratch_bytes

        code, found = self.function(kernel), []
        for own, value in zip(code.kernel.inputs, kernel.inputs, strict=True):
            found.append(self.address(f, value, code.packed.get(own)))
        found += [self.address(f, value) for value in kernel.outputs]
        scratch = self.plan.scratch.get(kernel.name)
        if scratch is None and scratch_bytes(kernel, self.target, self.fixed, self.plan.layouts) != 0:
            raise InternalError(f"the plan has no working memory for {kernel!r}")
        found.append(constant(0, "ptr") if scratch is None else self.arena(f, scratch.place, scratch.offset))
        found += self.sizes_of(f)
        return [*found, self.turn] if kernel.kind == "gates" else found

    def _call(self, f: Function, kernel: Kernel) -> None:
        code, operands = self.function(kernel), self.operands(f, kernel)
        together = code.share is not None and code.share.used and not code.faults
        self.meet(f, "together" if together else "alone")
        self.mark(f, kernel)
        if together:
            self._share(f, code, kernel, operands)
            return
        operands += ALONE if code.share else ()
        if not self.shared:
            self.check(f, f.call(code.f.name, "i32", *operands), code, kernel)
            return
        self.alone(f, code, kernel, operands)

    def alone(self, f: Function, code: KernelFunction, kernel: Kernel, operands: list[Reg]) -> None:
        """A kernel that one member of a team runs."""
        with self.by_the_first(f):
            f.call(code.f.name, "i32", *operands)

    def _share(self, f: Function, code: KernelFunction, kernel: Kernel, operands: list[Reg]) -> None:
        """Every member's part of a kernel; all of it by the first member when it is too small for more."""
        part, parts, *others = (f.parameters[key] for key in PARAMETERS)
        least = self.least([kernel], KERNEL)
        if not least:
            f.call(code.f.name, "i32", *operands, part, parts, *others)
            return
        worth = f.icmp("sge", self.size(f), least)
        with f.if_(f.or_(worth, f.icmp("eq", part, 0))):
            f.call(code.f.name, "i32", *operands, part, f.select(worth, parts, constant(1, "i64")), *others)
