"""Products by seven halves (`strassen.py`): how one is cut, where it pays, and B's operands as they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.llvm.blocking import Gemm, row_cost
from graphc.backends.llvm.lint import sound
from graphc.backends.llvm.packing import pack_b
from graphc.backends.llvm.sharing import unevenness
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Tile, tiles

PRODUCTS = 7
KEPT = 3  # tiles kept between products
NEAR, LARGEST = 3, 60  # binary orders: between rows that meet, and of what a row may hold
SUM_CYCLES = 30  # to make the operands of a pair of rows, for each vector
TURN_CYCLES = 60  # from one product of a tile to the next
GAIN = 2.3  # what is saved must be so many times what it costs; weights take 7/4 of their room in the caches, too


@dataclass(frozen=True, slots=True)
class Halves:
    """How a product is cut: tile, pairs of rows, steps and panels of a half."""

    spec: Gemm
    tile: Tile
    rows: int
    depth: int

    @property
    def pairs(self) -> int:
        return -(-self.rows // 2)

    @property
    def panels(self) -> int:
        """Panels of a half of the columns."""
        return self.spec.n // 2 // self.tile.width

    @property
    def tiles(self) -> int:
        return -(-self.pairs // self.tile.rows)

    @property
    def heights(self) -> tuple[int, int]:
        """How many tiles have one row more than the others, and the rows of the others."""
        low, more = divmod(self.pairs, self.tiles)
        return more, low

    @property
    def line(self) -> int:
        """Bytes between rows of an operand, not such that many rows share a cache set."""
        lines = -(-self.depth * self.spec.bytes // LINE)
        return (lines + (lines % 8 == 0)) * LINE

    @property
    def group(self) -> int:
        """Bytes of all operands of a pair of rows."""
        return PRODUCTS * self.line

    @property
    def panel_bytes(self) -> int:
        return PRODUCTS * self.depth * self.tile.width * self.spec.bytes

    @property
    def sums_bytes(self) -> int:
        """Memory for A's operands, then a flag (i64) for each tile."""
        return self.pairs * self.group + -(-self.tiles * 8 // LINE) * LINE

    @property
    def own_bytes(self) -> int:
        """Memory of each thread."""
        size = KEPT * self.tile.rows * self.tile.width * self.spec.bytes
        return -(-size // LINE) * LINE

    @property
    def packed_bytes(self) -> int:
        """Memory for B's operands, then whether they serve."""
        return self.panels * self.panel_bytes + LINE


def halves(spec: Gemm, target: Target) -> Halves | None:
    """How the product is halved, None where that gains nothing or is not possible."""
    m, k, n = spec.m, spec.k, spec.n
    if target.strict or not target.fma or m is None or k is None or k % 2 or n % 2:
        return None
    if spec.element != "float" or spec.stored or spec.a_strides or spec.b_stride or spec.c_stride:
        return None
    lanes, depth, pairs = target.lanes("float"), k // 2, -(-m // 2)
    if depth % lanes and not target.masked_memory:
        return None
    fitting = [t for t in tiles(target, "float") if n // 2 % t.width == 0 and sound(t, target)]
    if pairs < 8 or not fitting:
        return None

    def cost(tile: Tile) -> float:
        return row_cost(tile) / tile.width * unevenness(n // 2 // tile.width)

    best = min(fitting, key=cost)
    cut = Halves(spec, best.with_rows(-(-pairs // -(-pairs // best.rows))), m, depth)
    saved = m * n * k / (lanes * 2) / 8
    sums = pairs * -(-depth // lanes) * SUM_CYCLES
    turns = cut.tiles * cut.panels * PRODUCTS * TURN_CYCLES
    if saved < GAIN * (sums + turns) or cut.sums_bytes > 4 * target.l2:
        return None
    return cut


def pack_halves(b: Any, cut: Halves) -> Any:
    """B of shape (K, N) as panels [N/2/width][7][K/2][width], then 1 (i64) if rows of A may not be mixed."""
    wide = b.astype(np.float64)
    (b11, b12), (b21, b22) = (np.split(half, 2, axis=1) for half in np.split(wide, 2, axis=0))
    with np.errstate(invalid="ignore", over="ignore"):
        operands = [b11 + b22, b11 + b12, b21 + b22, b11, b21 - b11, b12 - b22, b22]
        panels = np.stack([pack_b(each.astype(b.dtype), cut.tile.width) for each in operands], axis=1)
    packed = np.zeros(cut.packed_bytes, np.uint8)
    flat = np.ascontiguousarray(panels).reshape(-1).view(np.uint8)
    packed[: len(flat)] = flat
    packed[len(flat) :].view(np.int64)[0] = not _alike(wide)
    return packed


def _alike(wide: Any) -> bool:
    """Whether columns that meet are finite and of like size."""
    sizes = np.abs(wide).max(axis=0, initial=0)
    if not np.isfinite(sizes).all() or not sizes.all():
        return False
    orders = np.frexp(sizes)[1]
    left, right = np.split(orders, 2)
    return bool((np.abs(left - right) <= NEAR).all() and (np.abs(orders) <= LARGEST).all())
