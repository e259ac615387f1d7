"""A partition: which nodes run together as one kernel.

Fusion does not rewrite the graph; it groups its nodes.  What a kernel reads and writes is memory
traffic, everything between stays in registers.  The interpreter can still run the graph, so a
partition can change no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind

KernelKind = Literal[
    "view",  # reshape of a buffer: no code
    "join",  # concatenation of many operands, each copied as a whole
    "loop",  # elementwise, movement and creation over the index space of the outputs
    "row",  # reductions over common axes with elementwise work before, between and after them
    "contraction",  # matmul with its epilogue
    "gates",  # matmul whose columns are read in equal parts, with the elementwise work on these
    "attention",  # two matmuls and the softmax between them
    "convolution",  # convolution or one of its derivatives, with its epilogue
    "pooling",  # windows, with what is applied element by element afterwards
    "indexing",  # gather and scatter
    "sequential",  # running sums, recurrences, sorting
    "random",  # counter-based random numbers, with their consumers
    "composite",  # one composite that was kept whole
    "scan",  # a loop
]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Nodes that run as one piece of code.

    name     k0, k1, ... in order of execution
    anchor   the contraction, convolution, pooling ... the others are fused to; None for loops and rows
    nodes    in topological order.  Cheap nodes (constant, iota, dim_size, numbers made of these, broadcast_to,
             reshape by axes of size 1) may stand in several kernels; any other stands in exactly one.
    inputs   values read from memory, each once
    outputs  values written to memory: read by another kernel, or outputs of the graph
    """

    name: str
    kind: KernelKind
    anchor: Node | None
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def epilogue(self) -> tuple[Node, ...]:
        """What follows the anchor."""
        return tuple(node for node in self.nodes if node is not self.anchor)

    def __repr__(self) -> str:
        reads, writes = (", ".join(f"%{v.name}" for v in values) for values in (self.inputs, self.outputs))
        return f"{self.name} {self.kind}: {' '.join(n.op.name for n in self.nodes)} ({reads}) -> ({writes})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why two neighbours were not fused, for `graphc explain`."""

    producer: str
    consumer: str
    reason: str


@dataclass(frozen=True, eq=False)
class Partition:
    """All kernels of a graph, in an order that respects their reads and writes."""

    graph: Graph
    kernels: tuple[Kernel, ...]
    refusals: tuple[Refusal, ...] = ()


def singly(graph: Graph) -> Partition:
    """Every node a kernel of its own: no fusion.  What a fused partition is measured against."""
    returned = set(graph.outputs)
    kernels = []
    for index, node in enumerate(graph.nodes):
        kind = _KINDS.get(node.op.kind, "loop")
        outputs = tuple(v for v in node.outputs if graph.users[v] or v in returned)
        inputs = tuple(dict.fromkeys(node.inputs))
        anchor = node if kind not in ("loop", "row") else None
        if node.op.name == "reshape":
            kind, anchor = "view", None
        kernels.append(Kernel(f"k{index}", kind, anchor, (node,), inputs, outputs or node.outputs[:1]))
    return Partition(graph, tuple(kernels))


_KINDS: dict[Kind, KernelKind] = {
    Kind.REDUCTION: "row",
    Kind.CONTRACTION: "contraction",
    Kind.CONVOLUTION: "convolution",
    Kind.POOLING: "pooling",
    Kind.INDEXING: "indexing",
    Kind.SEQUENTIAL: "sequential",
    Kind.RANDOM: "random",
    Kind.CONTROL: "scan",
}
