"""Repeats nodes for a batch: each op gets one more axis in front; what no sample depends on stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import UnsupportedError
from graphc.ir.composite import body_graph, inline
from graphc.ir.dims import Dim
from graphc.ir.graph import Node, Value
from graphc.ir.op import REGISTRY, Kind


def batched(
    nodes: Sequence[Node], outputs: Sequence[Value], mapping: dict[Value, Value], size: Dim, span: Any
) -> list[Value]:
    """The outputs for a batch, each [size, *shape]; `mapping` holds the batches of the inputs.

    Emits into the ambient builder.  Raises UnsupportedError at an op without a rule.
    """
    found = dict(mapping)
    _repeat(nodes, found, size, span)
    return [_wide(value, found, size) for value in outputs]


def _repeat(nodes: Sequence[Node], found: dict[Value, Value], size: Dim, span: Any) -> None:
    for node in nodes:
        if not any(value in found for value in node.inputs):
            continue
        if node.op.body is not None:
            body = body_graph(node.op, [v.type for v in node.inputs], node.attributes)
            results, inner = inline(body, node.inputs)
            _repeat(inner, found, size, span)
            found.update(
                (old, _wide(new, found, size)) for old, new in zip(node.outputs, results, strict=True)
            )
            continue
        found[node.output] = _rule(node, found, size, span)


def _wide(value: Value, found: dict[Value, Value], size: Dim) -> Value:
    """A value with the batch axis; one all samples share is repeated."""
    if value in found:
        return found[value]
    shared: Value = REGISTRY["reshape"](value, shape=(1, *value.shape))
    wide: Value = REGISTRY["broadcast_to"](shared, shape=(size, *value.shape))
    return wide


def _rule(node: Node, found: dict[Value, Value], size: Dim, span: Any) -> Value:
    op, attributes = node.op, dict(node.attributes)
    if op.name == "matmul":
        return _matmul(node, found, size)
    operands = [_wide(value, found, size) for value in node.inputs]
    match op.name:
        case "reshape" | "broadcast_to":
            if op.name == "broadcast_to":  # it aligns shapes at their ends: the batch must stand in front
                shape = node.inputs[0].shape
                missing = len(attributes["shape"]) - len(shape)
                operands = [REGISTRY["reshape"](operands[0], shape=(size, *(1,) * missing, *shape))]
            attributes["shape"] = (size, *attributes["shape"])
        case "transpose":
            attributes["permutation"] = (0, *(axis + 1 for axis in attributes["permutation"]))
        case "slice":
            attributes["starts"] = (0, *attributes["starts"])
            attributes["stops"] = (size, *attributes["stops"])
            attributes["steps"] = (1, *attributes["steps"])
        case "pad":
            for name in ("low", "high", "interior"):
                attributes[name] = (0, *attributes[name])
        case "concat":
            attributes["axis"] += 1
        case "reverse" | "sum" | "max" | "min":
            attributes["axes"] = tuple(axis + 1 for axis in attributes["axes"])
        case "argmax" | "argmin":
            attributes["axis"] += 1
        case _ if op.kind is not Kind.ELEMENTWISE:
            raise UnsupportedError(
                f"vmap has no rule for {op.name}",
                span=node.provenance.span or span,
                fix="write the function for a whole batch",
            )
    result: Value = op(*operands, **attributes)
    return result


def _matmul(node: Node, found: dict[Value, Value], size: Dim) -> Value:
    """A shared right factor serves the whole batch; otherwise both have the batch axis."""
    x, w = node.inputs
    if w in found and x.type.rank > w.type.rank:  # w serves every matrix of x: it gets their axes
        middle = x.shape[: x.type.rank - 2]
        wide = _wide(w, found, size)
        thin = REGISTRY["reshape"](wide, shape=(size, *(1,) * len(middle), *w.shape))
        wide = REGISTRY["broadcast_to"](thin, shape=(size, *middle, *w.shape))
    elif w not in found and w.type.rank == 2:
        wide = w
    else:
        wide = _wide(w, found, size)
    result: Value = REGISTRY["matmul"](_wide(x, found, size), wide, **node.attributes)
    return result
