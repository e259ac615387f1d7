"""The plan of a partition: kernels in order, and the place of every value in memory.

The arena has two regions.  Values that grow with the batch live in the `sample` region, at
`offset * N` for a batch of N, so that one plan serves every N; values of constant size (parameter
gradients, scalars) live in the `fixed` region behind it.

    address of a value = workspace + (offset * N                     in the sample region
                                      or  sample_bytes * N + offset  in the fixed region)

where N counts as at least 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Value
from graphc.ir.partition import Kernel, Partition
from graphc.plan.buffers import (
    Buffer,
    batch_symbol,
    footprint,
    make_buffers,
    read_in_place,
    root_of,
    views_of,
)
from graphc.plan.check import check_plan
from graphc.plan.layout import Layouts, stored_bytes
from graphc.plan.memory import lower_bound, place
from graphc.plan.schedule import orders

Place = Literal["input", "parameter", "constant", "output", "sample", "fixed"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value lives.

    place   in the caller's memory (input, output), among the model's arrays (parameter, constant), or in the arena
    index   position among the inputs, parameters, constants or outputs; 0 in the arena
    offset  bytes (per sample in the sample region); 0 outside the arena
    """

    place: Place
    index: int = 0
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """See the module's docstring.

    order         kernels as they run (view kernels run no code)
    symbol        the symbolic dimension, or None
    locations     the place of every value that is in memory
    copies        (source value, output index) still to be copied when all kernels have run
    scratch       place of each kernel's working memory, by kernel name
    sample_bytes, fixed_bytes   size of the arena's regions
    bound         (sample, fixed): most bytes alive at one step, the least any placement can reach
    unshared      (sample, fixed): what the arena would be without reuse
    layouts       how values lie that are not row-major; never inputs, weights or outputs
    """

    partition: Partition
    order: tuple[Kernel, ...]
    symbol: str | None
    locations: Mapping[Value, Location]
    copies: tuple[tuple[Value, int], ...]
    scratch: Mapping[str, Location]
    sample_bytes: int
    fixed_bytes: int
    bound: tuple[int, int]
    unshared: tuple[int, int]
    buffers: tuple[Buffer, ...] = ()
    donated: Mapping[int, Value] = field(default_factory=dict)
    layouts: Layouts = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.partition.graph

    def workspace(self, n: int = 1) -> int:
        """Bytes of the arena for a batch of n."""
        return self.sample_bytes * max(n, 1) + self.fixed_bytes

    @property
    def verdict(self) -> str:
        """`arena 13.4 KB per sample = lower bound (optimal for this order); without reuse 52.0 KB`"""
        optimal = (self.sample_bytes, self.fixed_bytes) == self.bound
        relation = (
            "= lower bound (optimal for this order)"
            if optimal
            else f"(lower bound {_shown(*self.bound, self.symbol)})"
        )
        arena = _shown(self.sample_bytes, self.fixed_bytes, self.symbol)
        return f"arena {arena} {relation}; without reuse {_shown(*self.unshared, self.symbol)}"

    def __repr__(self) -> str:
        return f"<plan of {self.graph.name}: {self.verdict}>"


def make_plan(
    partition: Partition,
    *,
    scratch: Callable[[Kernel], Dim] = lambda kernel: 0,
    donate: Mapping[str, str] | None = None,
    layouts: Layouts | None = None,
) -> Plan:
    """Order the kernels, place their values, and prove the result.

    scratch  bytes of working memory a kernel needs
    donate   output name -> name of the input, parameter or constant whose memory that output takes over
             (a training step updates its parameters in place)
    layouts  how values lie that are not row-major

    Raises UnsupportedError when sizes are not linear in one symbol, and InternalError when the
    independent check fails.
    """
    graph = partition.graph
    symbol = batch_symbol(graph)
    chosen = dict(layouts or {})

    def nbytes(value: Value) -> int:
        return footprint(stored_bytes(value, chosen), symbol)[1]

    best: Plan | None = None
    for order in orders(partition.kernels, nbytes):
        plan = _plan(partition, order, symbol, scratch, dict(donate or {}), chosen)
        if best is None or _cost(plan) < _cost(best):
            best = plan
    assert best is not None
    check_plan(best)
    return best


