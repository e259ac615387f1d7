"""The interpreter: runs a graph op by op with NumPy.  It is the oracle for everything else.

It takes no shortcut: every value is an array of exactly the type the graph says, checked as it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import ArgumentShapeError, DTypeError, InternalError
from graphc.ir.composite import body_graph
from graphc.ir.dims import SymbolicDim, substitute
from graphc.ir.graph import Graph, Node, Value, bind_attributes
from graphc.ir.op import Kind
from graphc.ir.types import as_argument
from graphc.ops.control import split
from graphc.ops.indexing import IndexOutOfRange

Arrays = Mapping[str, Any] | Sequence[Any]


def interpret(
    graph: Graph, inputs: Arrays, data: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, ...]:
    """The outputs of a graph for input arrays given in order or by name.

    Results are arrays of their own: they share memory with no input, no parameter and not with each other.
    `data` overrides the arrays of parameters and constants in `graph.data`.

    Raises DTypeError or ArgumentShapeError when an array does not have the type of its input.
    """
    values = evaluate(graph, inputs, data)
    return tuple(np.array(values[value], order="C") for value in graph.outputs)


def evaluate(
    graph: Graph, inputs: Arrays, data: Mapping[str, np.ndarray] | None = None
) -> dict[Value, np.ndarray]:
    """Every value of the graph."""
    arrays = bind_inputs(graph, inputs)
    store = {**graph.data, **(data or {})}
    bindings = graph.bind(arrays)
    values: dict[Value, np.ndarray] = {value: arrays[value.name] for value in graph.inputs}
    for leaf in graph.parameters + graph.constants:
        if leaf.name not in store:
            raise ArgumentShapeError(
                f"no array for {leaf.leaf} {leaf.name}", fix="pass data={...} with its array"
            )
        values[leaf] = np.asarray(store[leaf.name])
    for node in graph.nodes:
        with np.errstate(all="ignore"):
            results = run_node(node, [values[v] for v in node.inputs], bindings)
        for value, array in zip(node.outputs, results, strict=True):
            expected = tuple(substitute(dim, bindings) for dim in value.type.shape)
            if array.dtype != value.dtype.numpy or array.shape != expected:
                raise InternalError(f"{node!r} gave {array.dtype}{list(array.shape)} instead of {value.type}")
            values[value] = array
    return values


def run_node(
    node: Node, operands: Sequence[np.ndarray], bindings: Mapping[str, int]
) -> tuple[np.ndarray, ...]:
    """One node by its op's reference, or by its body when it has none."""
    if node.op.kind is Kind.CONTROL:
        return _run_loop(node, operands, bindings)
    if node.op.reference is None:
        graph = body_graph(node.op, [v.type for v in node.inputs], node.attributes)
        values = dict(zip(graph.inputs, operands, strict=True))
        for inner in graph.nodes:
            results = run_node(inner, [values[v] for v in inner.inputs], bindings)
            values.update(zip(inner.outputs, results, strict=True))
        return tuple(values[v] for v in graph.outputs)
    try:
        result = node.op.reference(*operands, **bind_attributes(node.attributes, bindings))
    except IndexError as error:
        if node.op.kind not in (Kind.INDEXING, Kind.COMPOSITE):
            raise
        raise IndexOutOfRange(f"%{node.name}: {error}", span=node.provenance.span) from None
    results = result if isinstance(result, tuple) else (result,)
    return tuple(np.asarray(array) for array in results)


def _run_loop(
    node: Node, operands: Sequence[np.ndarray], bindings: Mapping[str, int]
) -> tuple[np.ndarray, ...]:
    """A scan, step by step."""
    attributes = node.attributes
    body, carries, length = (
        attributes["body"],
        attributes["carries"],
        substitute(attributes["length"], bindings),
    )
    assert isinstance(length, int)
    state, sequences, fixed = split(operands, carries=carries, sequences=attributes["sequences"])
    state = tuple(np.array(part) for part in state)
    shapes: Any = [tuple(substitute(d, bindings) for d in v.type.shape) for v in node.outputs[carries:]]
    stacked = [np.empty(shape, v.dtype.numpy) for shape, v in zip(shapes, node.outputs[carries:])]
    for t in reversed(range(length)) if attributes["reverse"] else range(length):
        values = dict(zip(body.inputs, (*state, *(x[t] for x in sequences), *fixed), strict=True))
        for inner in body.nodes:
            results = run_node(inner, [values[v] for v in inner.inputs], bindings)
            values.update(zip(inner.outputs, results, strict=True))
        state = tuple(values[v] for v in body.outputs[:carries])
        for whole, v in zip(stacked, body.outputs[carries:]):
            whole[t] = values[v]
    return (*state, *stacked)


def bind_inputs(graph: Graph, inputs: Arrays) -> dict[str, np.ndarray]:
    """Input arrays by name, checked against their types; a symbol means one size everywhere."""
    if isinstance(inputs, Mapping):
        missing = [v.name for v in graph.inputs if v.name not in inputs]
        unknown = sorted(set(inputs) - {v.name for v in graph.inputs})
        if missing or unknown:
            problem = f"no array for input {missing[0]}" if missing else f"there is no input {unknown[0]}"
            raise ArgumentShapeError(problem, fix=f"the inputs are {', '.join(v.name for v in graph.inputs)}")
        given = [inputs[v.name] for v in graph.inputs]
    else:
        given = list(inputs)
        if len(given) != len(graph.inputs):
            raise ArgumentShapeError(f"{graph.name} takes {len(graph.inputs)} inputs, {len(given)} given")
    arrays: dict[str, np.ndarray] = {}
    bindings: dict[str, int] = {}
    for value, array in zip(graph.inputs, given):
        array = as_argument(array, value.dtype.numpy, value.type.rank)
        if array.dtype != value.dtype.numpy:
            raise DTypeError(
                f"input {value.name!r}: expected {value.type}, got {array.dtype}",
                fix=f'.astype("{value.dtype}")',
            )
        if array.ndim != value.type.rank:
            raise ArgumentShapeError(
                f"input {value.name!r}: expected {value.type}, got shape {list(array.shape)}"
            )
        for dim, size in zip(value.type.shape, array.shape):
            if isinstance(dim, SymbolicDim) and str(dim).isidentifier():
                bindings.setdefault(str(dim), size)
        arrays[value.name] = array
    for value in graph.inputs:
        expected = tuple(substitute(dim, bindings) for dim in value.type.shape)
        if arrays[value.name].shape != expected:
            bound = ", ".join(f"{k} = {n}" for k, n in sorted(bindings.items()) if k in value.type.symbols)
            got = list(arrays[value.name].shape)
            raise ArgumentShapeError(
                f"input {value.name!r}: expected {value.type}, got shape {got}"
                + (f" with {bound}" if bound else "")
            )
    for name, size in bindings.items():
        low, high = graph.dims.get(name, (0, None))
        if size < low or (high is not None and size > high):
            raise ArgumentShapeError(
                f"{name} = {size} is outside its range {low}..{'' if high is None else high}"
            )
    return arrays
