"""Fusion: Graph -> Partition.  This docstring is the contract between fusion and the backends.

Composites are expanded first (`expand`); one that was kept whole is a kernel of its own.

**Element.**  Every kernel can be read as a formula for one element of a value at an index; a backend needs
this one recursion, `element(v, i)`, and a loop around it:

    v is an input of the kernel  load v[i] (row-major, contiguous)
    elementwise node             op.scalar(b, *(element(x, i) for x in inputs), **attributes)
    constant, dim_size           the number;   iota: i[axis]
    broadcast_to x               element(x, i without the new leading axes, 0 along axes of size 1)
    reshape x                    only where it inserts or removes axes of size 1: the same index without/with zeros
    transpose x                  element(x, j),  j[permutation[a]] = i[a]
    slice x                      element(x, starts + i * steps)
    reverse x                    element(x, size - 1 - i along axes)
    pad x                        with j = i - low: element(x, j // (interior + 1)) where 0 <= j, j divides and the
                                 quotient < size, else `value`; nothing is loaded outside
    concat x0, x1, ...           the operand whose range of the axis holds i, at the index less that range's start
    reduction node (kind row)    the number its row was reduced to

Within a kernel every node that is not cheap is evaluated at one index per point: nothing is computed twice.
**Cheap** nodes are constant, iota, dim_size, elementwise nodes on numbers (rank 0) whose operands are all cheap,
broadcast_to, and a reshape that only inserts or removes axes of size 1.  Each kernel that uses one has its own copy;
loop-invariant ones are hoisted.  "The same shape" below means: equal up to axes of size 1, hence equal offsets.

**Kinds**, all a backend must be able to run:

    view         one reshape; the output is the input's buffer under another shape.
    join         one concatenation of more than `FEW` operands; each is copied as a whole.
    loop         index space S = the shape of the outputs, which all have the same shape and are evaluated at i
                 itself.  Nodes: elementwise, movement, creation, as above.  Each input is read through its own
                 chain of index maps, possibly through several.
    row          reductions (sum, max, min, argmax ...) over the same axes R of operands of the same shape S.  A
                 node is at *full* level (shape S) or at *row* level (shape of S without R, constant in a row);
                 row values reach full level through broadcast_to.  Elementwise nodes stand at either level;
                 movement nodes only at full level, only between inputs and the rest.  Outputs have the shape S
                 or the row shape.  For each row: sweep over R once for each depth of reductions (softmax: max,
                 then sum, then the store), with all reductions of a depth in one sweep.  A full-level value
                 needed in a later sweep is kept or evaluated again, as the backend likes.  R need not be the
                 last axes: bias gradients reduce axis 0 (vectorise over rows then), batch norm reduces 0, 2, 3.
                 `row_space(kernel)` gives S and R.
    contraction  anchor matmul | conv, conv_dx, conv_dw | a window op | a random op, which reads its operands from
    convolution  memory as they are (flags such as transpose_x are attributes), and an epilogue: elementwise
    pooling      nodes of exactly the shape of the anchor's result, evaluated at the element just computed, before
    random       it is stored.  Epilogue operands are the anchor's results, other epilogue nodes, and inputs read
                 at the same index through broadcast_to and unit reshape only (bias, scale per channel, residual,
                 mask, parameter to update).  No movement, no reduction.  The anchor's results and epilogue values
                 may all be outputs.
    gates        anchor matmul, whose result is read only through slices that cut its columns into equal parts, and
                 elementwise work on the parts; outputs have the shape of a part, and an element of them needs the
                 product in its column of every part only.  See `gates.py`.
    attention    anchor matmul: softmax(s)·v over the last axis, s = q·k and elementwise nodes of its shape that read
                 other tensors as an epilogue does.  q, k and v are inputs, or movement nodes make them from inputs
                 (views too; elementwise nodes beside them for q).  The output is the result, or one transpose of it
                 that keeps the last axis.  Rows, keys and columns are fixed numbers, at most 4096 keys.
                 `attention_of(nodes)` in `attention.py` gives the parts.
    indexing     one gather or scatter, alone.
    sequential   one running sum, recurrence or sorting, alone.
    composite    one composite that `expand` was told to keep, alone.
    scan         one loop, alone; its body is a graph that is fused by itself.

**Memory.**  Inputs and outputs of a kernel are whole contiguous tensors; `outputs` are exactly the values that
another kernel reads or the graph returns.  An output of the graph that is a leaf is written by no kernel.  Kernels are
listed in a valid order; a scheduler may use any other one that respects reads and writes.

**Limits.**  At most `MAX_NODES` nodes that are not cheap in a kernel, so that no function grows without bound.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel, Partition, Refusal
from graphc.passes.attention import attend
from graphc.passes.gates import join_gates
from graphc.passes.index_maps import squeezed
from graphc.passes.reach import Groups
from graphc.passes.reading import Read, Reading, read_graph, reads_memory
from graphc.passes.regions import Region, fit, fit_siblings, region_of

MAX_NODES = 128


def fuse(graph: Graph) -> Partition:
    """Group the nodes of a graph into kernels.

    First anchors take their epilogues, then producers join consumers (reductions and elementwise work alike), the
    most traffic saved first, then neighbours that read the same tensors; then every pair of kernels still joined by a
    read is tried once more and the reason kept.  Then work moves to the kernel that uses it where that saves bytes,
    and last the kernels of an attention become one.
    """
    fusion = _Fusion(graph)
    fusion.epilogues()
    fusion.producers()
    fusion.siblings()
    fusion.refuse()
    regions = sink(fusion.reading, list(fusion.regions.values()), fusion.refusals)
    regions = attend(fusion.reading, regions)
    home = {graph.nodes[i].name: n for n, region in enumerate(regions) for i in region.nodes}
    refusals = tuple(r for r in fusion.refusals if home[r.producer] != home[r.consumer])
    grouped = join_gates(graph, kernels(fusion.reading, regions), MAX_NODES)
    return Partition(graph, tuple(grouped), refusals)


def row_space(kernel: Kernel) -> tuple[tuple[Dim, ...], tuple[int, ...]]:
    """The full shape S of a row kernel and the axes R its rows reduce."""
    reduction = next(node for node in kernel.nodes if node.op.kind is Kind.REDUCTION)
    attributes = reduction.attributes
    return reduction.inputs[0].shape, attributes["axes"] if "axes" in attributes else (attributes["axis"],)


@dataclass
class _Fusion:
    """Regions while they merge."""

    graph: Graph
    refusals: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reading: Reading = read_graph(self.graph)
        reads = self.reading.reads
        self.groups = Groups([sorted({r.root for r in each if r.root is not None}) for each in reads])
        own = self.reading.own
        self.regions: dict[int, Region] = {i: region_of(self.reading, i) for i in range(len(own)) if own[i]}
        self.for_reduction = self._for_reduction()

    def _for_reduction(self) -> list[bool]:
        """Elementwise nodes all of whose readers are reductions, or elementwise nodes of that kind."""
        found = [False] * len(self.graph.nodes)
        for i in range(len(found) - 1, -1, -1):
            users = self.reading.users[i]
            found[i] = (
                bool(users)
                and not self.reading.returned[i]
                and all(self._reduces(u, r, found) for u, r in users)
            )
        return found

    def _reduces(self, user: int, read: Read, found: list[bool]) -> bool:
        kind = self.graph.nodes[user].op.kind
        return not read.memory and (kind is Kind.REDUCTION or (kind is Kind.ELEMENTWISE and found[user]))

    def epilogues(self) -> None:
        """What follows an anchor joins it."""
        for i, reads in enumerate(self.reading.reads):
            if self.graph.nodes[i].op.kind is not Kind.ELEMENTWISE:
                continue
            for read in self._by_traffic(reads):
                assert read.root is not None
                producer = self.groups.group(read.root)
                if self.regions[producer].anchor is not None and not self._waits(i, read):
                    self._merge(producer, self.groups.group(i))

    def producers(self) -> None:
        """Producers join their consumers, in the order of the graph."""
        for i, reads in enumerate(self.reading.reads):
            for read in self._by_traffic(reads):
                assert read.root is not None
                if not self._waits(i, read):
                    self._merge(self.groups.group(read.root), self.groups.group(i))

    def _waits(self, i: int, read: Read) -> bool:
        """Whether a node is left for its reductions: an anchor's result is read, which is written for others anyway."""
        assert read.root is not None
        anchored = self.regions_at(read.root).anchor is not None
        return anchored and self.for_reduction[i] and any(u != i for u, _ in self.reading.users[read.root])

    def siblings(self) -> None:
        """Regions with one index space that read the same tensor at the same index read it together."""
        readers: dict[Value, list[int]] = {}
        for i, reads in enumerate(self.reading.reads):
            for read in reads:
                whole = (
                    read.axes == tuple(range(len(read.axes))) and not read.memory and read.value.type.rank > 0
                )
                if whole and i not in self.regions_at(i).frames:
                    readers.setdefault(read.value, []).append(i)
        for nodes in readers.values():
            first = nodes[0]
            for other in nodes[1:]:
                a, b = self.groups.group(first), self.groups.group(other)
                if a == b or self.groups.related(a, b):
                    continue
                union = fit_siblings(self.regions[a], self.regions[b])
                if union is not None and len(union.nodes) <= MAX_NODES:
                    self._join(a, b, union)

    def regions_at(self, i: int) -> Region:
        return self.regions[self.groups.group(i)]

    def refuse(self) -> None:
        """Try every pair once more; keep the reason."""
        for i, reads in enumerate(self.reading.reads):
            for read in dict.fromkeys(r.root for r in reads if r.root is not None):
                a, b = self.groups.group(read), self.groups.group(i)
                if a == b:
                    continue
                reason = self._merge(a, b)
                if reason is not None:
                    names = self.graph.nodes[read].name, self.graph.nodes[i].name
                    self.refusals.append(Refusal(*names, reason))

    def _merge(self, a: int, b: int) -> str | None:
        """Join a producer and a consumer, or say why not."""
        if a == b:
            return None
        producer, consumer = self.regions[a], self.regions[b]
        reads = [
            (i, read)
            for i in consumer.nodes
            for read in self.reading.reads[i]
            if read.root is not None and self.groups.group(read.root) == a
        ]
        union = fit(self.reading, producer, consumer, reads)
        if isinstance(union, str):
            return union
        if len(union.nodes) > MAX_NODES:
            return f"the kernel would have more than {MAX_NODES} nodes"
        blocking = self.groups.between(a, b)
        if blocking is not None:
            return f"%{self.graph.nodes[blocking].name} stands between them, in another kernel"
        self._join(a, b, union)
        return None

    def _join(self, a: int, b: int, union: Region) -> None:
        del self.regions[a], self.regions[b]
        self.regions[self.groups.merge(a, b)] = union

    def _by_traffic(self, reads: tuple[Read, ...]) -> list[Read]:
        """Reads that another node makes, those first that cost most."""
        made = [read for read in reads if read.root is not None]
        return sorted(made, key=lambda read: -self.reading.bytes_of(read.value)) if len(made) > 1 else made


