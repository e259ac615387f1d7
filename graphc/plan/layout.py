"""How a value lies in memory, where that is not row-major.

A layout says nothing about the value: types, the interpreter and every pass are untouched by it. It belongs
to the plan, like an offset. Values without one are dense and row-major, as are all the caller sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.ir.dims import Dim, product
from graphc.ir.graph import Value
from graphc.ir.types import TensorType

BLOCK = 16


@dataclass(frozen=True, slots=True)
class Blocked:
    """A batch of images x[N, C, H, W] as `[N][C/16][H][W][16]`, each plane within a border of zeros.

    halo    rows and columns of zeros at the top, left, bottom and right: the padding of convolutions that read it
    Channels that fill up the last block hold anything.

    >>> from graphc.ir.types import float32
    >>> Blocked((1, 1, 1, 1)).nbytes(TensorType(float32, (2, 20, 5, 7)))
    16128
    """

    halo: tuple[int, int, int, int] = (0, 0, 0, 0)

    def nbytes(self, type: TensorType) -> Dim:
        batch, channels, height, width = type.shape
        assert isinstance(channels, int)
        top, left, bottom, right = self.halo
        plane = (height + (top + bottom)) * (width + (left + right))
        return batch * plane * (-(-channels // BLOCK) * BLOCK * type.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Flattened:
    """A matrix x[N, C·H·W] made of blocked images without border: its columns in the order of `[C/16][H][W][16]`."""

    image: tuple[int, int, int]

    def nbytes(self, type: TensorType) -> Dim:
        assert type.shape[1] == product(self.image) and self.image[0] % BLOCK == 0
        return type.nbytes


Layout = Blocked | Flattened
Layouts = Mapping[Value, Layout]


def stored_bytes(value: Value, layouts: Layouts) -> Dim:
    """Bytes a value takes in memory."""
    layout = layouts.get(value)
    return value.type.nbytes if layout is None else layout.nbytes(value.type)
