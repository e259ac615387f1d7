"""How a kernel is shared between the members of a team: ranges of its outputs, one for each.

Only outputs are divided, never a sum, so no bit depends on the number of threads. Kernels that take a few
microseconds are left to one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.emitter import Function, Operand, Reg, constant
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import emit_barrier
from graphc.ir.cost import total_flops
from graphc.ir.dims import Dim, linear_in
from graphc.ir.partition import Kernel

KERNEL = 4_000.0  # estimated nanoseconds from which a kernel is shared
RUN = 20_000.0  # and from which a run asks for the team
FLOPS_PER_LANE = 7.5  # per nanosecond: three quarters of two multiply-adds a cycle at 2.5 GHz
BYTES_PER_NANOSECOND = 40.0  # most arrays come from a cache
EVEN = 16  # iterations from which a loop can be divided evenly enough


@dataclass(slots=True)
class Share:
    """One member's part of a kernel.

    f          the kernel's function, which has the parameters of `PARAMETERS`
    own_bytes  working memory each member needs for itself
    used       whether the kernel divides anything; one that does not is left to one member
    divided    the extent that is divided when that is the outermost of the result, and nothing else is; else None
    meets      whether members wait for each other within the kernel
    """

    f: Function
    own_bytes: Dim = 0
    used: bool = False
    divided: Dim | None = None
    meets: bool = False

    def of(self, total: Operand) -> tuple[Reg, Reg]:
        """The member's range of `total` things."""
        self.used = True
        f = self.f
        count = f.operand(total, "i64")
        return (
            f.udiv(f.mul(count, f.part), f.parts),
            f.udiv(f.mul(count, f.add(f.part, 1)), f.parts),
        )

    def barrier(self) -> None:
        """Wait until all members are here."""
        self.meets = True
        self.f.call(emit_barrier(self.f.module), "void", self.f.team, self.f.parts)

    @property
    def first(self) -> Reg:
        """Whether this is the member that does what cannot be divided."""
        return self.f.icmp("eq", self.f.part, 0)

    @property
    def last(self) -> Reg:
        return self.f.icmp("eq", self.f.add(self.f.part, 1), self.f.parts)

    def own(self, shared: Reg) -> Reg:
        """Working memory of this member alone: the first one's is the kernel's."""
        return self.f.select(self.first, shared, self.f.room)


PARAMETERS = {"part": "i64", "parts": "i64", "team": "ptr", "room": "ptr"}
ALONE = (constant(0, "i64"), constant(1, "i64"), constant(0, "ptr"), constant(0, "ptr"))


def estimate(kernels: Sequence[Kernel], symbol: str | None, target: Target) -> tuple[float, float]:
    """Nanoseconds the kernels take, roughly, as (fixed, per unit of the symbolic dimension).

    A run is better called a little too short: waking a thread may take as long as a small model.
    """
    speed = FLOPS_PER_LANE * target.lanes("float")
    flops = total_flops(node for kernel in kernels for node in kernel.nodes)
    traffic: Dim = 0
    for kernel in kernels:
        if kernel.kind == "scan":
            (node,) = kernel.nodes
            for value in node.attributes["body"].inputs:
                traffic = traffic + value.type.nbytes * node.attributes["length"]
        elif kernel.kind != "view":
            for value in (*kernel.inputs, *kernel.outputs):
                traffic = traffic + value.type.nbytes
    slope, rest = _linear(flops, symbol)
    slope_bytes, rest_bytes = _linear(traffic, symbol)
    return (
        rest / speed + rest_bytes / BYTES_PER_NANOSECOND,
        slope / speed + slope_bytes / BYTES_PER_NANOSECOND,
    )


def least_size(nanoseconds: tuple[float, float], limit: float) -> int | None:
    """The least size of the symbolic dimension from which something takes so long; None: at no size."""
    fixed, each = nanoseconds
    if fixed >= limit:
        return 0
    return None if each <= 0 else int((limit - fixed) / each) + 1


def outermost(extents: Sequence[Dim]) -> int:
    """Which of these loops, from the outermost, is divided: the first that is long enough, else the longest."""
    for number, extent in enumerate(extents):
        if not isinstance(extent, int) or extent >= EVEN:
            return number
    sizes = [extent for extent in extents if isinstance(extent, int)]  # all of them, here
    return max(range(len(sizes)), key=lambda number: (sizes[number], -number))


def unevenness(count: int) -> float:
    """The longer share of two, as a multiple of the half."""
    return -(-count // 2) * 2 / count


def _linear(dim: Dim, symbol: str | None) -> tuple[int, int]:
    pair = linear_in(dim, symbol or "")
    return pair if pair is not None else (0, 10**9)