def sink(reading: Reading, regions: list[Region], refusals: list[Refusal]) -> list[Region]:
    """Move nodes from their producer's kernel to their only consumer's where fewer bytes are written and read.

    A slope such as y·(1 - y) needs only y, which the backward kernel reads anyway: computed there, it is never stored.
    A mask y > 0 is a quarter of y, and stays.
    """
    nodes = reading.graph.nodes
    home = {i: region for region in regions for i in region.nodes}
    for i in range(len(nodes) - 1, -1, -1):
        region = home.get(i)
        targets = {id(home[u]): home[u] for u, _ in reading.users[i]}
        if region is None or len(targets) != 1 or not _may_leave(reading, region, i):
            continue
        (target,) = targets.values()
        if target is region:
            continue
        choices = [_feeders(reading, region, i, home), [i]]
        moved = min(choices, key=lambda choice: _bytes_there(reading, choice, region, target, home))
        there, here = _bytes_there(reading, moved, region, target, home), 2 * _made(reading, i)
        if there >= here or len(moved) == len(region.nodes):
            continue
        reads = [(u, read) for u, read in reading.users[i]]
        union = fit(reading, Region("loop", moved, region_of(reading, i).space), target, reads)
        if isinstance(union, str) or len(union.nodes) > MAX_NODES:
            continue
        region.nodes = [j for j in region.nodes if j not in moved]
        target.nodes, target.rows, target.frames, target.moves = (
            union.nodes,
            union.rows,
            union.frames,
            union.moves,
        )
        home.update((j, target) for j in moved)
        for j in moved:
            for root in sorted(
                {r.root for r in reading.reads[j] if r.root is not None and home[r.root] is region}
            ):
                reason = f"fewer bytes move when %{nodes[j].name} is computed where it is used"
                refusals.append(Refusal(nodes[root].name, nodes[j].name, reason))
    return regions


