"""Views of a graph for analysis: networkx, and ancestor sets as bit masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Graph, Node

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a networkx MultiDiGraph: one vertex a value (leaves) or a node, one edge an operand.

    Vertices carry `kind` ("input", "parameter", "constant", "op"), `op`, `type`; edges carry the
    value's name and the operand's position.
    """
    import networkx

    view: Any = networkx.MultiDiGraph(name=graph.name)
    for leaf in graph.leaves:
        view.add_node(leaf.name, kind=leaf.leaf, type=str(leaf.type))
    for node in graph.nodes:
        view.add_node(
            node.name, kind="op", op=node.op.name, type=str(node.outputs[0].type), role=node.provenance.role
        )
        for position, operand in enumerate(node.inputs):
            source = operand.node.name if operand.node is not None else operand.name
            view.add_edge(source, node.name, value=operand.name, position=position)
    return view


def ancestor_masks(nodes: tuple[Node, ...]) -> list[int]:
    """For each node, the bit mask of the nodes it depends on, itself included; bit i is nodes[i]."""
    position = {node: i for i, node in enumerate(nodes)}
    masks: list[int] = []
    for i, node in enumerate(nodes):
        mask = 1 << i
        for operand in node.inputs:
            if operand.node is not None and operand.node in position:
                mask |= masks[position[operand.node]]
        masks.append(mask)
    return masks
