"""The plan of a partition: kernels in order, and the place of every value in memory.

The arena has a region for every unit that sizes grow with.  With one open size N these are the `sample` region, where a
value lies at `offset * N`, and the `fixed` region behind it, for values of constant size (parameter gradients,
scalars).  With several, or with values that grow as N², each product (N, N*T, N**2) has a region of its own.  So one
plan serves every size.

    address of a value = workspace + bytes of the regions before * their units + offset * unit of its region

where every size counts as at least 1.  Working memory that is constant and grows, a·N + b bytes, lies behind all
regions: one stretch for all kernels, as large as the largest a and the largest b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

from graphc.ir.dims import Dim, evaluate, unit_of
from graphc.ir.graph import Graph, Value
from graphc.ir.partition import Kernel, Partition
from graphc.plan.buffers import (
    WORKING,
    Buffer,
    batch_symbol,
    footprint,
    is_mixed,
    make_buffers,
    parts_of,
    read_in_place,
    region_of,
    root_of,
    symbols_in,
    views_of,
)
from graphc.plan.check import check_plan
from graphc.plan.layout import Layouts, stored_bytes
from graphc.plan.memory import lower_bound, place
from graphc.plan.schedule import orders


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value lives.

    place   in the caller's memory (input, output), among the model's arrays (parameter, constant), or a region's name
    index   position among the inputs, parameters, constants or outputs; 0 in the arena
    offset  bytes for each of the region's unit; 0 outside the arena
    """

    place: str
    index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Region:
    """Values that are so many times a unit.

    nbytes    its size, for each of the unit
    bound     most bytes alive at one step, the least any placement can reach
    unshared  what it would be without reuse
    """

    name: str
    unit: Dim
    nbytes: int
    bound: int
    unshared: int