def _may_leave(reading: Reading, region: Region, i: int) -> bool:
    """Whether a node is elementwise work at the index of its region, which nothing but its readers wants."""
    elementwise = reading.graph.nodes[i].op.kind is Kind.ELEMENTWISE
    return elementwise and not (reading.returned[i] or i in region.frames or i in region.rows)


def _feeders(reading: Reading, region: Region, i: int, home: dict[int, Region]) -> list[int]:
    """A node with everything in its region that only feeds it."""
    space = squeezed(reading.graph.nodes[i].outputs[0].shape)
    moved, pending = {i}, [i]
    while pending:
        for read in reading.reads[pending.pop()]:
            j = read.root
            if j is None or j in moved or home[j] is not region or not _may_leave(reading, region, j):
                continue
            fits = squeezed(reading.graph.nodes[j].outputs[0].shape) == space
            if fits and all(user in moved for user, _ in reading.users[j]):
                moved.add(j)
                pending.append(j)
    return sorted(moved)


def _made(reading: Reading, i: int) -> int:
    return sum(reading.bytes_of(value) for value in reading.graph.nodes[i].outputs)


def _bytes_there(
    reading: Reading, moved: list[int], region: Region, target: Region, home: dict[int, Region]
) -> int:
    """Bytes written and read more when nodes move from `region` to `target`."""
    already = {read.value for j in target.nodes for read in reading.reads[j]}
    needed = {read.value: read.root for i in moved for read in reading.reads[i] if read.root not in moved}
    total = 0
    for value, root in needed.items():
        free = value.node is not None and reading.free[reading.position[value.node]]
        if free or value in already:
            continue
        total += reading.bytes_of(value)
        if root is not None and home[root] is region and value not in reading.graph.outputs:
            users = (user for user, read in reading.users[root] if read.value is value and user not in moved)
            total += 0 if any(home[user] is not region for user in users) else reading.bytes_of(value)
    return total


