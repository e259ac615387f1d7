"""What each node reads, for fusion: which nodes are cheap, and every operand traced to what it repeats."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir.dims import substitute
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.types import TensorType
from graphc.passes.index_maps import is_cheap_map, source, wide_axes

NOMINAL = 64  # a symbolic dimension, where traffic is weighed
CREATION = ("constant", "iota", "dim_size")
FEW = 64  # operands of a concatenation that a kernel chooses from, element by element
BY_ELEMENT = (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.MOVEMENT, Kind.CREATION)


@dataclass(frozen=True, slots=True)
class Read:
    """One operand of a node.

    root      position of the node that makes what is read, or None for a leaf or something cheap
    value     what is read, below the chain of cheap maps
    axes      for each axis of `value` wider than 1, its place among the wide axes of the operand
    memory    the operand is read from memory as a whole (an anchor's operand, a view's ...)
    operand   position of the operand
    """

    root: int | None
    value: Value
    axes: tuple[int, ...]
    memory: bool
    operand: int


@dataclass(slots=True)
class Reading:
    """The reads of every node of a graph, by its position; nodes that need no kernel of their own have none."""

    graph: Graph
    position: dict[Node, int] = field(default_factory=dict)
    cheap: list[bool] = field(default_factory=list)  # stands in every kernel that uses it
    free: list[bool] = field(default_factory=list)  # made from nothing: constant, iota, numbers of these
    own: list[bool] = field(default_factory=list)  # has a place in exactly one kernel
    reads: list[tuple[Read, ...]] = field(default_factory=list)
    users: list[list[tuple[int, Read]]] = field(
        default_factory=list
    )  # who reads a node that has its own place
    returned: list[bool] = field(default_factory=list)
    _bytes: dict[TensorType, int] = field(default_factory=dict)

    def bytes_of(self, value: Value) -> int:
        """Bytes of a value where every symbol is `NOMINAL`."""
        if value.type not in self._bytes:
            size = substitute(value.type.nbytes, dict.fromkeys(value.type.symbols, NOMINAL))
            assert isinstance(size, int)
            self._bytes[value.type] = size
        return self._bytes[value.type]


def read_graph(graph: Graph) -> Reading:
    """Find out about every node."""
    r = Reading(graph)
    nodes = graph.nodes
    r.position = {node: i for i, node in enumerate(nodes)}
    for node in nodes:
        made_of_free = all(v.node is not None and r.free[r.position[v.node]] for v in node.inputs)
        number = node.op.kind is Kind.ELEMENTWISE and node.outputs[0].type.rank == 0
        free = node.op.name in CREATION or (made_of_free and (number or is_cheap_map(node)))
        r.free.append(free)
        r.cheap.append(free or is_cheap_map(node))
    r.returned = [False] * len(nodes)
    for value in graph.outputs:
        if value.node is not None:
            r.returned[r.position[value.node]] = True
    # A cheap node has a place of its own where its value must stand in memory.
    r.own = [r.returned[i] or not r.cheap[i] for i in range(len(nodes))]
    for i in range(len(nodes) - 1, -1, -1):
        if r.own[i] and reads_memory(r, i):
            for value in nodes[i].inputs:
                if value.node is not None:
                    r.own[r.position[value.node]] = True
    r.reads = [tuple(_reads(r, i)) if r.own[i] else () for i in range(len(nodes))]
    r.users = [[] for _ in nodes]
    for i, reads in enumerate(r.reads):
        for read in reads:
            if read.root is not None:
                r.users[read.root].append((i, read))
    return r


def is_view(r: Reading, i: int) -> bool:
    """Whether a node is a kernel of kind view: a reshape of something that stands in memory."""
    return r.graph.nodes[i].op.name == "reshape" and not r.free[i]


def reads_memory(r: Reading, i: int) -> bool:
    """Whether a node reads its operands as whole tensors in memory."""
    return r.graph.nodes[i].op.kind not in BY_ELEMENT or is_view(r, i) or is_join(r, i)


def is_join(r: Reading, i: int) -> bool:
    """Whether a node is a kernel of kind join: a concatenation of so many operands that each is copied as a whole."""
    node = r.graph.nodes[i]
    return node.op.name == "concat" and len(node.inputs) > FEW


def operand_value(node: Node, operand: int) -> Value:
    """The value whose shape indexes an operand: a cheap map reads it by the index of its own result."""
    return node.outputs[0] if is_cheap_map(node) else node.inputs[operand]


def _reads(r: Reading, i: int) -> list[Read]:
    node = r.graph.nodes[i]
    found = []
    for operand, value in enumerate(node.inputs):
        if reads_memory(r, i):
            root = r.position[value.node] if value.node is not None else None
            found.append(Read(root, value, (), True, operand))
            continue
        seen = operand_value(node, operand)
        below, positions = source(seen)
        at = r.position[below.node] if below.node is not None else None
        root = None if at is None or r.free[at] else at
        place = {axis: n for n, axis in enumerate(wide_axes(seen.shape))}
        wide = tuple(place[p] for p, d in zip(positions, below.shape) if d != 1 and p is not None)
        found.append(Read(root, below, wide, False, operand))
    return found
