"""Repeats nodes for a batch: each op gets one more axis in front; what no sample depends on stays as it is.

A composite is repeated through its body.  A primitive has a rule below, or takes one of three ways that need none:
elementwise ops take their wider operands as they are, axes move up by one, and an op that has neither way nor rule is
written once for each sample of a small batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import UnsupportedError
from graphc.ir.builder import Builder
from graphc.ir.composite import body_graph, inline
from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.rewriter import prune
from graphc.ir.types import int64
from graphc.ops.control import split
from graphc.ops.scattering import joint

ONE_BY_ONE = 64  # samples an op without a rule is repeated for
Wide = dict[Value, Value]
Rule = Callable[[Node, Wide, Dim], Any]


def batched(
    nodes: Sequence[Node], outputs: Sequence[Value], mapping: Wide, size: Dim, span: Any
) -> list[Value]:
    """The outputs for a batch, each [size, *shape]; `mapping` holds the batches of the inputs.

    Emits into the ambient builder.  Raises UnsupportedError at an op without a rule.
    """
    found = dict(mapping)
    _repeat(nodes, found, size, span)
    return [_wide(value, found, size) for value in outputs]


def _repeat(nodes: Sequence[Node], found: Wide, size: Dim, span: Any) -> None:
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
        result = _rule(node, span)(node, found, size)
        found.update(zip(node.outputs, result if isinstance(result, tuple) else (result,), strict=True))


def _rule(node: Node, span: Any) -> Rule:
    if node.op.name in _RULES:
        return _RULES[node.op.name]
    if node.op.kind is Kind.ELEMENTWISE:
        return _same
    return lambda node, found, size: _each(node, found, size, node.provenance.span or span)


def _wide(value: Value, found: Wide, size: Dim) -> Value:
    """A value with the batch axis; one all samples share is repeated."""
    if value in found:
        return found[value]
    wide: Value = _broadcast(_reshape(value, (1, *value.shape)), (size, *value.shape))
    return wide


def _reshape(x: Value, shape: tuple[Dim, ...]) -> Value:
    result: Value = x if x.shape == shape else REGISTRY["reshape"](x, shape=shape)
    return result


def _broadcast(x: Value, shape: tuple[Dim, ...]) -> Value:
    result: Value = x if x.shape == shape else REGISTRY["broadcast_to"](x, shape=shape)
    return result


def _move(x: Value, source: int, target: int) -> Value:
    """One axis moved to another place."""
    order = [axis for axis in range(x.type.rank) if axis != source]
    order.insert(target, source)
    result: Value = x if source == target else REGISTRY["transpose"](x, permutation=tuple(order))
    return result


# Rules ---------------------------------------------------------------------------------------------------------------


def _same(node: Node, found: Wide, size: Dim, **changed: Any) -> Any:
    """The op on wide operands, with these attributes instead."""
    return node.op(*(_wide(v, found, size) for v in node.inputs), **{**node.attributes, **changed})


def _axis(node: Node, found: Wide, size: Dim) -> Any:
    return _same(node, found, size, axis=node.attributes["axis"] + 1)


def _axes(node: Node, found: Wide, size: Dim) -> Any:
    return _same(node, found, size, axes=tuple(axis + 1 for axis in node.attributes["axes"]))


def _shaped(node: Node, found: Wide, size: Dim) -> Any:
    return _same(node, found, size, shape=(size, *node.attributes["shape"]))


def _broadcast_to(node: Node, found: Wide, size: Dim) -> Value:
    """It aligns shapes at their ends: the batch must stand in front."""
    (x,) = node.inputs
    shape = node.attributes["shape"]
    lead = (1,) * (len(shape) - x.type.rank)
    return _broadcast(_reshape(_wide(x, found, size), (size, *lead, *x.shape)), (size, *shape))


def _transpose(node: Node, found: Wide, size: Dim) -> Any:
    return _same(node, found, size, permutation=(0, *(axis + 1 for axis in node.attributes["permutation"])))


def _slice(node: Node, found: Wide, size: Dim) -> Any:
    first = {"starts": 0, "stops": size, "steps": 1}
    return _same(node, found, size, **{k: (v, *node.attributes[k]) for k, v in first.items()})


def _pad(node: Node, found: Wide, size: Dim) -> Any:
    widths = {k: (0, *node.attributes[k]) for k in ("low", "high", "interior")}
    return _same(node, found, size, **widths)


def _scan(node: Node, found: Wide, size: Dim) -> Any:
    """The loop with a wide state; each element of a wide sequence has the batch axis in front."""
    attributes = node.attributes
    body: Graph = attributes["body"]
    places = {"carries": attributes["carries"], "sequences": attributes["sequences"]}
    state, sequences, _ = split(body.inputs, **places)
    inner, within, operands = Builder(body.name), Wide(), []
    inner.reserve([value.name for value in body.values()])
    for value, operand in zip(body.inputs, node.inputs, strict=True):
        if value not in state and operand not in found:
            inner.adopt([value])
            operands.append(operand)
            continue
        wide = _wide(operand, found, size)
        operands.append(_move(wide, 0, 1) if value in sequences else wide)
        within[value] = inner.leaf("input", value.name, value.type.with_shape((size, *value.shape)))
    for step in body.nodes:
        inner.append(step)
    with inner:
        outputs = batched(body.nodes, body.outputs, within, size, node.provenance.span)
    repeated = prune(inner.finish(outputs, body.output_names, dims=body.dims))
    results = REGISTRY["scan"](*operands, **{**attributes, "body": repeated})
    results = results if isinstance(results, tuple) else (results,)
    carries = attributes["carries"]
    return (*results[:carries], *(_move(y, 1, 0) for y in results[carries:]))


def _matmul(node: Node, found: Wide, size: Dim) -> Any:
    """A shared right factor serves the whole batch; otherwise both have the batch axis."""
    x, w = node.inputs
    if w in found and x.type.rank > w.type.rank:  # w serves every matrix of x: it gets their axes
        middle = x.shape[: x.type.rank - 2]
        thin = _reshape(_wide(w, found, size), (size, *(1,) * len(middle), *w.shape))
        wide = _broadcast(thin, (size, *middle, *w.shape))
    elif w not in found and w.type.rank == 2:
        wide = w
    else:
        wide = _wide(w, found, size)
    return node.op(_wide(x, found, size), wide, **node.attributes)


def _images(node: Node, found: Wide, size: Dim) -> Any:
    """Windows over images: the batch of batches is one larger batch."""
    operands = [_flat(_wide(v, found, size)) for v in node.inputs]
    results = node.op(*operands, **node.attributes)
    several = results if isinstance(results, tuple) else (results,)
    return tuple(_reshape(y, (size, *v.shape)) for y, v in zip(several, node.outputs, strict=True))


def _flat(x: Value) -> Value:
    """The first two axes as one."""
    return _reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _convolution(node: Node, found: Wide, size: Dim) -> Any:
    """A shared kernel serves one larger batch; with a kernel for each sample, samples are groups of channels."""
    x, w = node.inputs
    if node.op.name != "conv_dw" and w not in found:
        y = node.op(_flat(found[x]), w, **node.attributes)
        return _reshape(y, (size, *node.output.shape))
    if not isinstance(size, int):
        return _each(node, found, size, node.provenance.span)
    attributes = {**node.attributes, "groups": node.attributes["groups"] * size}
    # Channels stand at axis 1 of images and at axis 0 of kernels.
    places = (1, 1) if node.op.name == "conv_dw" else (1, 0)
    operands = [_joined(_wide(v, found, size), at) for v, at in zip(node.inputs, places)]
    y = node.op(*operands, **attributes)
    at = 0 if node.op.name == "conv_dw" else 1
    shape = node.output.shape
    return _move(_reshape(y, (*shape[:at], size, *shape[at:])), at, 0)


def _joined(x: Value, at: int) -> Value:
    """The batch axis within axis `at` of each sample, in front of it."""
    moved = _move(x, 0, at)
    return _reshape(moved, (*moved.shape[:at], moved.shape[at] * moved.shape[at + 1], *moved.shape[at + 2 :]))


def _numbered(positions: Value, found: Wide, size: Dim, axis_size: Dim) -> Value:
    """Positions [size, I...] in an axis that holds those of all samples one after the other."""
    wide = _wide(positions, found, size)
    sample = REGISTRY["iota"](shape=wide.shape, axis=0, dtype=int64)
    place: Value = joint([sample, wide], (size, axis_size))
    return place


def _gather(node: Node, found: Wide, size: Dim) -> Any:
    x, indices = node.inputs
    axis = node.attributes["axis"]
    if indices not in found:
        return node.op(found[x], indices, axis=axis + 1)
    if x not in found:
        return _move(node.op(x, found[indices], axis=axis), axis, 0)
    place = _numbered(indices, found, size, x.shape[axis])
    return _move(node.op(_joined(found[x], axis), place, axis=axis), axis, 0)


def _scatter_add(node: Node, found: Wide, size: Dim) -> Any:
    x, indices = node.inputs
    axis, length = node.attributes["axis"], node.attributes["size"]
    if indices not in found:
        return node.op(found[x], indices, axis=axis + 1, size=length)
    place = _numbered(indices, found, size, length)
    y = node.op(_move(_wide(x, found, size), 0, axis), place, axis=axis, size=size * length)
    return _apart(y, axis, size, length)


def _scatter(node: Node, found: Wide, size: Dim) -> Any:
    x, indices, updates = node.inputs
    axis, how = node.attributes["axis"], node.attributes["how"]
    onto, added = _wide(x, found, size), _wide(updates, found, size)
    if indices not in found:
        return node.op(onto, indices, added, axis=axis + 1, how=how)
    place = _numbered(indices, found, size, x.shape[axis])
    y = node.op(_joined(onto, axis), place, _move(added, 0, axis), axis=axis, how=how)
    return _apart(y, axis, size, x.shape[axis])


def _apart(y: Value, axis: int, size: Dim, length: Dim) -> Value:
    """The samples along an axis on an axis of their own, in front."""
    return _move(_reshape(y, (*y.shape[:axis], size, length, *y.shape[axis + 1 :])), axis, 0)


def _each(node: Node, found: Wide, size: Dim, span: Any) -> Any:
    """The op once for each sample."""
    if not isinstance(size, int) or not 1 <= size <= ONE_BY_ONE:
        raise UnsupportedError(
            f"vmap has no rule for {node.op.name} with these operands, and {size} samples are too many to write out",
            span=span,
            fix=f"write the function for a whole batch, or map over 1 to {ONE_BY_ONE} samples",
        )
    rows = []
    for i in range(size):
        operands = []
        for v in node.inputs:
            x = found.get(v)
            if x is not None:
                rest = v.shape
                cut = REGISTRY["slice"](
                    x, starts=(i, *(0 for _ in rest)), stops=(i + 1, *rest), steps=(1,) * (len(rest) + 1)
                )
                v = _reshape(cut, rest)
            operands.append(v)
        results = node.op(*operands, **node.attributes)
        rows.append(results if isinstance(results, tuple) else (results,))
    return tuple(
        REGISTRY["concat"](*(_reshape(y, (1, *y.shape)) for y in column), axis=0)
        for column in zip(*rows, strict=True)
    )


_RULES: dict[str, Rule] = {
    "scan": _scan,
    "reshape": _shaped,
    "broadcast_to": _broadcast_to,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "matmul": _matmul,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "scatter": _scatter,
    **dict.fromkeys(("concat", "argmax", "argmin", "cumsum", "linear_recurrence", "argsort"), _axis),
    **dict.fromkeys(("gather_elements", "scatter_elements"), _axis),
    **dict.fromkeys(("reverse", "sum", "prod", "max", "min"), _axes),
    **dict.fromkeys(("conv", "conv_dx", "conv_dw"), _convolution),
    **dict.fromkeys(("max_pool", "max_pool_dx", "avg_pool", "avg_pool_dx"), _images),
}
