"""A graph made ready for another runtime: composites it does not know are opened, biases go to their convolutions.

What is left are ops the translators have a counterpart for, so that a peer gets the form it is fast at.
"""

from __future__ import annotations

from collections.abc import Collection

from graphc.ir.builder import Builder
from graphc.ir.composite import body_graph, inline
from graphc.ir.graph import Graph, Node, Value


def opened(graph: Graph, known: Collection[str]) -> Graph:
    """The graph with every composite that is not known replaced by its body, however deep."""
    while any(_opens(node, known) for node in graph.nodes):
        graph = _open_once(graph, known)
    return graph


def _opens(node: Node, known: Collection[str]) -> bool:
    return node.op.is_composite and node.op.name not in known


def _open_once(graph: Graph, known: Collection[str]) -> Graph:
    builder = Builder(graph.name)
    builder.adopt(graph.leaves)
    mapping: dict[Value, Value] = {leaf: leaf for leaf in graph.leaves}
    with builder:
        for node in graph.nodes:
            operands = [mapping[v] for v in node.inputs]
            if _opens(node, known):
                body = body_graph(node.op, [v.type for v in node.inputs], node.attributes)
                outputs, _ = inline(body, operands)
            else:
                outputs = builder.emit(node.op, operands, node.attributes)
            mapping.update(zip(node.outputs, outputs, strict=True))
    results = [mapping[v] for v in graph.outputs]
    return builder.finish(results, graph.output_names, dims=graph.dims, data=graph.data)


def lazily_spread(graph: Graph) -> set[Node]:
    """The `broadcast_to` nodes whose readers all broadcast by themselves: elementwise ops with one whole operand."""
    found = set()
    for node in graph.nodes:
        if node.op.name == "broadcast_to" and node.output not in graph.outputs:
            readers = graph.users[node.output]
            if all(_spreads(reader) for reader in readers):
                found.add(node)
    return found


def _spreads(reader: Node) -> bool:
    return reader.op.kind.name == "ELEMENTWISE" and any(
        v.node is None or v.node.op.name != "broadcast_to" for v in reader.inputs
    )
