"""Regions: what a kernel under construction is, and which two may become one.

`fit` is the contract of `fuse.py` as code: it says what the union of a producer and a consumer would be, or
why there is none.  It does not ask whether other kernels stand between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphc.ir.dims import Dim
from graphc.ir.graph import Node
from graphc.ir.op import Kind
from graphc.ir.partition import KernelKind
from graphc.ir.types import format_shape
from graphc.passes.index_maps import squeezed, wide_axes
from graphc.passes.reading import Read, Reading, is_join, is_view, operand_value

Level = Literal["full", "row"]
Frame = tuple[int, int]  # a movement node and the operand through which something is read

ANCHORS: dict[Kind, KernelKind] = {
    Kind.CONTRACTION: "contraction",
    Kind.CONVOLUTION: "convolution",
    Kind.POOLING: "pooling",
    Kind.RANDOM: "random",
}
ALONE: dict[Kind, KernelKind] = {
    Kind.INDEXING: "indexing",
    Kind.SEQUENTIAL: "sequential",
    Kind.COMPOSITE: "composite",
    Kind.CONTROL: "scan",
}


@dataclass(slots=True)
class Region:
    """A group of nodes that will be one kernel.

    space    the full shape without axes of size 1
    reduced  the axes of `space` that rows reduce; None when nothing is reduced
    rows     nodes at row level: reductions and what is computed once a row
    frames   nodes evaluated at another index, and through which operand of which movement node
    moves    whether there is a movement node
    """

    kind: KernelKind
    nodes: list[int]
    space: tuple[Dim, ...]
    anchor: Node | None = None
    reduced: tuple[int, ...] | None = None
    rows: set[int] = field(default_factory=set)
    frames: dict[int, Frame] = field(default_factory=dict)
    moves: bool = False

    @property
    def full_axes(self) -> tuple[int, ...]:
        return tuple(range(len(self.space)))

    @property
    def row_axes(self) -> tuple[int, ...]:
        return tuple(a for a in self.full_axes if a not in (self.reduced or ()))

    @property
    def row_space(self) -> tuple[Dim, ...]:
        return tuple(self.space[a] for a in self.row_axes)


def region_of(reading: Reading, i: int) -> Region:
    """The region of one node."""
    node = reading.graph.nodes[i]
    kind, shape = node.op.kind, node.outputs[0].shape
    if kind in ANCHORS:
        return Region(ANCHORS[kind], [i], squeezed(shape), anchor=node)
    if kind in ALONE:
        return Region(ALONE[kind], [i], squeezed(shape))
    if is_view(reading, i):
        return Region("view", [i], squeezed(shape))
    if is_join(reading, i):
        return Region("join", [i], squeezed(shape))
    if kind is Kind.REDUCTION:
        operand = node.inputs[0].shape
        axes = node.attributes["axes"] if "axes" in node.attributes else (node.attributes["axis"],)
        reduced = tuple(n for n, axis in enumerate(wide_axes(operand)) if axis in axes)
        return Region("row", [i], squeezed(operand), reduced=reduced, rows={i})
    moves = kind is Kind.MOVEMENT and not reading.cheap[i]
    return Region("loop", [i], squeezed(shape), moves=moves)


def fit(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    """The union of a producer and a consumer, or why they cannot be one kernel.

    `reads` are the reads (by node) of b that have their root in a; there is at least one.
    """
    nodes = reading.graph.nodes
    for consumer, read in reads:
        if read.memory:
            if b.kind == "view":
                return "a reshape is a view of a tensor that stands in memory"
            return f"{nodes[consumer].op.name} reads its operands from memory"
    for region in (a, b):
        if region.kind in ("view", "join", *ALONE.values()):
            return f"{nodes[region.nodes[0]].op.name} is a kernel of its own"
    if a.anchor is not None or b.anchor is not None:
        return _epilogue(reading, a, b, reads)
    if a.kind == "loop" and b.kind == "loop":
        return _loops(reading, a, b, reads)
    if a.kind == "loop":
        return _into_rows(reading, a, b, reads)
    if b.kind == "loop":
        return _out_of_rows(reading, a, b, reads)
    return _rows(reading, a, b, reads)


def _epilogue(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    if a.anchor is not None and b.anchor is not None:
        return f"one is in the kernel of %{a.anchor.name}, the other in that of %{b.anchor.name}"
    anchored, other = (a, b) if a.anchor is not None else (b, a)
    assert anchored.anchor is not None
    name, shape = anchored.anchor.op.name, anchored.anchor.outputs[0].shape
    if other.kind == "row":
        return (
            f"a reduction needs the whole result of {name}"
            if other is b
            else f"a row's result is not known when {name} stores its elements"
        )
    if other.moves:
        return f"an epilogue moves nothing: it works on the element {name} has just computed"
    for consumer, read in reads:
        if read.axes != tuple(range(len(squeezed(reading.graph.nodes[consumer].outputs[0].shape)))):
            return "each element would be computed again for every repetition"
    for i in other.nodes:
        if reading.graph.nodes[i].outputs[0].shape != shape:
            return f"the result of {name} is {format_shape(shape)}, {_named(reading, i)} has another shape"
    return Region(anchored.kind, _joined(a, b), anchored.space, anchored.anchor)


def _loops(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    frame = _frame(reading, a, b, reads)
    if isinstance(frame, str):
        return frame
    for consumer, read in reads:
        if read.axes != operand_axes(reading, consumer, read):
            return "each element would be computed again for every repetition"
    return Region("loop", _joined(a, b), b.space, frames=_framed(a, b, frame), moves=a.moves or b.moves)


def _into_rows(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    frame = _frame(reading, a, b, reads)
    if isinstance(frame, str):
        return frame
    levels: set[Level] = set()
    for consumer, read in reads:
        if frame is not None:
            levels.add("full")
            if read.axes != operand_axes(reading, consumer, read):
                return "each element would be computed again for every repetition"
            continue
        level = _level_read(reading, b, consumer, read)
        if level is None:
            return "each element would be computed again for every repetition"
        levels.add(level)
    if len(levels) > 1:
        return "it would be needed once a row and once an element"
    if levels == {"row"} and a.moves:
        return "nothing is moved within the part of a kernel that runs once a row"
    rows = b.rows | set(a.nodes) if levels == {"row"} else b.rows
    frames, moves = _framed(a, b, frame), a.moves or b.moves
    return Region("row", _joined(a, b), b.space, None, b.reduced, set(rows), frames, moves)


def _out_of_rows(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    levels: set[Level] = set()
    for consumer, read in reads:
        assert read.root is not None
        if reading.graph.nodes[consumer].op.kind is Kind.MOVEMENT or consumer in b.frames:
            return "what a reduction gives can be moved only when all of it is known"
        if b.space == a.space and read.axes == (a.row_axes if read.root in a.rows else a.full_axes):
            levels.add("full")
        elif read.root in a.rows and b.space == a.row_space and read.axes == tuple(range(len(b.space))):
            levels.add("row")
        else:
            return f"the rows of {_named(reading, read.root)} are not the rows that {_named(reading, consumer)} needs"
    if len(levels) > 1:
        return "it would be needed once a row and once an element"
    if levels == {"row"} and b.moves:
        return "nothing is moved within the part of a kernel that runs once a row"
    rows = a.rows | set(b.nodes) if levels == {"row"} else a.rows
    return Region(
        "row",
        _joined(a, b),
        a.space,
        None,
        a.reduced,
        set(rows),
        {**a.frames, **b.frames},
        a.moves or b.moves,
    )


def _rows(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Region | str:
    if (a.space, a.reduced) != (b.space, b.reduced):
        return "they reduce other axes, or tensors of other shapes"
    for consumer, read in reads:
        assert read.root is not None
        if consumer in b.frames or reading.graph.nodes[consumer].op.kind is Kind.MOVEMENT:
            return "what a reduction gives can be moved only when all of it is known"
        if _level_read(reading, b, consumer, read) != ("row" if read.root in a.rows else "full"):
            return f"the rows of {_named(reading, read.root)} are not the rows that {_named(reading, consumer)} needs"
    return Region(
        "row",
        _joined(a, b),
        a.space,
        None,
        a.reduced,
        a.rows | b.rows,
        {**a.frames, **b.frames},
        a.moves or b.moves,
    )


def fit_siblings(a: Region, b: Region) -> Region | None:
    """The union of two regions that do not depend on each other and have one index space, or None."""
    if a.space != b.space or a.kind not in ("loop", "row") or b.kind not in ("loop", "row"):
        return None
    if a.reduced is not None and b.reduced is not None and a.reduced != b.reduced:
        return None
    row = a if a.reduced is not None else b
    frames = {**a.frames, **b.frames}
    return Region(
        row.kind, _joined(a, b), a.space, None, row.reduced, a.rows | b.rows, frames, a.moves or b.moves
    )


def _level_read(reading: Reading, b: Region, consumer: int, read: Read) -> Level | None:
    """At which level of the row region b a node of it reads something, when that is one of the two."""
    node = reading.graph.nodes[consumer]
    if consumer in b.rows and node.op.kind is not Kind.REDUCTION:
        return "row" if read.axes == tuple(range(len(b.row_axes))) else None
    if read.axes == b.full_axes:
        return "full"
    return "row" if read.axes == b.row_axes else None


def _frame(reading: Reading, a: Region, b: Region, reads: Sequence[tuple[int, Read]]) -> Frame | None | str:
    """Through which operand of which movement node b sees all of a; None: at the index itself."""
    seen: set[Frame | None] = set()
    for consumer, read in reads:
        moves = reading.graph.nodes[consumer].op.kind is Kind.MOVEMENT and not reading.cheap[consumer]
        frame = (consumer, read.operand) if moves else b.frames.get(consumer)
        seen.add(frame)
    if len(seen) > 1:
        return "it is read at two different indices"
    (only,) = seen
    if only is not None:
        inside = set(a.nodes) | set(b.nodes)
        for i in a.nodes:
            if reading.returned[i] or any(user not in inside for user, _ in reading.users[i]):
                return f"{_named(reading, i)} has other readers, and here it is read at another index"
    return only


def _framed(a: Region, b: Region, frame: Frame | None) -> dict[int, Frame]:
    frames = {**b.frames, **a.frames}
    if frame is not None:
        frames.update((i, frame) for i in a.nodes if i not in a.frames)
    return frames


def operand_axes(reading: Reading, consumer: int, read: Read) -> tuple[int, ...]:
    """All wide axes of an operand: what a read at the very same index has."""
    seen = operand_value(reading.graph.nodes[consumer], read.operand)
    return tuple(range(len(squeezed(seen.shape))))


def _joined(a: Region, b: Region) -> list[int]:
    return a.nodes + b.nodes


def _named(reading: Reading, i: int) -> str:
    return f"%{reading.graph.nodes[i].name}"
