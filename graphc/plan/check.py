"""The independent checker: proves a plan by running it on paper.

It knows nothing of lifetimes or placement.  It walks through the kernels in order and keeps, for
every region of memory, which value each byte holds.  A kernel may read a value only where all of
its bytes are still its own; what it writes overwrites whatever was there.  At the end every output
must stand where the caller looks for it.  It runs on every compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.errors import InternalError
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.plan.buffers import WORKING, footprint, read_in_place
from graphc.plan.layout import Blocked, Flattened, stored_bytes

if TYPE_CHECKING:
    from graphc.plan.plan import Location, Plan


OUTSIDE = ("input", "parameter", "constant", "output")


class PlanError(InternalError):
    """A memory plan would overwrite a value that is still needed."""


def check_plan(plan: Plan) -> None:
    """Raise PlanError when any kernel would read a value that is not (or no longer) where the plan says."""
    for value in (*plan.graph.leaves, *plan.graph.outputs):
        if value in plan.layouts:
            raise PlanError(f"%{value.name} is the caller's, and must be row-major")
    memory = _Memory(plan)
    for value in plan.graph.leaves:
        memory.write(value)
    written: set[Value] = set(plan.graph.leaves)
    for kernel in plan.order:
        for value in kernel.inputs:
            if value not in written:
                raise PlanError(f"{kernel.name} reads %{value.name} before anything wrote it")
            memory.require(value, kernel)
        if kernel.kind == "view":
            source, result = kernel.inputs[0], kernel.outputs[0]
            if plan.locations[source] != plan.locations[result]:
                raise PlanError(f"{kernel.name}: a view lives elsewhere than what it views")
            if not _same_bytes(plan, source, result):
                raise PlanError(f"{kernel.name}: a view has another layout than what it views")
            memory.add_view(source, result)
        else:
            _check_writes(plan, kernel, memory)
            for value in kernel.outputs:
                memory.write(value)
        written.update(kernel.outputs)
    copied = {index for _, index in plan.copies}
    for index, value in enumerate(plan.graph.outputs):
        where = plan.locations[value]
        here = where.place == "output" and where.index == index
        donated = index in plan.donated and plan.locations[plan.donated[index]] == where
        if index not in copied:
            memory.require(value, None)
            if not here and not donated:
                raise PlanError(f"output %{value.name} is left in the {where.place} memory")
    for source, index in plan.copies:
        memory.require(source, None)
        leaf = plan.donated.get(index)
        memory.clobber(memory.area(leaf) if leaf is not None else (("output", index), 0, 1))


def _check_writes(plan: Plan, kernel: Kernel, memory: _Memory) -> None:
    """While a kernel runs, what it writes must not meet what it reads, nor its other outputs or scratch."""
    allowed = set(read_in_place(kernel, plan.layouts))
    areas: list[tuple[Value | None, Area]] = [(value, memory.area(value)) for value in kernel.outputs]
    if kernel.name in plan.scratch:
        areas.append((None, memory.scratch_area(kernel.name)))
    for position, (value, area) in enumerate(areas):
        for operand in kernel.inputs:
            exact = value is not None and (operand, value) in allowed and memory.area(operand) == area
            if not exact and _meet(area, memory.area(operand)):
                raise PlanError(f"{kernel.name} writes over its own operand %{operand.name}")
        for _, other in areas[:position]:
            if _meet(area, other):
                raise PlanError(f"{kernel.name} writes two results into the same memory")
    if kernel.name in plan.scratch:
        memory.clobber(memory.scratch_area(kernel.name))


def _same_bytes(plan: Plan, source: Value, view: Value) -> bool:
    """Whether the bytes of a value, read under the view's layout, are the view."""
    match plan.layouts.get(source), plan.layouts.get(view):
        case None, None:
            return True
        case Blocked(halo=halo), Flattened(image=image):
            return not any(halo) and source.shape[1:] == image
    return False


Area = tuple[tuple[str, int], int, int]  # (which memory), start, end


def _meet(a: Area, b: Area) -> bool:
    """Whether two areas share a byte; one without bytes meets none."""
    return a[0] == b[0] and max(a[1], b[1]) < min(a[2], b[2])


class _Memory:
    """Which value each stretch of memory holds."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.holds: dict[Area, set[Value]] = {}

    def area(self, value: Value) -> Area:
        where = self.plan.locations[value]
        if where.place in OUTSIDE:
            return (where.place, where.index), 0, 1
        region, size = footprint(stored_bytes(value, self.plan.layouts), self.plan.symbol)
        if region != where.place:
            raise PlanError(f"%{value.name} grows with {region} but lives in the {where.place} region")
        return self._inside(where, size)

    def scratch_area(self, kernel: str) -> Area:
        where = self.plan.scratch[kernel]
        if where.place == WORKING:
            return (WORKING, 0), 0, 1
        buffer = next(b for b in self.plan.buffers if b.scratch == kernel)
        return self._inside(where, buffer.size)

    def _inside(self, where: Location, size: int) -> Area:
        limit = self.plan.region(where.place).nbytes
        if where.offset < 0 or where.offset + size > limit:
            raise PlanError(
                f"offset {where.offset} + {size} lies outside the {where.place} region of {limit} bytes"
            )
        return (where.place, 0), where.offset, where.offset + size

    def clobber(self, area: Area) -> None:
        for other in [a for a in self.holds if _meet(a, area)]:
            del self.holds[other]

    def write(self, value: Value) -> None:
        area = self.area(value)
        self.clobber(area)
        self.holds.setdefault(area, set()).add(value)  # what is still there has no bytes

    def add_view(self, source: Value, view: Value) -> None:
        self.holds.setdefault(self.area(source), set()).add(view)

    def require(self, value: Value, kernel: Kernel | None) -> None:
        if value not in self.holds.get(self.area(value), ()):
            reader = kernel.name if kernel else "the caller"
            raise PlanError(f"{reader} reads %{value.name}, but its memory has been overwritten")
