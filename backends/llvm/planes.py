"""Images prepared for a convolution: planes with a border of zeros, each row split by the phases of the stride.

Whatever a window can meet lies at `row * pitch + phase * run + column`, so the convolution reads neighbouring output
columns from neighbouring elements and never asks where the edge is. The gradient by the input reads planes whose
elements stand a stride apart, zeros between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from graphc.backends.llvm.emitter import BITS, Function, Reg, constant
from graphc.backends.llvm.packing import copy_rows
from graphc.backends.llvm.target import Target


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of the prepared planes.

    size    elements of the source
    apart   distance between neighbours of the source in the planes: 1, or the stride for a gradient
    low     position of the source's first element; elements that fall in front of the plane are cut off
    extent  positions in all
    """

    size: int
    apart: int
    low: int
    extent: int

    @property
    def present(self) -> range:
        """The source elements that lie in the plane."""
        first = max(0, -(self.low // self.apart)) if self.low < 0 else 0
        end = min(self.size, max(0, -(-(self.extent - self.low) // self.apart)))
        return range(first, max(first, end))

    @property
    def whole(self) -> bool:
        """Whether the plane is the source as it is."""
        return self.apart == 1 and self.low == 0 and self.extent <= self.size


@dataclass(frozen=True, slots=True)
class Planes:
    """Layout of the prepared planes of one image. `phases`: rows are split by column modulo this number."""

    channels: int
    rows: Axis
    columns: Axis
    phases: int
    run: int
    element: str

    @property
    def item(self) -> int:
        return BITS[self.element] // 8

    @property
    def in_place(self) -> bool:
        """Whether the source can be read where it is."""
        return self.rows.whole and self.columns.whole and self.phases == 1

    @property
    def pitch(self) -> int:
        """Elements of a row."""
        return self.columns.size if self.in_place else self.phases * self.run

    @property
    def plane(self) -> int:
        """Elements of a plane."""
        return self.pitch * (self.rows.size if self.in_place else self.rows.extent)

    @property
    def bytes(self) -> int:
        """Working memory of one image."""
        return 0 if self.in_place else -(-self.channels * self.plane * self.item // 64) * 64

    def column(self, position: int) -> int:
        """Where a column lies in its row."""
        return position % self.phases * self.run + position // self.phases


def emit_clear(f: Function, planes: Planes, place: Reg) -> None:
    """Zeros everywhere; what `emit_prepare` writes later are the same elements for every image."""
    size = constant(planes.bytes, "i64")
    f.intrinsic("memset", ["ptr", "i64"], "void", place, "i8 0", size, "i1 false")


def emit_prepare(f: Function, target: Target, planes: Planes, source: Reg, place: Reg) -> None:
    """The image at `source` into the planes at `place`."""
    rows, columns, item = planes.rows, planes.columns, planes.item
    own_plane = rows.size * columns.size * item
    if not rows.present or not columns.present:
        return
    with f.loop(0, planes.channels) as channel:
        here = f.gep(source, f.mul(channel, own_plane))
        there = f.gep(place, f.mul(channel, planes.plane * item))
        here = f.gep(here, (rows.present.start * columns.size + columns.present.start) * item)
        there = f.gep(there, (rows.present.start * rows.apart + rows.low) * planes.pitch * item)
        count = constant(len(rows.present), "i64")
        step = rows.apart * planes.pitch * item
        if columns.apart == 1 and planes.phases == 1:
            first = (columns.present.start + columns.low) * item
            length = constant(len(columns.present), "i64")
            there = f.gep(there, first)
            copy_rows(f, target, planes.element, here, columns.size * item, there, step, count, length)
        else:
            with f.loop(0, count) as row:
                from_row = f.gep(here, f.mul(row, columns.size * item))
                _spread_row(f, planes, from_row, f.gep(there, f.mul(row, step)))


def _spread_row(f: Function, planes: Planes, source: Reg, place: Reg) -> None:
    """A row whose elements do not stay neighbours: every residue of the column is one run with a constant stride."""
    columns, item = planes.columns, planes.item
    first = columns.present.start * columns.apart + columns.low
    # Elements i, i + group, i + 2 group ... lie in one phase.
    group = planes.phases // gcd(planes.phases, columns.apart)
    for residue in range(min(group, len(columns.present))):
        position = first + residue * columns.apart
        apart = group * columns.apart // planes.phases
        start = f.gep(place, planes.column(position) * item)
        count = -(-(len(columns.present) - residue) // group)
        with f.loop(0, count) as i:
            here = f.gep(f.gep(source, residue * item), f.mul(i, group * item))
            f.store(f.load(here, planes.element), f.gep(start, f.mul(i, apart * item)))
