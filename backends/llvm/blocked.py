"""Channel-blocked images, `[N][C/16][H][W][16]`, with an optional border of zeros, and the way into and out
of them.

A block of 16 channels is one, two or four vectors, so an image has the same layout on every machine. The
border (`halo`) is memory around each plane that holds the padding of the convolution that reads it: whoever
makes the image writes the interior, the border is cleared once, and no loop asks where the edge is.
"""

from dataclasses import dataclass
from functools import partial

from graphc.backends.llvm.emitter import BITS, Function, Module, Reg, constant
from graphc.backends.llvm.packing import copy_rows, transpose
from graphc.backends.llvm.target import Target

BLOCK = 16


@dataclass(frozen=True, slots=True)
class Image:
    """Layout of a batch of images. halo: rows and columns of zeros at the top, left, bottom and right.

    A block of 16 channels lies together for each pixel; `block` other than 16 is for few channels (1 is
    plain NCHW).

    >>> image = Image(3, 5, 7, halo=(1, 1, 1, 1))
    >>> image.pixel, image.pitch, image.plane, image.bytes, image.origin
    (64, 576, 4032, 4032, 640)
    """

    channels: int
    height: int
    width: int
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    block: int = BLOCK
    element: str = "float"

    @property
    def item(self) -> int:
        """Bytes of one number."""
        return BITS[self.element] // 8

    @property
    def pixel(self) -> int:
        """Bytes from a pixel to its right neighbour."""
        return self.block * self.item

    @property
    def pitch(self) -> int:
        """Bytes from a row to the next."""
        return (self.halo[1] + self.width + self.halo[3]) * self.pixel

    @property
    def plane(self) -> int:
        """Bytes of one block of channels."""
        return (self.halo[0] + self.height + self.halo[2]) * self.pitch

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.block)

    @property
    def bytes(self) -> int:
        """Bytes of one image of the batch."""
        return self.blocks * self.plane

    @property
    def origin(self) -> int:
        """Byte offset of the first pixel inside the border."""
        return self.halo[0] * self.pitch + self.halo[1] * self.pixel


@dataclass(frozen=True, slots=True)
class Phase(Image):
    """Every so many-th row and column of an image, as if they were an image: what one sum of a derivative writes.

    >>> phase = Phase(16, 2, 3, outer=Image(16, 4, 6), spacing=(2, 2), start=(1, 0))
    >>> phase.pixel, phase.pitch, phase.origin
    (128, 768, 384)
    """

    outer: Image = Image(1, 1, 1)
    spacing: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    @property
    def pixel(self) -> int:
        return self.outer.pixel * self.spacing[1]

    @property
    def pitch(self) -> int:
        return self.outer.pitch * self.spacing[0]

    @property
    def plane(self) -> int:
        return self.outer.plane

    @property
    def origin(self) -> int:
        return self.outer.origin + self.start[0] * self.outer.pitch + self.start[1] * self.outer.pixel


def emit_clear_halo(module: Module, name: str, image: Image) -> Function:
    """Add `name(images, plane0, plane1)`: zeros into the borders of a range of planes, over all images."""
    f = module.function(name, {"images": "ptr noalias", "plane0": "i64", "plane1": "i64"})
    top, left, bottom, right = image.halo
    zero = constant(0, image.element)

    def clear(start: Reg, count: int) -> None:
        with f.loop(0, count * image.block) as i:
            f.store(zero, f.gep(start, f.mul(i, image.item)))

    row_pixels = image.pitch // image.pixel
    with f.loop(f.plane0, f.plane1) as plane:
        start = f.gep(f.images, f.mul(plane, image.plane))
        clear(start, top * row_pixels)
        clear(f.gep(start, (top + image.height) * image.pitch), bottom * row_pixels)
        if left or right:
            with f.loop(0, image.height) as y:
                row = f.gep(start, f.add(f.mul(y, image.pitch), top * image.pitch))
                clear(row, left)
                clear(f.gep(row, (left + image.width) * image.pixel), right)
    f.ret()
    return f


