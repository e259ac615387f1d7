"""How a convolution runs on Winograd tiles, and whether that pays: everything follows from extents and cache sizes.

All images are cut into squares of m x m outputs. A batch of tiles is transformed into V; each frequency is a
matrix product with transformed weights U, for which the register tile of matrix products serves; M, the
products for one panel of output channels, is transformed back at once, epilogue and all. V and M stay
near: neither is ever as large as the layer.

    V[frequency][register tile][block of channels][tile][16]    in the order in which the product reads it
    U[panel][frequency][channel][width]
    M[frequency][tile][output channel]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Any

import numpy as np

from graphc.backends.llvm.blocked import BLOCK
from graphc.backends.llvm.blocking import row_cost
from graphc.backends.llvm.convolution_plan import Convolution, Tiling, packed_weights_bytes
from graphc.backends.llvm.lint import sound
from graphc.backends.llvm.sharing import unevenness
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import FMA_PER_CYCLE, LINE, Tile, tiles
from graphc.backends.llvm.winograd import F2, F4, TAPS, Form, additions

MOST_TILES = 112  # transformed together: beyond, weights are read often enough for their way
TURN = 12  # cycles that a register tile's beginning and end take, apart from its stores
MEMORY_RATE = 10.0  # bytes a cycle that come in from memory, for all cores together
NEAR_RATE = 24.0  # from the last cache, for each
FAR_TILE = 240  # cycles that a tile of one block of channels takes longer from and to the last cache
SHOWS = 0.25  # the part of the shorter of computing and weights' traffic that the longer does not hide
SLIGHT = 1.05  # the ratio of times up to which smaller weights count more


@dataclass(frozen=True, slots=True)
class Winograd:
    """A convolution in Winograd's form.

    block    tiles of a batch, a multiple of the register tile's rows
    """

    spec: Convolution
    form: Form
    tile: Tile
    block: int

    @property
    def down(self) -> int:
        """Rows of tiles of an image."""
        return -(-self.spec.result.height // self.form.m)

    @property
    def across(self) -> int:
        return -(-self.spec.result.width // self.form.m)

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.down * self.across

    @property
    def frequencies(self) -> int:
        return self.form.size**2

    @property
    def group_panels(self) -> int:
        """Panels of output channels of one group of the convolution."""
        return -(-self.spec.group_channels[1] // self.tile.width)

    @property
    def panels(self) -> int:
        """Panels of output channels over all groups."""
        return self.spec.groups * self.group_panels

    @property
    def turn_bytes(self) -> int:
        """Bytes of one block of channels of the tiles of a register tile in V."""
        return self.tile.rows * BLOCK * self.tile.bytes

    @property
    def slice_bytes(self) -> int:
        """Bytes of one frequency of V."""
        return _odd_lines(self.block // self.tile.rows * self.spec.source.blocks * self.turn_bytes)

    @property
    def product_row_bytes(self) -> int:
        """Bytes of a tile's output channels in M."""
        return self.tile.width * self.tile.bytes

    @property
    def product_slice_bytes(self) -> int:
        return _odd_lines(self.block * self.product_row_bytes)

    @property
    def input_bytes(self) -> int:
        """Bytes of V."""
        return self.frequencies * self.slice_bytes

    @property
    def product_bytes(self) -> int:
        """Bytes of M."""
        return self.frequencies * self.product_slice_bytes

    @property
    def panel_bytes(self) -> int:
        """Bytes of one panel of U for one frequency."""
        return self.spec.group_channels[0] * self.tile.width * self.tile.bytes

    @property
    def weights_bytes(self) -> int:
        return self.panels * self.frequencies * self.panel_bytes

    def short(self, axis: int) -> int:
        """Rows (or columns) of the last tile that lie beyond the source and its border."""
        source, result = self.spec.source, self.spec.result
        count = (self.down, self.across)[axis]
        size, halo = (source.height, source.width)[axis], source.halo[axis + 2]
        assert (result.height, result.width)[axis] <= count * self.form.m
        return max(count * self.form.m + TAPS - 1 - self.spec.padding[axis] - size - halo, 0)

    def last(self, axis: int) -> int:
        """Outputs of the last tile along an axis."""
        size = (self.spec.result.height, self.spec.result.width)[axis]
        return size - ((self.down, self.across)[axis] - 1) * self.form.m