NO_REGION = Region("", 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Plan:
    """See the module's docstring.

    order         kernels as they run (view kernels run no code)
    symbols       the symbolic dimensions
    locations     the place of every value that is in memory
    copies        (source value, output index) still to be copied when all kernels have run
    scratch       place of each kernel's working memory, by kernel name
    regions       the arena: those that grow fastest first, the constant one last
    working       behind them, working memory of mixed size: bytes for each unit
    layouts       how values lie that are not row-major; never inputs, weights or outputs
    """

    partition: Partition
    order: tuple[Kernel, ...]
    symbols: tuple[str, ...]
    locations: Mapping[Value, Location]
    copies: tuple[tuple[Value, int], ...]
    scratch: Mapping[str, Location]
    regions: tuple[Region, ...]
    working: Mapping[Dim, int] = field(default_factory=dict)
    buffers: tuple[Buffer, ...] = ()
    donated: Mapping[int, Value] = field(default_factory=dict)
    layouts: Layouts = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.partition.graph

    @property
    def symbol(self) -> str | None:
        """The symbolic dimension where there is one alone."""
        return self.symbols[0] if len(self.symbols) == 1 else None

    def region(self, name: str) -> Region:
        """A region; an empty one when nothing lies there."""
        return next((region for region in self.regions if region.name == name), NO_REGION)

    @property
    def sample_bytes(self) -> int:
        """Bytes of values that grow with the one symbolic dimension, for each of it."""
        return self.region("sample").nbytes

    @property
    def fixed_bytes(self) -> int:
        return self.region("fixed").nbytes

    @property
    def bound(self) -> tuple[int, int]:
        """(sample, fixed): the least any placement can reach."""
        return self.region("sample").bound, self.region("fixed").bound

    @property
    def unshared(self) -> tuple[int, int]:
        """(sample, fixed): what the arena would be without reuse."""
        return self.region("sample").unshared, self.region("fixed").unshared

    @cached_property
    def needs(self) -> Mapping[Dim, int]:
        """Bytes of the whole workspace, for each unit."""
        total: dict[Dim, int] = {}
        for unit, count in (*((r.unit, r.nbytes) for r in self.regions), *self.working.items()):
            total[unit] = total.get(unit, 0) + count
        return {unit: count for unit, count in total.items() if count}

    def workspace(self, n: int = 1, **sizes: int) -> int:
        """Bytes of the arena for a batch of n, or for sizes by name."""
        given = {name: max(sizes.get(name, n), 1) for name in self.symbols}
        return sum(count * evaluate(unit, given) for unit, count in self.needs.items())

    @property
    def verdict(self) -> str:
        """`arena 13.4 KB per sample = lower bound (optimal for this order); without reuse 52.0 KB`"""
        optimal = all(region.nbytes == region.bound for region in self.regions)
        least = self._shown([(r, r.bound) for r in self.regions])
        relation = "= lower bound (optimal for this order)" if optimal else f"(lower bound {least})"
        arena = self._shown([(r, r.nbytes) for r in self.regions])
        rest = self._shown([(r, r.unshared) for r in self.regions])
        working = [(Region("", unit, 0, 0, 0), count) for unit, count in self.working.items()]
        more = f"; working memory {self._shown(working)}" if working else ""
        return f"arena {arena} {relation}; without reuse {rest}{more}"

    def _shown(self, parts: Sequence[tuple[Region, int]]) -> str:
        shown = [(r.unit, count) for r, count in parts if count] or [(1, 0)]
        if shown == [(1, 0)] and self.symbol:
            return "0 B per sample"
        texts = []
        for unit, count in shown:
            each = "sample" if str(unit) == self.symbol else str(unit)
            texts.append(format_bytes(count) + (f" per {each}" if unit != 1 else ""))
        return " + ".join(texts)

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

    Raises InternalError when the independent check fails.
    """
    graph = partition.graph
    symbol = batch_symbol(graph)
    chosen = dict(layouts or {})

    @cache
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
    return sum(count * evaluate(unit, dict.fromkeys(plan.symbols, 1)) for unit, count in plan.needs.items())


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
            locations[value] = Location(place_, index)
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
    units = {"fixed": 1} | {region_of(unit, symbol): unit for unit in _units(order, scratch, layouts)}
    regions = []
    for name in sorted({b.region for b in buffers}, key=lambda name: _rank(units[name])):
        members = [b for b in buffers if b.region == name]
        unshared = sum(b.size * max(len(b.values), 1) for b in members)
        regions.append(Region(name, units[name], place(members), lower_bound(members), unshared))
    working: dict[Dim, int] = {}
    places: dict[str, Location] = {}
    for kernel in order:
        needed = scratch(kernel)
        if needed != 0 and is_mixed(needed):
            places[kernel.name] = Location(WORKING)
            for unit, count in parts_of(needed).items():
                working[unit] = max(working.get(unit, 0), count)
    for buffer in buffers:
        where = Location(buffer.region, 0, buffer.offset)
        if buffer.scratch:
            places[buffer.scratch] = where
        for value in buffer.values:
            locations[value] = where
    locations.update(outside)
    for kernel in order:
        for value in kernel.outputs:
            if value not in locations:
                locations[value] = locations[root_of(value, views)]
    return Plan(
        partition, order, symbols_in(graph), locations, tuple(copies), places, tuple(regions),
        dict(sorted(working.items(), key=lambda part: _rank(part[0]))), tuple(buffers), donated, layouts,
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


def _units(order: Sequence[Kernel], scratch: Callable[[Kernel], Dim], layouts: Layouts) -> Iterator[Dim]:
    """The unit of every size there is."""
    for kernel in order:
        yield unit_of(scratch(kernel))[0]
        for value in kernel.outputs:
            yield unit_of(stored_bytes(value, layouts))[0]


def _rank(unit: Dim) -> tuple[int, str]:
    """Units of a high degree first, 1 last."""
    degree = 0 if isinstance(unit, int) else max(sum(p for _, p in monomial) for monomial, _ in unit.terms)
    return -degree, str(unit)


def format_bytes(count: float) -> str:
    """`52 B`, `13.4 KB`, `3.42 MB`; a KB is 1000 bytes."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if count != int(count) else f"{int(count)} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