def emit_convert(module: Module, name: str, target: Target, source: Image, destination: Image) -> Function:
    """Add `name(source, destination, plane0, plane1)`: the interiors, from one layout to another.

    A plane is a block of channels of the wider-blocked side, counted over all images. Missing channels of
    the last block become zeros. Blocks must agree, or one of them be 1 (plain).
    """
    same = (source.channels, source.height, source.width, source.element) == (
        destination.channels, destination.height, destination.width, destination.element,
    )  # fmt: skip
    if not same or (source.block != destination.block and 1 not in (source.block, destination.block)):
        raise ValueError(f"no conversion from {source} to {destination}")
    wide = source if source.block > destination.block else destination
    pointers = {"source": "ptr noalias readonly", "destination": "ptr noalias"}
    f = module.function(name, {**pointers, "plane0": "i64", "plane1": "i64"})
    with f.loop(f.plane0, f.plane1) as plane:
        image, block = f.udiv(plane, wide.blocks), f.urem(plane, wide.blocks)

        def first(base: Reg, layout: Image) -> Reg:
            channel = f.mul(block, wide.block // layout.block * layout.plane)
            return f.gep(base, f.add(f.add(f.mul(image, layout.bytes), channel), layout.origin))

        start, end = first(f.source, source), first(f.destination, destination)
        if source.block == destination.block:
            rows, run = constant(wide.height, "i64"), constant(wide.width * wide.block, "i64")
            copy_rows(f, target, wide.element, start, source.pitch, end, destination.pitch, rows, run)
        else:
            present = f.smin(f.sub(wide.channels, f.mul(block, wide.block)), wide.block)
            with f.loop(0, wide.height) as y:
                here, there = f.gep(start, f.mul(y, source.pitch)), f.gep(end, f.mul(y, destination.pitch))
                if wide.block == BLOCK:
                    _convert_row(f, target, source, destination, here, there, present)
                else:
                    _convert_items(f, source, destination, here, there, present, constant(0, "i64"))
    f.ret()
    return f


def _convert_row(
    f: Function, target: Target, source: Image, destination: Image, here: Reg, there: Reg, present: Reg
) -> None:
    """A row of one block between plain and blocked, by squares of channels x pixels turned in registers."""
    lanes, item = target.lanes(source.element), source.item
    type = f"<{lanes} x {source.element}>"
    whole = source.width - source.width % lanes
    to_blocked = destination.block == BLOCK

    def where(layout: Image, base: Reg, x: Reg, channel: int, index: int) -> Reg:
        """Vector `index` of a square: a channel's pixels in plain, a pixel's channels in blocked."""
        fixed = (
            (channel + index) * layout.plane if layout.block == 1 else index * layout.pixel + channel * item
        )
        return f.gep(f.gep(base, f.mul(x, layout.pixel)), fixed)

    def load(place: Reg) -> list[Reg]:
        return [f.load(place, type)]

    def absent() -> list[Reg]:
        return [constant(0, type)]

    with f.loop(0, whole, lanes) as x:
        for channel in range(0, BLOCK, lanes):
            exists = [f.icmp("sgt", present, channel + i) for i in range(lanes)]
            rows = []
            for i in range(lanes):
                place = where(source, here, x, channel, i)
                if to_blocked:
                    rows += f.if_else(exists[i], partial(load, place), absent)
                else:
                    rows += load(place)
            for i, value in enumerate(transpose(f, rows)):
                place = where(destination, there, x, channel, i)
                if to_blocked:
                    f.store(value, place)
                else:
                    with f.if_(exists[i]):
                        f.store(value, place)
    _convert_items(f, source, destination, here, there, present, constant(whole, "i64"))


def _convert_items(
    f: Function, source: Image, destination: Image, here: Reg, there: Reg, present: Reg, first: Reg
) -> None:
    """The pixels of a row from `first` on, number by number."""
    wide = max(source.block, destination.block)

    def place(layout: Image, base: Reg, x: Reg, channel: Reg) -> Reg:
        step = layout.plane if layout.block == 1 else layout.item
        return f.gep(base, f.add(f.mul(x, layout.pixel), f.mul(channel, step)))

    with f.loop(first, source.width) as x:
        with f.loop(0, present) as channel:
            value = f.load(place(source, here, x, channel), source.element)
            f.store(value, place(destination, there, x, channel))
        if destination.block == wide:
            with f.loop(present, wide) as channel:
                f.store(constant(0, source.element), place(destination, there, x, channel))
