"""An oracle for the passes: evaluates a graph of elementwise ops, movement and sums with 60 digits."""

from __future__ import annotations

import mpmath
import numpy as np

from graphc.ir.graph import Graph, bind_attributes
from graphc.ir.op import Kind

mpmath.mp.dps = 60


def _unary(function):
    return np.frompyfunc(function, 1, 1)


def _log(x):
    return mpmath.log(x) if x > 0 else (mpmath.mpf("-inf") if x == 0 else mpmath.nan)


FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.frompyfunc(lambda x, y: x / y if y else mpmath.nan, 2, 1),
    "pow": np.frompyfunc(lambda x, y: x**y if x != 0 or y > 0 else mpmath.nan, 2, 1),
    "neg": np.negative,
    "abs": np.abs,
    "exp": _unary(mpmath.exp),
    "log": _unary(_log),
    "sqrt": _unary(lambda x: mpmath.sqrt(x) if x >= 0 else mpmath.nan),
    "tanh": _unary(mpmath.tanh),
    "sigmoid": _unary(lambda x: 1 / (1 + mpmath.exp(-x))),
    "erf": _unary(mpmath.erf),
    "maximum": np.frompyfunc(max, 2, 1),
    "minimum": np.frompyfunc(min, 2, 1),
    "relu": _unary(lambda x: max(x, mpmath.mpf(0))),
    "where": lambda c, x, y: np.where(np.asarray(c, bool), x, y),
    "stop_gradient": lambda x: x,
}
PREDICATES = (
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_not",
)


def evaluate(graph: Graph, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The outputs as arrays of mpmath numbers (booleans and integers stay what they are)."""
    values = {v: _exact(a) for v, a in zip(graph.inputs, arrays, strict=True)}
    bindings = graph.bind({v.name: a for v, a in zip(graph.inputs, arrays)})
    for node in graph.nodes:
        operands = [np.asarray(values[v]) for v in node.inputs]
        name = node.op.name
        if name == "add_n":
            result = sum(operands[1:], operands[0])
        elif name == "cast":
            result = (
                operands[0]
                if node.attributes["dtype"].is_float
                else operands[0].astype(node.attributes["dtype"].numpy)
            )
        elif name in FUNCTIONS:
            result = FUNCTIONS[name](*operands)
        elif (
            node.op.kind in (Kind.MOVEMENT, Kind.REDUCTION, Kind.CREATION, Kind.INDEXING)
            or name in PREDICATES
        ):
            result = node.op.reference(*operands, **bind_attributes(node.attributes, bindings))
            result = _exact(np.asarray(result)) if name in ("constant", "dim_size", "iota") else result
        else:
            raise NotImplementedError(name)
        values[node.output] = np.asarray(result, dtype=object if node.output.dtype.is_float else None)
    return tuple(values[v] for v in graph.outputs)


def _exact(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    return np.asarray(np.frompyfunc(lambda x: mpmath.mpf(float(x)), 1, 1)(array), dtype=object)
