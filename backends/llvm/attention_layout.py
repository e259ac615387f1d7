"""How an attention is cut into blocks of rows, and where its parts lie in working memory."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.blocking import Gemm, panel_tile
from graphc.backends.llvm.elements import memory_type
from graphc.backends.llvm.packing import packed_bytes
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Tile
from graphc.ir.dims import Dim
from graphc.ir.partition import Kernel
from graphc.passes.attention import Attention, attention_of

WIDTH = 16
TILES = 2  # of rows in a block


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Sizes of an attention, and where its parts lie in working memory.

    rows, keys, depth, columns   of one head: q[rows, depth], k[keys, depth], v[keys, columns]
    blocks, height               blocks of rows, and rows of the largest
    keys_at ... end              offsets in bytes: panels of k, panels of v, a block of q, scores, sums of rows
    """

    parts: Attention
    lead: tuple[Dim, ...]
    rows: int
    keys: int
    depth: int
    columns: int
    tile: Tile
    mix_tile: Tile
    blocks: int
    height: int
    values_at: int
    query_at: int
    scores_at: int
    sums_at: int
    end: int

    @property
    def line(self) -> int:
        """Elements between rows of scores."""
        return -(-self.keys // WIDTH) * WIDTH

    @property
    def query_line(self) -> int:
        """Elements between rows of the copy of q."""
        return -(-self.depth // WIDTH) * WIDTH

    def first(self, strides: tuple[int, int]) -> Gemm:
        """The product of q and k; keys are filled up with zeros."""
        return Gemm(self.line, self.depth, self.even_rows, self.tile.element, strides)

    def second(self, stride: int) -> Gemm:
        """The product of the powers and v; stride: elements between rows of the result."""
        return Gemm(self.columns, self.keys, self.even_rows, self.tile.element, (self.line, 1), stride)

    @property
    def even_rows(self) -> int | None:
        """Rows of every block, when they all have the same number."""
        return self.height if self.rows % self.blocks == 0 else None


def lay_out(kernel: Kernel, target: Target) -> AttentionLayout:
    """The layout of a kernel of kind attention."""
    parts = attention_of(kernel.nodes)
    assert parts is not None
    *lead, rows, keys = parts.scores.output.shape
    depth, columns = parts.scores.inputs[0].shape[-1], parts.mix.output.shape[-1]
    assert isinstance(rows, int) and isinstance(keys, int)
    assert isinstance(depth, int) and isinstance(columns, int)
    element = memory_type(parts.mix.output.dtype)
    line = -(-keys // WIDTH) * WIDTH
    tile = panel_tile(target, line, element)
    blocks = -(-rows // (TILES * tile.rows))
    height = -(-rows // blocks)
    tile, mix = (
        each.with_rows(-(-height // -(-height // each.rows)))
        for each in (tile, panel_tile(target, columns, element))
    )
    sizes = [
        packed_bytes(depth, line, tile.width, element),
        packed_bytes(keys, columns, mix.width, element),
        height * -(-depth // WIDTH) * WIDTH * tile.bytes,
        height * line * tile.bytes,
        height * tile.bytes,
    ]
    at = [0]
    for size in sizes:
        at.append(at[-1] + -(-size // LINE) * LINE)
    return AttentionLayout(parts, tuple(lead), rows, keys, depth, columns, tile, mix, blocks, height, *at[1:])
