"""Offsets: packing buffers with lifetimes into as little memory as possible.

Dynamic storage allocation is NP-hard (Garey and Johnson 1979, SR2), but the instances are kind: a portfolio of greedy
orders usually meets the lower bound (the most bytes alive at one step).  When none does, the best order is improved
step by step: a buffer of those that hold up the highest one changes places with one it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from graphc.plan.buffers import Buffer

# Neighbours the search may look at; no clock, so that a plan depends on its graph alone.
SEARCH_WORK = 500_000


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes alive at any step: no placement needs less."""
    change: dict[int, int] = {}
    for b in buffers:
        change[b.first] = change.get(b.first, 0) + b.size
        change[b.last + 1] = change.get(b.last + 1, 0) - b.size
    return max(accumulate(change[step] for step in sorted(change)), default=0)


def place(buffers: Sequence[Buffer]) -> int:
    """Give each buffer an offset; returns the height of the arena.  Buffers of one region only."""
    bound = lower_bound(buffers)
    best, best_offsets, best_order = -1, [0] * len(buffers), list(range(len(buffers)))
    for key in _ORDERS:
        order = sorted(range(len(buffers)), key=lambda i: (*key(buffers[i]), i))
        offsets, height = _first_fit(buffers, order)
        if best < 0 or height < best:
            best, best_offsets, best_order = height, offsets, order
        if best == bound:
            break
    if best > bound:
        best, best_offsets = _improved(buffers, bound, best_order)
    for buffer, offset in zip(buffers, best_offsets, strict=True):
        buffer.offset = offset
    return max(best, 0)


_ORDERS: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
    lambda b: (-b.size, b.first),
    lambda b: (-b.size * (b.last - b.first + 1), b.first),
    lambda b: (b.first, -b.size),
    lambda b: (-(b.last - b.first), -b.size),
    lambda b: (-b.last, -b.size),
)


def _first_fit(buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[list[int], int]:
    first, last, size = (
        np.array([getattr(buffers[i], name) for i in order], np.int64) for name in ("first", "last", "size")
    )
    start = np.zeros(len(order), np.int64)
    offsets, height = [0] * len(buffers), 0
    for n, index in enumerate(order):
        met = np.flatnonzero((first[:n] <= last[n]) & (first[n] <= last[:n]))
        starts = start[met]
        rising = np.argsort(starts, kind="stable")
        starts, ends = starts[rising], (starts + size[met])[rising]
        free = np.maximum.accumulate(
            np.concatenate([[0], ends])
        )  # where the buffer fits unless the next begins too soon
        room = np.flatnonzero(free[:-1] + size[n] <= starts)
        offset = int(free[room[0]] if len(room) else free[-1])
        start[n] = offsets[index] = offset
        height = max(height, offset + int(size[n]))
    return offsets, height


def _improved(buffers: Sequence[Buffer], bound: int, order: list[int]) -> tuple[int, list[int]]:
    """The least height found from an order on, and the offsets.

    Local search over orders of first fit: what holds up the highest buffer is the chain of those each stands on.  One
    of the chain and one that it or another of the chain meets change places, and the order stays unless it is worse.
    """
    count = len(buffers)
    meets = [
        [j for j, b in enumerate(buffers) if j != i and a.first <= b.last and b.first <= a.last]
        for i, a in enumerate(buffers)
    ]
    work = sum(8 + len(others) for others in meets)  # of one placement
    choose = _Chooser()
    height, offsets, below = _stacked(buffers, meets, order)
    best, best_offsets = height, offsets
    for _ in range(SEARCH_WORK // work):
        if best == bound:
            break
        chain = [choose([i for i in range(count) if offsets[i] + buffers[i].size == height])]
        while (under := below[chain[-1]]) is not None:
            chain.append(under)
        one = choose(chain)
        other = choose(sorted({j for i in chain for j in meets[i]} - {one}) or chain)
        new = [other if i == one else one if i == other else i for i in order]
        found = _stacked(buffers, meets, new)
        if found[0] <= height:
            order, (height, offsets, below) = new, found
        if height < best:
            best, best_offsets = height, offsets
    return best, best_offsets


def _stacked(
    buffers: Sequence[Buffer], meets: Sequence[Sequence[int]], order: Sequence[int]
) -> tuple[int, list[int], list[int | None]]:
    """First fit in this order: the height, the offsets, and for each buffer the one it stands on."""
    offsets, height = [-1] * len(buffers), 0
    stands: list[int | None] = [None] * len(buffers)
    for i in order:
        size, offset, under = buffers[i].size, 0, None
        for start, end, j in sorted(
            (offsets[j], offsets[j] + buffers[j].size, j) for j in meets[i] if offsets[j] >= 0
        ):
            if offset + size <= start:
                break
            if end > offset:
                offset, under = end, j
        offsets[i], stands[i] = offset, under
        height = max(height, offset + size)
    return height, offsets, stands


class _Chooser:
    """Numbers that look random and are the same everywhere: Knuth's linear congruential generator (MMIX)."""

    def __init__(self) -> None:
        self.state = 1

    def __call__(self, things: Sequence[int]) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return things[(self.state >> 33) % len(things)]
