"""What a convolution kernel is made for: extents, layouts, its cut into tiles, and packed weights."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from graphc.backends.llvm.blocked import BLOCK, Image
from graphc.backends.llvm.blocking import row_cost, row_tiles
from graphc.backends.llvm.lint import sound
from graphc.backends.llvm.packing import pack_b
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Tile, tiles


@dataclass(frozen=True, slots=True)
class Convolution:
    """y[n,o,i,j] = sum over c,p,q of x[n, c, i*sh + p*dh - top, j*sw + q*dw - left] * w[o,c,p,q], groups
    apart.

    source and result give the extents and the layout; the border of `source` must hold the padding.
    padding: rows on top, columns at the left; what is needed at the bottom and the right follows from the
    extents.
    """

    source: Image
    result: Image
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if self.source.channels % self.groups or self.result.channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide the channels of {self}")
        if self.result.block != BLOCK or (self.source.block != BLOCK and self.groups > 1):
            raise ValueError(f"blocks of channels must be {BLOCK}, or those of an ungrouped source: {self}")
        short = [need - have for need, have in zip(self.halo, self.source.halo, strict=True)]
        if max(short) > 0:
            raise ValueError(f"the border {self.source.halo} of the source must be at least {self.halo}")

    @property
    def halo(self) -> tuple[int, int, int, int]:
        """The border the source needs: top, left, bottom, right."""
        extents = (self.result.height, self.result.width)
        inside = (self.source.height, self.source.width)
        ends = [
            (count - 1) * stride + (taps - 1) * dilation + 1 - pad - size
            for count, stride, taps, dilation, pad, size in zip(
                extents, self.stride, self.kernel, self.dilation, self.padding, inside, strict=True
            )
        ]
        return self.padding[0], self.padding[1], max(ends[0], 0), max(ends[1], 0)

    @property
    def group_channels(self) -> tuple[int, int]:
        """Input and output channels of one group."""
        return self.source.channels // self.groups, self.result.channels // self.groups

    @property
    def dense(self) -> bool:
        """Whether each group's channels are whole blocks, or there is but one group."""
        return self.groups == 1 or all(channels % BLOCK == 0 for channels in self.group_channels)

    @property
    def depthwise(self) -> bool:
        """Whether each channel is a group of its own and gives one channel."""
        return self.groups > 1 and self.group_channels == (1, 1)

    @property
    def start(self) -> int:
        """Byte offset in the source of the window of output pixel (0, 0)."""
        top, left = (self.source.halo[i] - self.padding[i] for i in range(2))
        return top * self.source.pitch + left * self.source.pixel


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the output is cut: the tallest tile, output rows a tile spans, widths of the tiles of a row."""

    tile: Tile
    span: int
    widths: tuple[int, ...]

    def row_groups(self, spec: Convolution) -> int:
        """Groups of output rows of one image: the unit in which threads share the work."""
        return -(-spec.result.height // self.span)

    def panels(self, spec: Convolution) -> int:
        """Panels of output channels, over all groups."""
        if not spec.dense:
            return spec.result.blocks
        return spec.groups * -(-spec.group_channels[1] // self.tile.width)


def tiling(spec: Convolution, target: Target) -> Tiling:
    """The tile of least cost among those whose panels are whole blocks of channels."""
    candidates = [tile for tile in tiles(target, spec.result.element) if tile.width % BLOCK == 0]
    if not spec.dense:
        candidates = [tile for tile in candidates if tile.width == BLOCK]
    if spec.depthwise:
        # Inputs are vectors too: half of the registers hold those of a window row.
        return _cut(
            spec, candidates[0].with_rows(min(8, target.vector_registers // 2 // candidates[0].vectors))
        )
    channels = spec.group_channels[1]

    def cost(tile: Tile) -> tuple[float, int]:
        cut = _cut(spec, tile)
        panel_count, rest = divmod(channels, tile.width)
        shapes = [(tile.vectors, panel_count), (ceil(rest / tile.lanes), 1 if rest else 0)]
        total = 0.0
        for vectors, count in shapes:
            for width in cut.widths if count else ():
                total += count * row_cost(replace(tile, rows=width * cut.span, vectors=vectors)) * width
        return total, -tile.rows

    while not sound(best := min(candidates, key=cost), target):
        candidates[candidates.index(best)] = best.with_rows(best.rows - 1)
    return _cut(spec, best)


def _cut(spec: Convolution, tile: Tile) -> Tiling:
    """The even cut of the output's width into tiles of at most the given height."""
    width = spec.result.width
    span = max(min(tile.rows // width, spec.result.height), 1)
    tallest = -(-width // -(-width // min(tile.rows, width)))
    return Tiling(tile, span, tuple(row_tiles(width, tallest)))


def pack_weights(w: Any, spec: Convolution, width: int) -> Any:
    """Weights (O, C/groups, KH, KW) as the kernel reads them, `width` the width of its panels.

    Dense: `[groups][panels][K][width]`, K in the order of the contraction. Depthwise: `[C/16][KH * KW][16]`.
    Otherwise, for each block of 16 output channels and each group it touches, `[K][16]` with zeros in the
    lanes of other groups.
    """
    inputs, outputs = spec.group_channels
    block = spec.source.block
    grouped = w.reshape(spec.groups, outputs, inputs, *spec.kernel)
    if spec.dense:
        runs = [
            np.moveaxis(grouped[:, :, c : c + block], (3, 4, 2), (1, 2, 3)).reshape(spec.groups, -1, outputs)
            for c in range(0, inputs, block)
        ]
        return pack_b(np.concatenate(runs, axis=1), width)
    if spec.depthwise:
        return pack_b(w.reshape(spec.result.channels, -1).T, BLOCK)
    count = slots(spec)
    packed = np.zeros((spec.result.blocks, count, inputs * spec.kernel[0] * spec.kernel[1], BLOCK), w.dtype)
    for channel in range(spec.result.channels):
        first = channel // BLOCK * BLOCK // outputs
        packed[channel // BLOCK, channel // outputs - first, :, channel % BLOCK] = w[channel].reshape(-1)
    return packed


def packed_weights_bytes(spec: Convolution, width: int) -> int:
    """Bytes of what `pack_weights` gives."""
    inputs, outputs = spec.group_channels
    taps = spec.kernel[0] * spec.kernel[1]
    if spec.dense:
        return spec.groups * -(-outputs // width) * width * inputs * taps * spec.source.item
    runs = 1 if spec.depthwise else slots(spec) * inputs
    return spec.result.blocks * runs * taps * BLOCK * spec.source.item


def slots(spec: Convolution) -> int:
    """The most groups that one block of output channels touches."""
    outputs = spec.group_channels[1]
    starts = range(0, spec.result.channels, BLOCK)
    return max((min(s + BLOCK, spec.result.channels) - 1) // outputs - s // outputs + 1 for s in starts)