def _cost(plan: Plan) -> int:
    return plan.sample_bytes + plan.fixed_bytes


def _plan(
    partition: Partition,
    order: tuple[Kernel, ...],
    symbol: str | None,
    scratch: Callable[[Kernel], Dim],
    donate: Mapping[str, str],
    layouts: Layouts,
) -> Plan:
    graph = partition.graph
    views = views_of(order)
    locations: dict[Value, Location] = {}
    for place_, leaves in (
        ("input", graph.inputs),
        ("parameter", graph.parameters),
        ("constant", graph.constants),
    ):
        for index, value in enumerate(leaves):
            locations[value] = Location(place_, index)  # type: ignore[arg-type]
    outside: dict[Value, Location] = {}
    donated: dict[int, Value] = {}
    copies: list[tuple[Value, int]] = []
    for index, (value, name) in enumerate(zip(graph.outputs, graph.output_names, strict=True)):
        root = root_of(value, views)
        if name in donate:
            leaf = graph.by_name[donate[name]]
            donated[index] = leaf
            if (
                root.leaf is None
                and root not in outside
                and _may_overwrite(order, views, leaf, root, layouts)
            ):
                outside[root] = locations[leaf]
            else:
                copies.append((value, index))
        elif root.leaf is not None or root in outside:
            copies.append((value, index))
        else:
            outside[root] = Location("output", index)
    buffers, home = make_buffers(graph, order, symbol, outside, scratch, layouts)
    totals = {"sample": 0, "fixed": 0}
    bounds = {"sample": 0, "fixed": 0}
    for region in ("sample", "fixed"):
        members = [b for b in buffers if b.region == region]
        totals[region] = place(members)
        bounds[region] = lower_bound(members)
    unshared = {
        region: sum(b.size * max(len(b.values), 1) for b in buffers if b.region == region)
        for region in totals
    }
    working: dict[str, Location] = {}
    for buffer in buffers:
        where = Location(buffer.region, 0, buffer.offset)
        if buffer.scratch:
            working[buffer.scratch] = where
        for value in buffer.values:
            locations[value] = where
    locations.update(outside)
    for kernel in order:
        for value in kernel.outputs:
            if value not in locations:
                locations[value] = locations[root_of(value, views)]
    return Plan(
        partition, order, symbol, locations, tuple(copies), working, totals["sample"], totals["fixed"],
        (bounds["sample"], bounds["fixed"]), (unshared["sample"], unshared["fixed"]), tuple(buffers), donated,
        layouts,
    )  # fmt: skip


def _may_overwrite(
    order: tuple[Kernel, ...], views: Mapping[Value, Value], leaf: Value, root: Value, layouts: Layouts
) -> bool:
    """Whether `root` can be written into the leaf's memory: every other reader of the leaf has run before."""
    writer = next(i for i, kernel in enumerate(order) if root in kernel.outputs)
    readers = [i for i, k in enumerate(order) if any(root_of(v, views) is leaf for v in k.inputs)]
    if any(i > writer for i in readers) or leaf.type != root.type:
        return False
    return writer not in readers or (leaf, root) in read_in_place(order[writer], layouts)


def _shown(sample: int, fixed: int, symbol: str | None) -> str:
    parts = []
    if sample or not fixed:
        parts.append(format_bytes(sample) + (" per sample" if symbol else ""))
    if fixed:
        parts.append(format_bytes(fixed))
    return " + ".join(parts)


def format_bytes(count: float) -> str:
    """`52 B`, `13.4 KB`, `3.42 MB`; a KB is 1000 bytes."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if count != int(count) else f"{int(count)} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
