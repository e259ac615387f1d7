"""If, Loop and Scan.

A static graph has no branches: a condition that is known takes one, any other computes both and chooses.  A loop is one
node when its turns have the same body; otherwise it is unrolled, and the number of turns must be known.
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto

from graphc import ops
from graphc.frontends.onnx.call import Call, Operand, normal_axis
from graphc.frontends.onnx.errors import NeedsValue, OnnxError, OnnxLimitError
from graphc.frontends.onnx.loops import ManyBodies, Step, looped
from graphc.frontends.onnx.operators.movement import part
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ir.types import int64

MAX_TURNS = 5_000


@onnx_operator("If")
def if_(call: Call) -> list[Operand]:
    then, otherwise = call.attribute("then_branch"), call.attribute("else_branch")
    try:
        condition = bool(call.known(0).reshape(()))
    except NeedsValue as needed:
        return _both(call, then, otherwise, needed)
    return call.importer.subgraph(then if condition else otherwise, call.scope, [])


def _both(call: Call, then: GraphProto, otherwise: GraphProto, needed: NeedsValue) -> list[Operand]:
    """Both branches, and of each output the one that the condition chooses; their types must agree."""
    condition = ops.reshape(call[0], shape=())
    branches = [call.importer.subgraph(graph, call.scope, []) for graph in (then, otherwise)]
    chosen: list[Operand] = []
    for a, b in zip(*branches, strict=True):
        x, y = call.importer.as_value(a), call.importer.as_value(b)
        if x.type != y.type:
            raise needed
        chosen.append(ops.where(condition, x, y))
    return chosen


@onnx_operator("Loop")
def loop(call: Call) -> list[Operand]:
    """One node when all turns have the same body and their number is known or a size; else turn after turn."""
    body: GraphProto = call.attribute("body")
    turns = call.sizes(0)[0] if call.has(0) else None
    going = bool(call.known(1).reshape(())) if call.has(1) else True
    carried: list[Operand] = [v for v in call.operands[2:] if v is not None]
    if going and turns is not None and turns != 0:
        try:
            return _as_one(call, body, turns, carried)
        except ManyBodies:
            if not isinstance(turns, int):
                raise call.unsupported(
                    f"an open number of turns, {turns}, that differ from each other",
                    "load the model with fixed sizes",
                ) from None
    importer, collected = call.importer, [[] for _ in range(len(body.output) - 1 - len(carried))]  # type: ignore[var-annotated]
    turn = 0
    while going and (turns is None or turn < int(turns)):  # type: ignore[arg-type]
        if turn == MAX_TURNS:
            raise OnnxLimitError(f"Loop makes more than {MAX_TURNS} turns that differ from each other")
        number = importer.constant(np.array(turn, np.int64))
        truth = importer.constant(np.array(True))
        results = importer.subgraph(body, call.scope, [number, truth, *carried])
        going = bool(importer.array_of(results[0], "the condition of Loop").reshape(()))
        carried = results[1 : 1 + len(carried)]
        for values, value in zip(collected, results[1 + len(carried) :], strict=True):
            values.append(importer.as_value(value))
        turn += 1
    return [
        *carried,
        *(_joined(call, values, body, len(carried) + 1 + i) for i, values in enumerate(collected)),
    ]


def _as_one(call: Call, body: GraphProto, turns: Dim, carried: list[Operand]) -> list[Operand]:
    """Loop as a `scan` over the numbers of its turns.  Raises ManyBodies, also when a turn may be the last."""
    importer = call.importer

    def step(state: list[Value], elements: list[Value]) -> tuple[list[Value], list[Value]]:
        truth = importer.constant(np.array(True))
        results = importer.subgraph(body, call.scope, [elements[0], truth, *state])
        if not importer.array_of(results[0], "the condition of Loop").all():
            raise ManyBodies
        values = [importer.as_value(v) for v in results[1:]]
        return values[: len(state)], values[len(state) :]

    numbers = ops.iota(shape=(turns,), axis=0, dtype=int64)
    last, rows = looped(importer, step, [importer.as_value(v) for v in carried], [numbers], turns)
    return [*last, *rows]


def _joined(call: Call, values: list[Value], body: GraphProto, index: int) -> Value:
    """What each turn gave, along a new first axis."""
    if not values:
        from graphc.frontends.onnx.importer import declared_type

        kind = declared_type(body.output[index])
        shape = tuple(d if isinstance(d, int) else 0 for d in kind.shape)
        return call.importer.constant(np.zeros((0, *shape), kind.dtype.numpy))
    if any(v.type != values[0].type for v in values):
        raise OnnxError(f"Loop collects values of different types: {values[0].type} and another")
    rows = [ops.reshape(v, shape=(1, *v.shape)) for v in values]
    return rows[0] if len(rows) == 1 else ops.concat(*rows, axis=0)


@onnx_operator("Scan")
def scan(call: Call) -> list[Operand]:
    """State goes from turn to turn; each turn reads one slice of the sequences and gives one of the results."""
    if call.version < 9:
        return _batched_scan(call)
    return _scan(call, [call[i] for i in range(len(call))])


def _batched_scan(call: Call) -> list[Operand]:
    """The form of opset 8: a batch axis before everything, one sequence after the other."""
    if call.has(0):
        raise call.unsupported("lengths of sequences")
    values = [call[i] for i in range(1, len(call))]
    batch = values[0].shape[0]
    if not isinstance(batch, int):
        raise call.unsupported("an open batch size")
    every = [_scan(call, [_row(v, 0, b) for v in values]) for b in range(batch)]
    results: list[Operand] = []
    for rows in zip(*every, strict=True):
        spread = [ops.reshape(v, shape=(1, *v.shape)) for v in map(call.importer.as_value, rows)]
        results.append(spread[0] if batch == 1 else ops.concat(*spread, axis=0))
    return results


def _row(v: Value, axis: int, index: int) -> Value:
    taken = part(v, axis, index, index + 1)
    return ops.reshape(taken, shape=tuple(d for i, d in enumerate(v.shape) if i != axis))


def _scan(call: Call, values: list[Value]) -> list[Operand]:
    body: GraphProto = call.attribute("body")
    count = call.attribute("num_scan_inputs")
    if not 1 <= count <= len(values):
        raise OnnxError(f"Scan has {len(values)} inputs, not {count} sequences among them")
    state = values[: len(values) - count]
    sequences = values[len(values) - count :]
    axes = call.attribute("scan_input_axes") or [0] * count
    axes = [normal_axis(a, v.type.rank, "Scan") for a, v in zip(axes, sequences, strict=True)]
    backwards = call.attribute("scan_input_directions") or call.attribute("directions") or [0] * count
    sequences = [to_front(v, axis) for v, axis in zip(sequences, axes, strict=True)]
    turns = {v.shape[0] for v in sequences}
    if len(turns) != 1:
        raise OnnxError(f"Scan: the sequences have different lengths: {sorted(map(str, turns))}")
    outputs = len(body.output) - len(state)
    out_axes = call.attribute("scan_output_axes") or [0] * outputs
    out_backwards = call.attribute("scan_output_directions") or [0] * outputs
    if not len(backwards) == count or not len(out_axes) == len(out_backwards) == outputs >= 0:
        raise OnnxError("Scan: there must be an axis and a direction for each sequence and each result")
    reverse = all(backwards) and all(out_backwards)
    if not reverse:
        sequences = [ops.reverse(v, axes=(0,)) if b else v for v, b in zip(sequences, backwards, strict=True)]
    importer = call.importer

    def step(now: list[Value], elements: list[Value]) -> tuple[list[Value], list[Value]]:
        results = [importer.as_value(v) for v in importer.subgraph(body, call.scope, [*now, *elements])]
        return results[: len(now)], results[len(now) :]

    try:
        last, rows = looped(importer, step, state, sequences, turns.pop(), reverse=reverse)
    except ManyBodies:
        last, rows = _unrolled(call, step, state, sequences, reverse)
    joined: list[Operand] = []
    for row, axis, back in zip(rows, out_axes, out_backwards, strict=True):
        order = [*range(1, row.type.rank)]
        order.insert(normal_axis(axis, row.type.rank, "Scan"), 0)
        row = ops.reverse(row, axes=(0,)) if back and not reverse else row
        joined.append(ops.transpose(row, permutation=tuple(order)) if order[0] else row)
    return [*last, *joined]


def to_front(v: Value, axis: int) -> Value:
    return ops.transpose(v, permutation=(axis, *(i for i in range(v.type.rank) if i != axis))) if axis else v


def _unrolled(
    call: Call, step: Step, state: list[Value], sequences: list[Value], reverse: bool
) -> tuple[list[Value], list[Value]]:
    """Turn after turn, when they have no one body."""
    length = sequences[0].shape[0]
    if not isinstance(length, int):
        raise call.unsupported(
            f"an open number of turns, {length}, that differ from each other",
            "load the model with fixed sizes",
        )
    if not 1 <= length <= MAX_TURNS:
        raise OnnxLimitError(
            f"Scan makes {length} turns that differ from each other; 1 to {MAX_TURNS} are allowed"
        )
    collected: list[list[Value]] = []
    for turn in range(length)[:: -1 if reverse else 1]:
        state, rows = step(state, [_row(v, 0, turn) for v in sequences])
        collected.append([ops.reshape(v, shape=(1, *v.shape)) for v in rows])
    ordered = collected[::-1] if reverse else collected
    return state, [
        ops.concat(*each, axis=0) if length > 1 else each[0] for each in zip(*ordered, strict=True)
    ]