def _odd_lines(size: int) -> int:
    """An odd number of lines: what many frequencies write side by side does not meet in one cache set."""
    return (-(-size // LINE) | 1) * LINE


def suits(spec: Convolution) -> bool:
    """Whether a convolution has a Winograd form: windows of 3x3 that move by one, on whole blocks of channels."""
    plain = (spec.stride, spec.dilation, spec.kernel) == ((1, 1), (1, 1), (TAPS, TAPS))
    return plain and spec.dense and spec.source.block == BLOCK and spec.source.element == "float"


def choose(spec: Convolution, cut: Tiling, images: int | None, target: Target) -> Winograd | None:
    """The Winograd form that takes the fewest cycles; None when the sum over windows takes fewer.

    images: the batch, None when it is known only when the model runs. F(4, 3) rounds a few times more coarsely
    than the sum, so a strict target goes without; F(2, 3) is as accurate as the sum.
    """
    if not suits(spec) or not target.fma:
        return None
    forms = (F2,) if target.strict else (F2, F4)
    found = [plan for form in forms if (plan := best(spec, form, images, target))]
    chosen, least = None, direct_cost(spec, cut, images or 1)
    for plan in reversed(found):
        cost = cycles(plan, images or 1, target)
        if cost < least * (SLIGHT if chosen else 1):
            chosen, least = plan, cost
    return chosen


@cache
def best(spec: Convolution, form: Form, images: int | None, target: Target) -> Winograd | None:
    """The cut of least cost for a form, among tiles that LLVM compiles well; None for no images."""
    plans = sorted(candidates(spec, form, images, target), key=lambda plan: cycles(plan, images or 1, target))
    return next((plan for plan in plans if sound(plan.tile, target)), None)


def candidates(spec: Convolution, form: Form, images: int | None, target: Target) -> Iterator[Winograd]:
    """Every cut of the tiles that is worth asking the model about."""
    one = Winograd(spec, form, tiles(target, spec.source.element)[0], 1)
    total = one.tiles * (images or 1)
    if total == 0:
        return
    for widest in tiles(target, spec.source.element):
        if widest.width % BLOCK:
            continue
        for rows in range(widest.rows, widest.rows // 2, -1):
            tile = widest.with_rows(rows)
            most = range(1, max(MOST_TILES // rows, 1) + 1)
            for turns in sorted({_even(total, turns * rows, rows) for turns in most}):
                yield replace(one, tile=tile, block=turns * rows)


def _even(total: int, block: int, rows: int) -> int:
    """Register tiles of each batch when `total` tiles are cut evenly into batches of at most `block`."""
    return -(-total // (-(-total // block) * rows))


def cycles(plan: Winograd, images: int, target: Target) -> float:
    """Cycles a batch of images takes: the sum of what one core takes and two."""
    spec, tile, form = plan.spec, plan.tile, plan.form
    inputs, _ = spec.group_channels
    total = plan.tiles * images
    blocks = -(-total // plan.block)
    rest = total - (blocks - 1) * plan.block
    rows = (blocks - 1) * plan.block + -(-rest // tile.rows) * tile.rows
    turns = rows // tile.rows * plan.panels * plan.frequencies
    products = turns * (inputs * tile.rows * row_cost(tile) + tile.rows * tile.vectors + TURN)
    parts = BLOCK // tile.lanes
    there = (2 * form.size * additions(form.inputs) / FMA_PER_CYCLE + plan.frequencies) * spec.source.blocks
    back = (form.size + form.m) * additions(form.outputs) / FMA_PER_CYCLE + plan.frequencies / 2 + form.m**2
    transforms = total * parts * (there + back * spec.result.blocks)
    if plan.input_bytes + spec.source.bytes > target.l2:
        transforms += total * spec.source.blocks * FAR_TILE
    uneven = min(unevenness(blocks), unevenness(plan.panels))
    again = (blocks - 1) * _repeated(plan.weights_bytes, target)
    if plan.input_bytes + plan.product_bytes > target.l2 * 3 // 4:  # V is read for each panel
        again += total / plan.block * plan.input_bytes * plan.panels / NEAR_RATE
    return _both(products + transforms, uneven, plan.weights_bytes, again)


def direct_cost(spec: Convolution, cut: Tiling, images: int) -> float:
    """The same for the sum over windows."""
    inputs, outputs = spec.group_channels
    whole, rest = divmod(outputs, cut.tile.width)
    total = 0.0
    for vectors, count in ((cut.tile.vectors, whole), (ceil(rest / cut.tile.lanes), 1 if rest else 0)):
        for width in cut.widths if count else ():
            rows = width * cut.span
            total += count * rows * row_cost(replace(cut.tile, rows=rows, vectors=vectors))
    steps = inputs * spec.kernel[0] * spec.kernel[1]
    products = images * spec.groups * steps * total * spec.result.height / cut.span
    uneven = min(unevenness(images * cut.row_groups(spec)), unevenness(cut.panels(spec)))
    return _both(products, uneven, packed_weights_bytes(spec, cut.tile.width), 0)


def _repeated(weights: int, target: Target) -> float:
    """Cycles in which a core reads weights once more that it has read before."""
    if weights <= target.l2 // 2:
        return 0.0
    return weights / (NEAR_RATE if weights <= target.l3 // 2 else MEMORY_RATE)


def _both(computing: float, uneven: float, weights: int, again: float) -> float:
    """Cycles of one core and of two, whose longer share is `uneven` times the half, added up.

    Weights come from memory once, which takes no less time with two; `again` is what one core takes to read
    what lies near. Computing and reading overlap.
    """
    total = 0.0
    for members in (1, 2):
        own = computing / members * (uneven if members > 1 else 1)
        far = weights / MEMORY_RATE + again / members
        total += max(own, far) + SHOWS * min(own, far)
    return total


def pack(w: Any, plan: Winograd) -> Any:
    """Weights (O, C/groups, 3, 3) as U."""
    spec, width = plan.spec, plan.tile.width
    inputs, outputs = spec.group_channels
    packed = np.zeros((plan.panels, plan.frequencies, inputs, width), w.dtype)
    for panel in range(plan.panels):
        group, index = divmod(panel, plan.group_panels)
        first = group * outputs + index * width
        stop = min(first + width, (group + 1) * outputs)
        u = plan.form.weights(w[first:stop]).reshape(plan.frequencies, stop - first, inputs)
        packed[panel, :, :, : stop - first] = np.swapaxes(u, 1, 2)
    return packed
