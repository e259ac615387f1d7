"""Views of a graph for analysis: networkx, and ancestor sets as bit masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Graph, Node

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a networkx MultiDiGraph: one vertex a value (leaves) or a node, one edge an operand.

    Vertices carry `kind` ("input", "parameter", "constant", "op"), `op`, `type`; edges carry the
    value's name and the operand's position.
    """
    vertices: list[Attributed] = [
        (leaf.name, {"kind": leaf.leaf, "type": str(leaf.type)}) for leaf in graph.leaves
    ]
    edges = []
    for node in graph.nodes:
        kind = {"kind": "op", "op": node.op.name, "type": str(node.outputs[0].type)}
        vertices.append((node.name, {**kind, "role": node.provenance.role}))
        for position, operand in enumerate(node.inputs):
            source = operand.node.name if operand.node is not None else operand.name
            edges.append((source, node.name, {"value": operand.name, "position": position}))
    return multigraph(graph.name, vertices, edges)


Attributed = tuple[str, dict[str, Any]]


def multigraph(
    name: str, vertices: Iterable[Attributed], edges: Iterable[tuple[str, str, dict[str, Any]]]
) -> networkx.MultiDiGraph:
    """A networkx MultiDiGraph of vertices and edges with their attributes."""
    import networkx

    view: Any = networkx.MultiDiGraph(name=name)
    view.add_nodes_from(vertices)
    view.add_edges_from(edges)
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
