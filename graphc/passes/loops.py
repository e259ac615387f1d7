"""Loops: what passes do to scans.

`in_bodies` runs a pass on every body.  `merge_scans` makes one loop of two that run the same state over the same
operands: a loop and the one that saves for its gradient.  `simplify_scans` leaves out results nobody reads with all
that only they need, and takes numbers and what is the same in every step out of carry and sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.rewriter import ValueMap, prune, rewrite
from graphc.ops.control import split
from graphc.passes.cse import cse
from graphc.passes.index_maps import number_of

Run = Callable[[Graph], tuple[Graph, ValueMap]]


def has_loops(graph: Graph) -> bool:
    return any(node.op.kind is Kind.CONTROL for node in graph.nodes)


def in_bodies(graph: Graph, run: Run) -> tuple[Graph, ValueMap]:
    """Run a pass on the bodies of all loops, those within loops first; the graph itself stays as it is."""
    if not has_loops(graph):
        return graph, {value: value for value in graph.values()}

    def renew(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.kind is not Kind.CONTROL:
            return None
        body: Graph = node.attributes["body"]
        new, _ = run(in_bodies(body, run)[0])
        return None if new is body else _with_body(node, operands, new)

    return rewrite(graph, renew, "loops")


def _with_body(node: Node, operands: tuple[Value, ...], body: Graph) -> tuple[Value, ...]:
    types, names = tuple(v.type for v in node.outputs), tuple(v.name for v in node.outputs)
    copy = Node(node.op, operands, {**node.attributes, "body": body}, types, names, node.provenance)
    Builder.current().append(copy)
    return copy.outputs


# One loop of several ------------------------------------------------------------------------------------------------


def merge_scans(graph: Graph) -> tuple[Graph, ValueMap]:
    """One loop for all that run the same state over the same operands; each result of any is a result of it."""
    groups: dict[Any, list[Node]] = {}
    for node in graph.nodes:
        if node.op.kind is Kind.CONTROL:
            facts = tuple((k, v) for k, v in sorted(node.attributes.items()) if k != "body")
            groups.setdefault((node.inputs, facts), []).append(node)
    chosen = {group[0]: group for group in groups.values() if len(group) > 1}
    if not chosen:
        return graph, {value: value for value in graph.values()}
    done: dict[Node, tuple[Value, ...]] = {}

    def merge(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node in chosen:
            done.update(_merged(chosen[node], operands))
        return done.get(node)

    return rewrite(graph, merge, "loops")


def _merged(group: list[Node], operands: tuple[Value, ...]) -> dict[Node, tuple[Value, ...]]:
    """One node for those of a group whose state is the same, and what stands for their results."""
    first = group[0]
    body, carries = first.attributes["body"], first.attributes["carries"]
    builder = Builder(body.name)
    builder.adopt(body.inputs)
    builder.reserve([value.name for value in body.values()])
    results: list[tuple[Value, ...]] = []
    with builder:
        for node in group:
            results.append(_copied(node.attributes["body"], body.inputs, node is first))
    outputs = [value for each in results for value in each]
    joint, mapping = cse(builder.finish(outputs, [f"y{i}" for i in range(len(outputs))]))
    alike = [tuple(mapping[v] for v in each) for each in results]
    chosen = [n for n, each in enumerate(alike) if each[:carries] == alike[0][:carries]]
    if len(chosen) < 2:
        return {}
    own = dict.fromkeys(v for n in chosen for v in alike[n][carries:])  # each once
    outputs = [*alike[0][:carries], *own]
    merged = prune(
        joint.with_(outputs=tuple(outputs), output_names=tuple(f"y{i}" for i in range(len(outputs))))
    )
    source: dict[Value, Value] = {}
    for n in chosen:
        for inner, outer in zip(alike[n][carries:], group[n].outputs[carries:]):
            source.setdefault(inner, outer)
    kept = (*first.outputs[:carries], *(source[v] for v in own))
    types, names = tuple(v.type for v in kept), tuple(v.name for v in kept)
    whole = Node(first.op, operands, {**first.attributes, "body": merged}, types, names, first.provenance)
    Builder.current().append(whole)
    place = dict(zip(own, whole.outputs[carries:], strict=True))
    return {group[n]: (*whole.outputs[:carries], *(place[v] for v in alike[n][carries:])) for n in chosen}


def _copied(body: Graph, inputs: tuple[Value, ...], as_it_is: bool) -> tuple[Value, ...]:
    """A body's nodes in the ambient builder, reading other inputs; its results."""
    builder = Builder.current()
    mapping = dict(zip(body.inputs, inputs, strict=True))
    for node in body.nodes:
        if as_it_is:
            builder.append(node)
            mapping.update((v, v) for v in node.outputs)
            continue
        types = tuple(v.type for v in node.outputs)
        names = tuple(builder.unique(v.name) for v in node.outputs)
        operands = tuple(mapping[v] for v in node.inputs)
        copy = Node(node.op, operands, node.attributes, types, names, node.provenance)
        builder.append(copy)
        mapping.update(zip(node.outputs, copy.outputs, strict=True))
    return tuple(mapping[v] for v in body.outputs)


# Less in a loop -----------------------------------------------------------------------------------------------------


