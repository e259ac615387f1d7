"""Buffers: values that share memory, and how long each buffer lives.

Views (reshape) share their operand's memory.  A loop kernel may write over an operand that dies
there when it reads that operand only at the index it writes.  What is left has a size and a
lifetime; `graphc.plan.memory` gives it an offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.dims import Dim, SymbolicDim, unit_of
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel
from graphc.plan.layout import Layouts, stored_bytes

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

WORKING = "working"  # the region of working memory that is both constant and growing


@dataclass(slots=True)
class Buffer:
    """A stretch of the arena.

    region  values of one unit: "fixed" bytes, "sample" bytes for each of the one symbol, else the text of the unit
    size    bytes for each of the unit
    first   step that writes it first; last: the last step that reads or writes it
    values  those that live in it, one after the other or as views of one another
    scratch name of the kernel whose working memory it is; it holds no value
    """

    region: str
    size: int
    first: int
    last: int
    values: list[Value] = field(default_factory=list)
    offset: int = -1
    scratch: str = ""

    @property
    def name(self) -> str:
        return self.scratch or self.values[0].name


def region_of(unit: Dim, symbol: str | None) -> str:
    """The region of values that are so many times a unit: "fixed", "sample" for the one symbol, else the unit."""
    if unit == 1:
        return "fixed"
    return "sample" if str(unit) == symbol else str(unit)


def footprint(nbytes: Dim, symbol: str | None) -> tuple[str, int]:
    """The region a size belongs to and its aligned bytes for each of the region's unit.

    A size a·N + b is counted as (a + b) bytes per sample, which is enough for every N >= 1.
    """
    unit, count = unit_of(nbytes)
    return region_of(unit, symbol), align(count)


def is_mixed(nbytes: Dim) -> bool:
    """Whether a size has terms of several kinds, as a·N + b: counted by its largest, b would count for every sample."""
    return not isinstance(nbytes, int) and len(nbytes.terms) > 1


def parts_of(nbytes: Dim) -> dict[Dim, int]:
    """The terms of a size: aligned bytes for each unit."""
    if isinstance(nbytes, int):
        return {1: align(nbytes)}
    return {
        SymbolicDim(((monomial, 1),)) if monomial else 1: align(c) for monomial, c in nbytes.terms if c > 0
    }


def align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def batch_symbol(graph: Graph) -> str | None:
    """The symbolic dimension of a graph that has one alone, else None."""
    symbols = symbols_in(graph)
    return symbols[0] if len(symbols) == 1 else None


def symbols_in(graph: Graph) -> tuple[str, ...]:
    """The symbolic dimensions of a graph, by name."""
    return tuple(sorted({name for value in graph.inputs for name in value.type.symbols}))


def root_of(value: Value, views: Mapping[Value, Value]) -> Value:
    while value in views:
        value = views[value]
    return value


def views_of(order: Sequence[Kernel]) -> dict[Value, Value]:
    """For each output of a view kernel, the value it is a view of."""
    return {k.outputs[0]: k.inputs[0] for k in order if k.kind == "view"}


def read_in_place(kernel: Kernel, layouts: Layouts) -> list[tuple[Value, Value]]:
    """(operand, output) pairs where the output may be written over the operand.

    Every path inside the kernel from the operand to any output is elementwise at one index, and
    sizes, dtypes and layouts are equal, so each element is read before it is written.
    """
    if kernel.kind != "loop":
        return []
    moved: set[Value] = set()  # values read at another index than they are written
    for node in reversed(kernel.nodes):
        if node.op.kind is not Kind.ELEMENTWISE or any(v in moved for v in node.outputs):
            moved.update(node.inputs)
    pairs = []
    for output in kernel.outputs:
        for operand in kernel.inputs:
            same = operand.type == output.type and layouts.get(operand) == layouts.get(output)
            if operand not in moved and same:
                pairs.append((operand, output))
    return pairs


def make_buffers(
    graph: Graph,
    order: Sequence[Kernel],
    symbol: str | None,
    outside: Mapping[Value, object],
    scratch: Callable[[Kernel], Dim],
    layouts: Layouts,
) -> tuple[list[Buffer], dict[Value, Buffer]]:
    """Buffers for all values kernels write that do not live `outside` the arena (outputs, donated leaves)."""
    views = views_of(order)
    last: dict[Value, int] = {}
    for step, kernel in enumerate(order):
        for value in (*kernel.inputs, *kernel.outputs):
            last[root_of(value, views)] = step
    for value in graph.outputs:
        last[root_of(value, views)] = len(order)  # copied out at the end
    buffers: list[Buffer] = []
    home: dict[Value, Buffer] = {}
    for step, kernel in enumerate(order):
        taken: set[int] = set()
        in_place = read_in_place(kernel, layouts)
        for value in kernel.outputs:
            root = root_of(value, views)
            if root in outside or root.leaf is not None:
                continue
            if root in home:  # a view, or written before
                home[root].values.append(value)
                continue
            buffer = _takeover(value, step, in_place, home, last, views, taken)
            if buffer is None:
                region, size = footprint(stored_bytes(value, layouts), symbol)
                buffer = Buffer(region, size, step, last[root])
                buffers.append(buffer)
            buffer.last = max(buffer.last, last[root])
            buffer.values.append(value)
            home[root] = buffer
        needed = scratch(kernel)
        if needed != 0 and not is_mixed(needed):
            region, size = footprint(needed, symbol)
            buffers.append(Buffer(region, size, step, step, scratch=kernel.name))
    for value, operand in views.items():
        root = root_of(operand, views)
        if root in home:
            home[value] = home[root]
    return buffers, home


def _takeover(
    value: Value,
    step: int,
    pairs: Sequence[tuple[Value, Value]],
    home: Mapping[Value, Buffer],
    last: Mapping[Value, int],
    views: Mapping[Value, Value],
    taken: set[int],
) -> Buffer | None:
    for operand, output in pairs:
        root = root_of(operand, views)
        buffer = home.get(root)
        if (
            output is value
            and buffer is not None
            and last[root] == step == buffer.last
            and id(buffer) not in taken
        ):
            taken.add(id(buffer))
            return buffer
    return None
