"""Offsets: packing buffers with lifetimes into as little memory as possible.

Dynamic storage allocation is NP-hard (Garey and Johnson 1979, SR2), but the instances are kind: a
portfolio of greedy orders usually meets the lower bound (the most bytes alive at one step); when
none does, a short exact search over placement orders follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from graphc.plan.buffers import Buffer

SEARCH_STEPS = 20_000  # placements the exact search may try
SEARCH_WORK = 2_000_000  # neighbours it may look at meanwhile


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
    best, best_offsets = -1, [0] * len(buffers)
    for key in _ORDERS:
        order = sorted(range(len(buffers)), key=lambda i: (*key(buffers[i]), i))
        offsets, height = _first_fit(buffers, order)
        if best < 0 or height < best:
            best, best_offsets = height, offsets
        if best == bound:
            break
    if best > bound:
        best, best_offsets = _search(buffers, bound, best, best_offsets)
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


def _overlap(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def _lowest(buffer: Buffer, placed: Sequence[tuple[Buffer, int]]) -> int:
    """The lowest offset at which the buffer meets none of those alive with it."""
    busy = sorted((offset, offset + other.size) for other, offset in placed if _overlap(buffer, other))
    offset = 0
    for start, end in busy:
        if offset + buffer.size <= start:
            break
        offset = max(offset, end)
    return offset


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


def _search(
    buffers: Sequence[Buffer], bound: int, best: int, best_offsets: list[int]
) -> tuple[int, list[int]]:
    """Depth-first over placement orders, cutting branches at the best height so far; bounded, deterministic."""
    ranked = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].first, i))
    placed: list[tuple[int, int]] = []  # (index, offset)
    stack: list[list[int]] = [list(ranked)]
    steps = work = 0
    while stack and best > bound and steps < SEARCH_STEPS and work < SEARCH_WORK:
        steps, work = steps + 1, work + len(placed)
        if not stack[-1]:
            stack.pop()
            if placed:
                placed.pop()
            continue
        index = stack[-1].pop(0)
        offset = _lowest(buffers[index], [(buffers[i], o) for i, o in placed])
        if offset + buffers[index].size >= best:
            continue
        placed.append((index, offset))
        if len(placed) == len(buffers):
            best = max(o + buffers[i].size for i, o in placed)
            best_offsets = [0] * len(buffers)
            for i, o in placed:
                best_offsets[i] = o
            placed.pop()
            continue
        used = {i for i, _ in placed}
        stack.append([i for i in ranked if i not in used])
    return best, best_offsets