def simplify_scans(graph: Graph) -> tuple[Graph, ValueMap]:
    """Every loop without what nobody needs; what is the same in every step is a fixed operand, or a number."""
    if not has_loops(graph):
        return graph, {value: value for value in graph.values()}
    read = set(graph.outputs) | {value for node in graph.nodes for value in node.inputs}

    def simplify(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.kind is not Kind.CONTROL or not any(v in read for v in node.outputs):
            return None
        return _simplified(node, operands, [v in read for v in node.outputs])

    simple, mapping = rewrite(graph, simplify, "loops")
    return simple, mapping


def _simplified(node: Node, operands: tuple[Value, ...], used: list[bool]) -> tuple[Value, ...] | None:
    body: Graph = simplify_scans(node.attributes["body"])[0]
    carries, count = node.attributes["carries"], node.attributes["sequences"]
    state, sequences, fixed = split(body.inputs, carries=carries, sequences=count)
    given = dict(zip(body.inputs, operands, strict=True))
    unchanged = [i for i in range(carries) if body.outputs[i] is state[i]]
    live = _live(body, carries, used, unchanged)
    kept_state = [i for i in range(carries) if live[i] and i not in unchanged]
    kept_results = [j for j in range(carries, len(body.outputs)) if used[j]]
    outputs = [body.outputs[i] for i in (*kept_state, *kept_results)]
    needed = _needed(body, outputs)
    builder, mapping = Builder(body.name), dict[Value, Value]()
    outer: list[Value] = []
    same: list[tuple[Value, Value]] = [(state[i], given[state[i]]) for i in unchanged]
    same += [(v, given[v]) for v in fixed]
    running: list[tuple[Value, Value]] = []
    for value in sequences:
        once = _once(given[value], value) if value in needed else None
        if once is not None:
            same.append((value, once))
        elif value in needed:
            running.append((value, given[value]))
    builder.reserve([v.name for n in body.nodes for v in n.outputs])
    with builder:
        for i in kept_state:
            mapping[state[i]] = builder.leaf("input", state[i].name, state[i].type)
            outer.append(given[state[i]])
        _adopt(builder, running, mapping, outer, {})
        kept_sequences = len(outer) - len(kept_state)
        numbers = [(v, o) for v, o in same if v in needed and number_of(o) is not None]
        rest = [(v, o) for v, o in same if v in needed and number_of(o) is None]
        _adopt(builder, rest, mapping, outer, {})
        for value, operand in numbers:
            mapping[value] = builder.constant(number_of(operand), value.dtype, value.shape)
        whole = (
            not numbers
            and len(outer) == len(operands)
            and len(outputs) == len(body.outputs)
            and kept_sequences == count
            and body is node.attributes["body"]
        )
        if whole:
            return None
        for inner in (n for n in body.nodes if n in needed):
            types, names = tuple(v.type for v in inner.outputs), tuple(v.name for v in inner.outputs)
            inputs = tuple(mapping[v] for v in inner.inputs)
            copy = Node(inner.op, inputs, inner.attributes, types, names, inner.provenance)
            builder.append(copy)
            mapping.update(zip(inner.outputs, copy.outputs, strict=True))
    final = builder.finish([mapping[v] for v in outputs], [f"y{i}" for i in range(len(outputs))])
    results: dict[int, Value] = {i: given[state[i]] for i in unchanged}
    if outputs:
        attributes = {
            **node.attributes, "body": final, "carries": len(kept_state), "sequences": kept_sequences,
        }  # fmt: skip
        chosen = [*kept_state, *kept_results]
        types = tuple(node.outputs[i].type for i in chosen)
        names = tuple(node.outputs[i].name for i in chosen)
        new = Node(node.op, tuple(outer), attributes, types, names, node.provenance)
        Builder.current().append(new)
        results.update(zip(chosen, new.outputs, strict=True))
    return tuple(results.get(i, value) for i, value in enumerate(node.outputs))


def _adopt(
    builder: Builder,
    pairs: list[tuple[Value, Value]],
    mapping: dict[Value, Value],
    outer: list[Value],
    known: dict[Value, Value],
) -> None:
    """Leaves of the body for operands, one for those that are given twice."""
    for value, operand in pairs:
        if operand in known:
            mapping[value] = known[operand]
            continue
        mapping[value] = known[operand] = builder.leaf("input", value.name, value.type)
        outer.append(operand)


def _live(body: Graph, carries: int, used: list[bool], unchanged: list[int]) -> list[bool]:
    """Which parts of the carry any result needs that is used."""
    live = list(used)
    while True:
        needed = _needed(body, [v for v, on in zip(body.outputs, live) if on])
        more = [live[i] or body.inputs[i] in needed for i in range(carries)]
        if more == live[:carries]:
            return live
        live[:carries] = more


def _needed(body: Graph, outputs: list[Value]) -> set[Value | Node]:
    """The values and nodes that results of a body are made of."""
    needed: set[Value | Node] = set(outputs)
    for node in reversed(body.nodes):
        if any(value in needed for value in node.outputs):
            needed.add(node)
            needed.update(node.inputs)
    return needed


def _once(operand: Value, element: Value) -> Value | None:
    """What a sequence repeats in every step, as a value of the ambient builder; None when it does not."""
    if operand.node is None or operand.node.op.name != "broadcast_to":
        return None
    source = operand.node.inputs[0]
    missing = operand.type.rank - source.type.rank
    if missing == 0 and source.shape[0] != 1:
        return None
    builder = Builder.current()
    if missing == 0:
        from graphc.ir.op import REGISTRY

        source = REGISTRY["reshape"](source, shape=source.shape[1:])
    return builder.broadcast(source, element.shape)
