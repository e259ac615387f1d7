"""Makes a failing random graph small.

    graph, inputs = shrink(case.graph, case.inputs, fails)
    print(print_graph(graph))        what to put into a file test

`fails(graph, inputs)` says whether the fault is still there.  First one output is kept, as early a value as fails
alone; then values are given as inputs instead of computed, as long as it goes on failing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphc.interpret import evaluate
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import prune, rewrite

Fails = Callable[[Graph, Mapping[str, np.ndarray]], bool]


def shrink(
    graph: Graph, inputs: Mapping[str, np.ndarray], fails: Fails
) -> tuple[Graph, dict[str, np.ndarray]]:
    """A small graph, and its inputs, that still fails; the graph itself when it does not fail."""
    arrays = dict(inputs)
    if not fails(graph, arrays):
        return graph, arrays
    graph = _earliest(graph, arrays, fails)
    for name in [value.name for node in graph.nodes for value in node.outputs]:
        if name not in graph.by_name or graph.by_name[name] in graph.outputs:
            continue
        cut, given = _given(graph, arrays, graph.by_name[name])
        if len(cut.nodes) < len(graph.nodes) and fails(cut, given):
            graph, arrays = cut, given
    return _without_idle(graph, arrays, fails)


def _earliest(graph: Graph, arrays: Mapping[str, np.ndarray], fails: Fails) -> Graph:
    for node in graph.nodes:
        for value in node.outputs:
            alone = prune(graph.with_(outputs=(value,), output_names=("y",), gradients={}))
            if fails(alone, arrays):
                return alone
    return graph


def _given(
    graph: Graph, arrays: Mapping[str, np.ndarray], value: Value
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph with one of its values as an input."""
    array = evaluate(graph, arrays)[value]
    leaf = Value(f"{value.name}.given", value.type, leaf="input")

    def rule(node: Node, operands: tuple[Value, ...]) -> Value | None:
        return leaf if node is value.node else None

    if value.node is None or len(value.node.outputs) != 1:
        return graph, dict(arrays)
    cut, _ = rewrite(graph.with_(gradients={}), rule, "shrink")
    return cut.with_(inputs=(*cut.inputs, leaf)), {**arrays, leaf.name: array}


def _without_idle(
    graph: Graph, arrays: dict[str, np.ndarray], fails: Fails
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Without leaves nothing reads, where their sizes are not needed."""
    read = {value for node in graph.nodes for value in node.inputs} | set(graph.outputs)
    bound = {str(dim) for value in graph.inputs if value in read for dim in value.type.shape}
    inputs = tuple(v for v in graph.inputs if v in read or not {str(d) for d in v.type.symbols} <= bound)
    parameters = tuple(value for value in graph.parameters if value in read)
    data = {name: array for name, array in graph.data.items() if graph.by_name[name] in read}
    small = graph.with_(inputs=inputs, parameters=parameters, data=data)
    given = {value.name: arrays[value.name] for value in inputs}
    return (small, given) if fails(small, given) else (graph, arrays)
