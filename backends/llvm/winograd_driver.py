"""Batches of Winograd tiles, one after another, by one thread or by a team.

A member takes batches of its own, with V and M of its own, when they divide evenly enough. Otherwise all work
on the same batch: they divide its tiles for the way in, meet, divide its output channels, and meet again
before V is overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.llvm.emitter import Operand, Reg, constant
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.winograd_kernel import Stages
from graphc.backends.llvm.winograd_plan import Winograd

SLIGHT = 17, 16  # a share so much longer is worth two meetings for each batch


def emit_batches(
    k: KernelFunction,
    plan: Winograd,
    stages: Stages,
    x: Reg,
    u: Reg,
    y: Reg,
    count: Reg,
    room: int,
    extra: Sequence[Reg],
    apart: Reg | None,
) -> None:
    """The convolution of `count` images from x into y.

    room: where V and M lie in working memory. extra: operands of the epilogue. apart: whether the member has these
    images for itself (None: all members have the same images).
    """
    f, zero = k.f, constant(0, "i64")
    total = f.mul(count, plan.tiles)
    batches = f.udiv(f.add(total, plan.block - 1), plan.block)
    ends: tuple[Operand, Operand] = (zero, batches)
    alone = None
    v, m = f.gep(f.scratch, room), f.gep(f.scratch, room + plan.input_bytes)
    if k.share:
        own = k.share.own(f.scratch)
        alone = apart or _divides_by_batches(k, plan, batches)
        if apart is None:
            ends = tuple(f.select(alone, one, all) for one, all in zip(k.share.of(batches), ends))  # type: ignore[assignment]
        v, m = f.select(alone, f.gep(own, room), v), f.gep(own, room + plan.input_bytes)

    def part(all: Reg | int) -> tuple[Reg, Reg]:
        """What of a batch the member does."""
        whole = zero, f.operand(all, "i64")
        if k.share is None:
            return whole
        assert alone is not None
        first, last = (f.select(alone, a, b) for a, b in zip(whole, k.share.of(all)))
        return first, last

    def meet() -> None:
        if k.share:
            assert alone is not None
            with f.if_(f.xor(alone, constant(1, "i1"))):
                k.share.barrier()

    with f.loop(*ends) as batch:
        first = f.mul(batch, plan.block)
        here = f.smin(f.sub(total, first), plan.block)
        f.call(stages.enter.name, "void", x, v, first, *part(here))
        meet()
        with f.loop(*part(plan.panels)) as panel:
            f.call(stages.multiply.name, "void", v, u, m, here, panel)
            f.call(stages.leave.name, "void", m, y, first, zero, here, panel, *extra)
        meet()


def _divides_by_batches(k: KernelFunction, plan: Winograd, batches: Reg) -> Reg:
    """Whether the longest share of the batches is hardly longer than that of the panels."""
    f = k.f
    by_batches, by_panels = (
        f.mul(f.udiv(f.add(whole, f.sub(f.parts, 1)), f.parts), other)
        for whole, other in (
            (batches, constant(plan.panels, "i64")),
            (constant(plan.panels, "i64"), batches),
        )
    )
    return f.icmp("ule", f.mul(by_batches, SLIGHT[1]), f.mul(by_panels, SLIGHT[0]))
