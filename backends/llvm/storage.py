"""Where the elements of a value lie: row-major, or in blocks of channels.

An index becomes the number of an element through the value's layout, so every kernel that is made of index
forms runs on any mixture of layouts; only its speed depends on it.
"""

from __future__ import annotations

from graphc.backends.llvm.affine import Form, Index, Ranges, ravel
from graphc.backends.llvm.blocked import Image
from graphc.backends.llvm.elements import memory_type
from graphc.ir.dims import product
from graphc.ir.graph import Value
from graphc.plan.layout import BLOCK, Blocked, Flattened, Layouts


def image_of(value: Value, layouts: Layouts) -> Image | None:
    """The channel-blocked image a value is stored as, None when it is not.

    A row-major array of one pixel an image and whole blocks of channels is one too.
    """
    if value.type.rank != 4:
        return None
    _, channels, height, width = value.shape
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        return None
    element = memory_type(value.dtype)
    match layouts.get(value):
        case Blocked(halo=halo):
            return Image(channels, height, width, halo, element=element)
        case None if height == width == 1 and channels % BLOCK == 0:
            return Image(channels, height, width, element=element)
    return None


def place(value: Value, index: Index, ranges: Ranges, layouts: Layouts) -> Form:
    """The number of the element of a value at an index, in its memory."""
    match layouts.get(value):
        case Blocked():
            image = image_of(value, layouts)
            assert image is not None
            batch, channel, y, x = index
            item = image.item
            block = ranges.divide(channel, BLOCK)
            total = batch * (image.bytes // item) + block * (image.plane // item) + (channel - block * BLOCK)
            return total + y * (image.pitch // item) + x * (image.pixel // item) + image.origin // item
        case Flattened(image=extents):
            row, column = index
            channel, y, x = ranges.unravel(column, extents)
            block = ranges.divide(channel, BLOCK)
            inside = ravel((block, y, x, channel - block * BLOCK), (1, *extents[1:], BLOCK))
            return row * product(extents) + inside
    return ravel(index, value.shape)


def flattened_order(layout: Flattened) -> list[int]:
    """Which column of the matrix stands at each place of a stored row.

    >>> flattened_order(Flattened((32, 1, 2)))[:3], flattened_order(Flattened((32, 1, 2)))[16:18]
    ([0, 2, 4], [1, 3])
    """
    channels, height, width = layout.image
    pixels = height * width
    return [
        (block + lane) * pixels + pixel
        for block in range(0, channels, BLOCK)
        for pixel in range(pixels)
        for lane in range(BLOCK)
    ]
