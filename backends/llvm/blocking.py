"""How a matrix product is cut: tile, panels, blocks and pieces, from extents and cache sizes alone.

Nothing is timed here, so the same product on the same machine description gives the same kernel every time.
"""

from dataclasses import dataclass, replace
from math import ceil

from graphc.backends.llvm.emitter import BITS
from graphc.backends.llvm.lint import sound
from graphc.backends.llvm.stored import Stored
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import MAX_ROWS, Tile, tiles

LINE = 64
LINE_COST = 0.25  # cycles that bringing one line of a panel into the first level adds
BLOCK_TILES = 16  # a block of rows has at most so many tiles: threads share a product by blocks


@dataclass(frozen=True, slots=True)
class Gemm:
    """One matrix product. Strides are in elements; `m` and `k` None are given at run time.

    a_strides: between rows and between steps of A, `(k, 1)` if absent. c_stride: between rows of C, `n` if
    absent. b_stride: None for B packed in panels; else B is read in place, this many elements between its
    rows. stored: how packed panels are stored that take fewer bits than the elements.
    """

    n: int
    k: int | None
    m: int | None = None
    element: str = "float"
    a_strides: tuple[int, int] | None = None
    c_stride: int | None = None
    b_stride: int | None = None
    stored: Stored | None = None

    def __post_init__(self) -> None:
        if self.k is None and self.a_strides is None:
            raise ValueError("a contraction of run-time length needs the strides of A")
        if min(self.n, *(v for v in (self.m, self.k) if v is not None)) < 0 or self.n == 0:
            raise ValueError(f"no kernel for the extents of {self}")

    @property
    def bytes(self) -> int:
        return BITS[self.element] // 8

    @property
    def b_bytes(self) -> int:
        """Bytes of an element of B in memory."""
        return self.bytes if self.stored is None else self.stored.bytes

    @property
    def strides(self) -> tuple[int, int]:
        """Row and step stride of A."""
        return self.a_strides or (self.k or 0, 1)


@dataclass(frozen=True, slots=True)
class Blocking:
    """How a product is cut: the tile, rows of a block, steps of a piece (None: all), whether A is copied."""

    tile: Tile
    block: int
    piece: int | None
    copy_a: bool
    scratch: int

    def blocks(self, m: int) -> int:
        """Number of row blocks of `m` rows."""
        return -(-m // self.block)


def row_cost(tile: Tile) -> float:
    """Cycles of one step for one row, with a share for bringing the panel into the first level."""
    return (tile.cycles + tile.width * tile.bytes / LINE * LINE_COST) / tile.rows


def panel_tile(target: Target, n: int, element: str) -> Tile:
    """The tile whose panels cover `n` columns in the fewest cycles; among equals the tallest.

    >>> from graphc.backends.llvm.target import level
    >>> [panel_tile(level("x86-64-v4"), n, "float").vectors for n in (10, 32, 48, 1000)]
    [1, 2, 3, 2]
    """

    def cost(tile: Tile) -> tuple[float, int]:
        whole, rest = divmod(n, tile.width)
        edge = row_cost(replace(tile, vectors=ceil(rest / tile.lanes))) if rest else 0.0
        return whole * row_cost(tile) + edge, -tile.rows

    candidates = tiles(target, element)
    while not sound(best := min(candidates, key=cost), target):
        candidates[candidates.index(best)] = best.with_rows(best.rows - 1)
    return best


def panels(n: int, tile: Tile) -> int:
    """Number of panels of B."""
    return -(-n // tile.width)


def blocking(spec: Gemm, target: Target) -> Blocking:
    """The cost model: everything below follows from extents, strides and cache sizes, nothing is timed."""
    tile = panel_tile(target, spec.n, spec.element)
    if spec.m:
        tile = tile.with_rows(_even(spec.m, tile.rows))
    size = spec.bytes
    # A panel of B takes an eighth of the second level and A half; longer contractions are cut evenly.
    longest = max(target.l2 // 8 // (tile.width * size), 64)
    if spec.k is None:
        piece: int | None = longest
    elif spec.k <= longest or (spec.m is not None and spec.m <= tile.rows):
        piece = None
    else:
        pieces = -(-spec.k // longest)
        piece = -(-spec.k // pieces) + 7 & -8
    steps = piece or spec.k or 1
    rows = max(min(target.l2 // 2 // (max(steps, 1) * size), BLOCK_TILES * tile.rows), tile.rows)
    if spec.m is not None:
        rows = _even(max(spec.m, 1), rows)
    block = -(-rows // tile.rows) * tile.rows
    copy = _copy_pays(spec, tile)
    scratch = (
        copied_stride(spec, block, steps) * size * (block if spec.strides[1] == 1 else steps) if copy else 0
    )
    return Blocking(tile, block, piece, copy, scratch)


def _even(total: int, most: int) -> int:
    """The even share when `total` is cut into as few parts of at most `most` as possible."""
    return max(-(-total // max(-(-total // most), 1)), 1)


def _copy_pays(spec: Gemm, tile: Tile) -> bool:
    """A is copied when its rows fall onto the same cache sets, and the copy is used often enough to pay."""
    row, step = spec.strides
    if 1 not in (row, step) or panels(spec.n, tile) < 4 or (spec.m is not None and spec.m < MAX_ROWS):
        return False
    far = row if step == 1 else step
    return far * spec.bytes % 2048 == 0 or step != 1


def copied_stride(spec: Gemm, block: int, steps: int) -> int:
    """Elements between rows (or steps, for A transposed) of the copy of A: one line more than it holds."""
    contiguous = steps if spec.strides[1] == 1 else block
    return (-(-contiguous * spec.bytes // LINE) + 1) * LINE // spec.bytes


def row_tiles(rows: int, tallest: int) -> list[int]:
    """Heights of the tiles that cover `rows` exactly: two neighbouring heights when that works out, else tall ones
    and what they leave as one tile or two.

    >>> row_tiles(197, 14).count(14), row_tiles(197, 14).count(13), row_tiles(5, 14), row_tiles(37, 14)
    (2, 13, [5], [14, 14, 5, 4])
    """
    count = -(-rows // tallest)
    missing = count * tallest - rows
    if missing <= count:
        return [tallest] * (count - missing) + [tallest - 1] * missing
    rest = rows % tallest
    parts = [rest] if rest <= half(tallest) else [-(-rest // 2), rest // 2]
    return [tallest] * (rows // tallest) + parts


def half(tallest: int) -> int:
    """The tallest of the tiles that cover what the tall ones leave."""
    return -(-tallest // 2)
