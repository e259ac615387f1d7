"""Dead code: nodes no output needs are dropped, and in inference parameters nobody reads as well."""

from __future__ import annotations

from graphc.ir.graph import Graph
from graphc.ir.rewriter import ValueMap, compose, prune
from graphc.passes.loops import merge_scans, simplify_scans


def dce(graph: Graph, *, parameters: bool = False) -> tuple[Graph, ValueMap]:
    """Keep what the outputs need; with `parameters`, drop parameters and their data that nothing reads."""
    merged, first = merge_scans(prune(graph))
    simple, second = simplify_scans(merged)
    pruned = prune(simple)
    if parameters:
        read = {value for node in pruned.nodes for value in node.inputs} | set(pruned.outputs)
        unread = {value.name for value in pruned.parameters if value not in read}
        if unread:
            kept = tuple(value for value in pruned.parameters if value.name not in unread)
            data = {name: array for name, array in pruned.data.items() if name not in unread}
            gradients = {v: d for v, d in pruned.gradients.items() if v not in unread}
            pruned = pruned.with_(parameters=kept, data=data, gradients=gradients)
    alive = {value: value for value in pruned.values()}
    return pruned, {old: new for old, new in compose(first, second).items() if new in alive}