def kernels(reading: Reading, regions: list[Region]) -> list[Kernel]:
    """The regions as kernels, in an order near that of the graph."""
    home = {i: g for g, region in enumerate(regions) for i in region.nodes}
    waiting, after = [0] * len(regions), [[] for _ in regions]  # type: tuple[list[int], list[list[int]]]
    for g, region in enumerate(regions):
        before = {home[r.root] for i in region.nodes for r in reading.reads[i] if r.root is not None} - {g}
        waiting[g] = len(before)
        for other in before:
            after[other].append(g)
    ready = [(min(region.nodes), g) for g, region in enumerate(regions) if waiting[g] == 0]
    heapq.heapify(ready)
    order: list[Region] = []
    while ready:
        _, g = heapq.heappop(ready)
        order.append(regions[g])
        for other in after[g]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, (min(regions[other].nodes), other))
    contents = [sorted(with_cheap(reading, region)) for region in order]
    inputs = [tuple(_inputs(reading, region, content)) for region, content in zip(order, contents)]
    read = {value for each in inputs for value in each} | set(reading.graph.outputs)
    made = []
    for n, (region, content) in enumerate(zip(order, contents)):
        nodes = tuple(reading.graph.nodes[i] for i in content)
        members = (reading.graph.nodes[i] for i in sorted(region.nodes))
        outputs = tuple(value for node in members for value in node.outputs if value in read)
        made.append(Kernel(f"k{n}", region.kind, region.anchor, nodes, inputs[n], outputs))
    return made


def with_cheap(reading: Reading, region: Region) -> set[int]:
    """A region's nodes and the cheap nodes they use."""
    content = set(region.nodes)
    pending = [i for i in region.nodes if not reads_memory(reading, i)]
    while pending:
        for value in reading.graph.nodes[pending.pop()].inputs:
            if value.node is not None:
                i = reading.position[value.node]
                if reading.cheap[i] and i not in content:
                    content.add(i)
                    pending.append(i)
    return content


def _inputs(reading: Reading, region: Region, content: list[int]) -> dict[Value, None]:
    """Values a kernel reads from memory, in the order it meets them."""
    inside, own = set(content), set(region.nodes)
    found: dict[Value, None] = {}
    for i in content:
        memory = i in own and reads_memory(reading, i)  # a unit reshape that is not its own is an index map
        for value in reading.graph.nodes[i].inputs:
            at = None if value.node is None else reading.position[value.node]
            if at is None or at not in (own if memory else inside):
                found[value] = None
    return found
