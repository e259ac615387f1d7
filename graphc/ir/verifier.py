"""The verifier.  Its docstring is the specification of a well-formed graph.

A graph is well formed when
 1. names of values are unique, and are letters, digits, `_` and `.`;
 2. leaves stand in the list of their kind: inputs, parameters, constants;
 3. every operand of a node is a leaf or an output of an earlier node of this graph;
 4. every op is the registered one, and its attributes are plain: numbers, strings, dtypes,
    dimensions, tuples of these, graphs;
 5. the types of a node's outputs are exactly those its op derives from the operands' types and
    the attributes;
 6. every symbol in any type is a dimension of some input on its own, so that a call binds it;
 7. outputs are values of the graph, with unique names;
 8. arrays beside the graph have exactly the dtype and shape of the leaf they belong to;
 9. a graph that is an attribute (the body of a loop) is well formed itself; all its leaves are inputs, and its symbols
    are those of the graph around it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from graphc.errors import InternalError
from graphc.ir.builder import canonical_attribute, infer_types
from graphc.ir.dims import symbols_of
from graphc.ir.graph import Graph, Value
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.ir.types import dtype_of

_NAME = re.compile(r"[A-Za-z0-9_.]+")


class VerificationError(InternalError):
    """A pass or a frontend made a malformed graph."""


def verify(graph: Graph, symbols: Collection[str] = ()) -> Graph:
    """Return the graph when it is well formed; raise VerificationError naming the rule otherwise.

    symbols: those that are bound elsewhere, when the graph is the body of a loop.
    """
    known: dict[str, Value] = {}
    for kind, leaves in (
        ("input", graph.inputs),
        ("parameter", graph.parameters),
        ("constant", graph.constants),
    ):
        for value in leaves:
            _require(value.leaf == kind, 2, f"%{value.name} is listed as {kind} but is {value.leaf}", graph)
            _define(known, value, graph)
    for node in graph.nodes:
        for operand in node.inputs:
            _require(
                known.get(operand.name) is operand,
                3,
                f"%{operand.name} is not defined before {node!r}",
                graph,
            )
        _require(REGISTRY.get(node.op.name) is node.op, 4, f"{node.op.name} is not registered", graph)
        try:
            plain = {key: canonical_attribute(value) for key, value in node.attributes.items()}
            _require(
                plain == node.attributes or plain != plain, 4, f"attributes of {node!r} are not plain", graph
            )
            derived = infer_types(node.op, tuple(v.type for v in node.inputs), node.attributes)
        except (TypeRuleError, TypeError) as error:
            raise VerificationError(f"{graph.name}: rule 5: {node!r}: {error}") from error
        types = tuple(v.type for v in node.outputs)
        _require(derived == types, 5, f"{node!r}: the op derives {', '.join(t.gir for t in derived)}", graph)
        for value in node.outputs:
            _define(known, value, graph)
    bindable = {str(dim) for value in graph.inputs for dim in value.type.shape} | set(symbols)
    for node in graph.nodes:
        for body in node.bodies:
            leaves = body.parameters + body.constants
            _require(not leaves, 9, f"the body {body.name} has leaves that are no inputs", graph)
            verify(body, bindable)
    for value in known.values():
        for dim in value.type.shape:
            for symbol in symbols_of(dim):
                _require(
                    symbol in bindable, 6, f"{symbol} of %{value.name} is no dimension of an input", graph
                )
    for value in graph.outputs:
        _require(known.get(value.name) is value, 7, f"output %{value.name} is not in the graph", graph)
    _require(len(set(graph.output_names)) == len(graph.outputs), 7, "output names are not unique", graph)
    for name, array in graph.data.items():
        leaf = known.get(name)
        _require(
            leaf is not None and leaf.leaf in ("parameter", "constant"),
            8,
            f"data for {name}, no such leaf",
            graph,
        )
        fits = leaf is not None and dtype_of(array) == leaf.type.dtype and array.shape == leaf.type.shape
        _require(fits, 8, f"data of {name} is {array.dtype}{list(array.shape)}, the leaf is {leaf}", graph)
    return graph


def _define(known: dict[str, Value], value: Value, graph: Graph) -> None:
    _require(value.name not in known, 1, f"%{value.name} is defined twice", graph)
    _require(_NAME.fullmatch(value.name) is not None, 1, f"{value.name!r} is not a name", graph)
    known[value.name] = value


def _require(condition: bool, rule: int, message: str, graph: Graph) -> None:
    if not condition:
        raise VerificationError(f"{graph.name}: rule {rule}: {message}")
