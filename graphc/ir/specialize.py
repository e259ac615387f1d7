"""Specialisation: the same graph with some symbolic dimensions fixed to sizes, or with leaves of another kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphc.errors import UsageError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Leaf, Node, Value, bind_attributes


def specialize(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with symbols replaced by sizes; names of values stay.

    Raises UsageError for a symbol the graph does not have or a size outside its range.
    """
    known = {name for value in graph.inputs for name in value.type.symbols}
    for name, size in sizes.items():
        if name not in known:
            raise UsageError(
                f"{graph.name} has no dimension {name}", fix=f"it has {', '.join(sorted(known)) or 'none'}"
            )
        low, high = graph.dims.get(name, (0, None))
        if size < low or (high is not None and size > high):
            raise UsageError(f"{name} = {size} is outside its range {low}..{'' if high is None else high}")
    return _copy(graph, sizes, {})


def bound(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with symbols replaced by sizes, whatever their ranges: that of a loop's body."""
    return _copy(graph, sizes, {})


def as_parameters(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with some of its constants as parameters: they change between calls, so nothing is folded into them."""
    return _copy(graph, {}, dict.fromkeys(names, "parameter")) if names else graph


def as_inputs(graph: Graph, names: Collection[str]) -> Graph:
    """The graph with some of its parameters and constants as inputs, behind its own inputs."""
    return _copy(graph, {}, dict.fromkeys(names, "input"))


def _copy(graph: Graph, sizes: Mapping[str, int], changing: Mapping[str, Leaf]) -> Graph:
    builder = Builder(graph.name)
    mapping: dict[Value, Value] = {}
    for leaf in graph.leaves:
        kind = changing.get(leaf.name, leaf.leaf)
        assert kind is not None
        mapping[leaf] = builder.leaf(kind, leaf.name, leaf.type.substitute(sizes))
    for node in graph.nodes:
        types = tuple(value.type.substitute(sizes) for value in node.outputs)
        names = tuple(value.name for value in node.outputs)
        attributes = bind_attributes(node.attributes, sizes)
        copy = Node(
            node.op, tuple(mapping[v] for v in node.inputs), attributes, types, names, node.provenance
        )
        builder.append(copy)
        mapping.update(zip(node.outputs, copy.outputs, strict=True))
    dims = {name: limits for name, limits in graph.dims.items() if name not in sizes}
    data = {name: array for name, array in graph.data.items() if changing.get(name) != "input"}
    fixed = builder.finish([mapping[v] for v in graph.outputs], graph.output_names, dims=dims, data=data)
    return fixed.with_(gradients=graph.gradients)
