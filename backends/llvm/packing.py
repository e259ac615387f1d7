"""Packed operands: B as panels `[N/NR][K][NR]`, the order in which the tiles read it.

`pack_b` packs weights known at compile time with NumPy; `emit_pack_b` adds a function that packs at run
time, from B or from its transpose. The last panel is filled up with zeros, so tiles load whole vectors
everywhere.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.llvm.emitter import (
    BITS,
    Function,
    Module,
    Reg,
    byte_size,
    constant,
    element,
    lanes,
    like,
    vector,
)
from graphc.backends.llvm.stored import Stored
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Tile
from graphc.errors import WeightsError

TOGETHER = 4  # panels packed from the same rows: longer runs of memory are read
AHEAD = 4  # rows that are fetched before they are packed
LARGEST = 127  # of a weight stored in eight bits


def pack_b(b: Any, width: int) -> Any:
    """B of shape (..., K, N) as a contiguous array (..., ceil(N/width), K, width), zeros beyond N.

    >>> pack_b(np.arange(6.0).reshape(2, 3), 2).tolist()
    [[[0.0, 1.0], [3.0, 4.0]], [[2.0, 0.0], [5.0, 0.0]]]
    """
    *batch, k, n = b.shape
    count, rest = -(-n // width), n % width
    whole = n - rest
    packed = np.empty((*batch, count, k, width), b.dtype)
    panels = b[..., :whole].reshape(*batch, k, n // width, width)
    packed[..., : n // width, :, :] = np.moveaxis(panels, -2, -3)
    if rest:
        packed[..., -1, :, :rest] = b[..., whole:]
        packed[..., -1, :, rest:] = 0
    return packed


def packed_bytes(k: int, n: int, width: int, element: str) -> int:
    """Bytes of the packed B."""
    return -(-n // width) * width * k * BITS[element] // 8


def pack_stored(w: Any, width: int, stored: Stored) -> Any:
    """B of shape (K, N) in fewer bits, as bytes: panels, then the scales if there are any.

    Raises WeightsError for numbers that cannot be stored so.
    """
    k, n = w.shape
    numbers, scales = in_fewer_bits(w, stored)
    packed = np.zeros(stored.packed_bytes(k, n, width), np.uint8)
    flat = pack_b(numbers, width).reshape(-1).view(np.uint8)
    packed[: len(flat)] = flat
    if scales is not None:
        at = stored.panels_bytes(k, n, width)
        packed[at : at + 4 * n] = scales.view(np.uint8)
    return packed


def in_fewer_bits(w: Any, stored: Stored) -> tuple[Any, Any]:
    """The numbers that stand for B of shape (K, N), and the scales of its columns, None when there are none.

    Raises WeightsError for numbers that cannot be stored so.
    """
    if not np.isfinite(w).all():
        raise WeightsError(f"weights that are not finite cannot be stored as {stored.word}")
    if stored.scaled:
        scales = np.abs(w).max(axis=0, initial=0).astype(np.float32) / np.float32(LARGEST)
        whole = np.rint(w / np.where(scales == 0, 1, scales))
        return np.clip(whole, -LARGEST, LARGEST).astype(np.int8), scales
    if np.abs(w).max(initial=0) > np.finfo(np.float16).max:
        raise WeightsError("weights beyond 65504 cannot be stored as fp16", fix='weights="int8"')
    return w.astype(np.float16), None


def tail_mask(f: Function, left: Reg, lanes: int) -> Reg:
    """The first `left` (i64) of `lanes` lanes."""
    every = constant(list(range(lanes)), vector("i64", lanes))
    return f.icmp("slt", every, f.splat(left, lanes))


def copy_rows(
    f: Function,
    target: Target,
    element: str,
    source: Reg,
    source_stride: int,
    destination: Reg,
    stride: int,
    rows: Reg,
    length: Reg,
) -> None:
    """Copy `rows` runs of `length` elements; strides in bytes."""
    lanes, size = target.lanes(element), BITS[element] // 8
    type = vector(element, lanes)
    whole = f.and_(length, -lanes)
    with f.loop(0, rows) as row:
        here = f.gep(source, f.mul(row, source_stride))
        there = f.gep(destination, f.mul(row, stride))
        with f.loop(0, whole, lanes) as i:
            at = f.mul(i, size)
            f.store(f.load(f.gep(here, at), type), f.gep(there, at))
        at = f.mul(whole, size)
        if target.masked_memory:
            with f.if_(f.icmp("slt", whole, length)):
                mask = tail_mask(f, f.sub(length, whole), lanes)
                f.masked_store(f.masked_load(f.gep(here, at), type, mask), f.gep(there, at), mask)
        else:
            with f.loop(whole, length) as i:
                at = f.mul(i, size)
                f.store(f.load(f.gep(here, at), element), f.gep(there, at))


def emit_pack_b(
    module: Module,
    name: str,
    target: Target,
    tile: Tile,
    n: int,
    k: int | None,
    stride: int,
    transposed: bool = False,
) -> Function:
    """Add `name(source, packed, k, panel0, panel1)`: pack panels of B at run time.

    source: B of shape (K, N), or (N, K) when `transposed`; `stride` elements between its rows. `k` None:
    known at run time, else the argument must equal it. packed: `packed_bytes` of memory aligned to a
    vector.
    """
    pointers = {"source": "ptr noalias readonly", "packed": "ptr noalias"}
    f = module.function(name, pointers | dict.fromkeys(("k", "panel0", "panel1"), "i64"))
    depth = f.k if k is None else constant(k, "i64")
    whole, rest = divmod(n, tile.width)
    one_panel = pack_columns if transposed else pack_rows
    row = stride * tile.bytes
    across = row if transposed else tile.bytes

    def places(panel: Reg) -> tuple[Reg, Reg]:
        """Where a panel comes from and goes to."""
        packed = f.gep(f.packed, f.mul(f.mul(panel, depth), tile.width * tile.bytes))
        return f.gep(f.source, f.mul(panel, tile.width * across)), packed

    def pack(panel: Reg, width: int) -> None:
        source, packed = places(panel)
        one_panel(f, target, tile, source, row, packed, depth, width)

    if whole:
        first, end = f.panel0, f.smin(f.panel1, whole)
        if not transposed:
            count = f.and_(f.smax(f.sub(end, first), 0), -TOGETHER)
            first = f.add(first, count)
            with f.loop(f.panel0, first, TOGETHER) as panel:
                _pack_together(f, tile, *places(panel), row, depth)
        with f.loop(first, end) as panel:
            pack(panel, tile.width)
    if rest:
        with f.if_(f.icmp("sgt", f.panel1, whole)):
            pack(constant(whole, "i64"), rest)
    f.ret()
    return f


def pack_rows(
    f: Function, target: Target, tile: Tile, source: Reg, row: int, packed: Reg, depth: Reg, width: int,
    step: int = 0,
) -> None:  # fmt: skip
    """One panel from B: each step's `width` columns are neighbours already.

    row: bytes between rows of the source. step: bytes between steps of the panel, those of the tile by default.
    """
    with f.loop(0, depth) as k:
        here, there = f.gep(source, f.mul(k, row)), f.gep(packed, f.mul(k, step or tile.width * tile.bytes))
        for v in range(tile.vectors):
            at = v * tile.lanes * tile.bytes
            present = min(max(width - v * tile.lanes, 0), tile.lanes)
            f.store(load_part(f, target, f.gep(here, at), tile.type, present), f.gep(there, at))


def _pack_together(f: Function, tile: Tile, source: Reg, packed: Reg, row: int, depth: Reg) -> None:
    """Whole panels side by side from B: a row of all of them, then the next."""
    vector, panel = tile.lanes * tile.bytes, f.mul(depth, tile.width * tile.bytes)
    starts = [packed]
    for _ in range(TOGETHER - 1):
        starts.append(f.gep(starts[-1], panel))
    with f.loop(0, depth) as k:
        here, there = f.gep(source, f.mul(k, row)), f.mul(k, tile.width * tile.bytes)
        for line in range(0, TOGETHER * tile.vectors * vector, LINE):
            f.prefetch(f.gep(here, AHEAD * row + line))
        for index, start in enumerate(starts):
            for v in range(tile.vectors):
                at = (index * tile.vectors + v) * vector
                f.store(
                    f.load(f.gep(here, at), tile.type, tile.bytes), f.gep(f.gep(start, there), v * vector)
                )


def pack_columns(
    f: Function, target: Target, tile: Tile, source: Reg, row: int, packed: Reg, depth: Reg, width: int,
    step: int = 0,
) -> None:  # fmt: skip
    """One panel from the transpose of B, by squares of lanes x lanes turned in registers; see `pack_rows`."""
    lanes, size, zero = tile.lanes, tile.bytes, constant(0, tile.type)
    step = step or tile.width * size
    whole = f.and_(depth, -lanes)

    def square(k: Reg, mask: Reg | None, stores: int) -> None:
        for v in range(tile.vectors):
            rows = []
            for lane in range(lanes):
                column = v * lanes + lane
                where = f.gep(f.gep(source, f.mul(k, size)), column * row)
                if column >= width:
                    rows.append(zero)
                elif mask is None:
                    rows.append(f.load(where, tile.type, size))
                else:
                    rows.append(f.masked_load(where, tile.type, mask, size))
            for index, value in enumerate(transpose(f, rows)[:stores]):
                f.store(value, f.gep(f.gep(packed, f.mul(k, step)), index * step + v * lanes * size))

    with f.loop(0, whole, lanes) as k:
        square(k, None, lanes)
    with f.loop(whole, depth) as k:
        there = f.gep(packed, f.mul(k, step))
        for column in range(tile.width):
            value = constant(0, tile.element)
            if column < width:
                value = f.load(f.gep(f.gep(source, f.mul(k, size)), column * row), tile.element)
            f.store(value, f.gep(there, column * size))


def load_part(f: Function, target: Target, where: Reg, type: str, present: int) -> Reg:
    """A vector whose first `present` lanes come from memory, the others zero; touches nothing beyond."""
    count, scalar = lanes(type), element(type)
    if present == count:
        return f.load(where, type)
    if present and target.masked_memory:
        return f.masked_load(
            where, type, constant([lane < present for lane in range(count)], like(type, "i1"))
        )
    value = constant(0, type)
    for lane in range(present):
        value = f.insert(value, f.load(f.gep(where, lane * byte_size(scalar)), scalar), lane)
    return value


def transpose(f: Function, rows: Sequence[Reg]) -> list[Reg]:
    """The transpose of a square given as vectors: each round interleaves the first half with the second."""
    values, count = list(rows), len(rows)
    half = count // 2
    low = [i // 2 + (i % 2) * count for i in range(count)]
    high = [lane + half for lane in low]
    for _ in range(count.bit_length() - 1):
        pairs = list(zip(values[:half], values[half:], strict=True))
        values = [f.shuffle(x, y, order) for x, y in pairs for order in (low, high)]
    return values
