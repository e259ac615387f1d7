"""The loops of a kernel that reads or writes channel-blocked images.

The loop over channels is cut into blocks and the channels within one, and the latter is the innermost: then
the elements of a vector are neighbours. Loops that all accesses walk as one are joined afterwards as in any
kernel, so elementwise work on images of one layout is a single loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.packing import tail_mask
from graphc.backends.llvm.program import Space
from graphc.ir.graph import Value
from graphc.plan.layout import BLOCK, Blocked, Layouts


class ChannelLoops:
    """The loops of a kernel over a space with channels at axis 1, cut into blocks.

    masked   whether some lanes of the last block must be off, since arrays that are not blocked end there
    """

    def __init__(self, space: Space, values: Sequence[Value], layouts: Layouts) -> None:
        channels = space.shape[1]
        assert isinstance(channels, int)
        self.channels = channels
        self.block, self.lane = space.block(1, BLOCK)
        dense = [v for v in values if not isinstance(layouts.get(v), Blocked) and v.type.size != 1]
        self.masked = channels % BLOCK != 0 and bool(dense)

    @staticmethod
    def of(space: Space, values: Sequence[Value], layouts: Layouts) -> ChannelLoops | None:
        """The loops in blocks when one of these values is blocked and has the shape of the space."""
        blocked = any(isinstance(layouts.get(v), Blocked) and v.shape[:2] == space.shape[:2] for v in values)
        cut = blocked and len(space.shape) == 4 and space.shape[1] != 1
        return ChannelLoops(space, values, layouts) if cut else None

    def order(self, loops: Sequence[int]) -> list[int]:
        """The loops with that over a block's channels innermost."""
        assert self.lane in loops, "a loop over the channels of a block was cut"
        return [v for v in loops if v != self.lane] + [self.lane]

    @property
    def apart(self) -> tuple[int, ...]:
        """Loops that may not be joined with the one outside of them."""
        return (self.lane,) if self.masked else ()

    def within(self, e: Evaluator, body: Callable[[], None]) -> Callable[[], None]:
        """The body, where needed with the lanes off that have no channel."""

        def run() -> None:
            f, first = e.f, e.bound[self.lane]
            if self.block is not None:
                first = f.add(first, f.mul(e.bound[self.block], BLOCK))
            left = f.sub(self.channels, first)
            if e.count:
                with e.vector(e.along, e.count, tail_mask(f, left, e.count), e.phase):
                    body()
                return
            with f.if_(f.icmp("sgt", left, 0)):
                body()

        return run if self.masked else body
