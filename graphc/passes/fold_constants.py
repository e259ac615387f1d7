"""Fold constants: what depends on no input is computed now.

Elementwise work on repeated numbers becomes a number, at any shape.  Other nodes whose operands are all known
are run by the interpreter, and what remains of them becomes a constant of the graph with its array, unless that
would be larger than the arrays it is made of.  In inference parameters count as known.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.errors import GraphcError
from graphc.interpret import run_node
from graphc.ir.builder import Builder
from graphc.ir.dims import SymbolicDim
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.rewriter import ValueMap, rewrite
from graphc.passes.index_maps import is_cheap_map, number_of

SMALL = 1024  # bytes a constant may have beyond what it is made of
NEVER = (Kind.RANDOM, Kind.CREATION)


def fold_constants(graph: Graph, *, parameters: bool = False) -> tuple[Graph, ValueMap]:
    """Compute what is known; with `parameters`, what follows from parameters as well.

    Needs the arrays in `graph.data`; what has none is not known.
    """
    folded, names = _folded(graph, parameters)
    data: dict[str, np.ndarray] = {}

    def fold(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        builder = Builder.current()
        if all(value in folded for value in node.outputs):
            made = []
            for value in node.outputs:
                leaf = builder.leaf("constant", names[value], value.type)
                data[leaf.name] = folded[value]
                made.append(leaf)
            return tuple(made)
        number = folded_number(node, operands)
        return None if number is None else (number,)

    return rewrite(graph, fold, "fold_constants", data=data)


def folded_number(node: Node, operands: tuple[Value, ...]) -> Value | None:
    """A repeated number in place of a node, when its operands are repeated numbers."""
    if node.op.name == "dim_size" and not isinstance(node.attributes["dim"], SymbolicDim):
        return Builder.current().constant(node.attributes["dim"], node.outputs[0].dtype)
    if node.op.kind is not Kind.ELEMENTWISE:
        return None
    arrays = []
    for value in operands:
        number = number_of(value)
        if number is None:
            return None
        arrays.append(np.asarray(number, value.dtype.numpy))
    with np.errstate(all="ignore"):
        (result,) = run_node(node, arrays, {})
    return Builder.current().constant(result.item(), node.outputs[0].dtype, node.outputs[0].shape)


def _folded(graph: Graph, parameters: bool) -> tuple[dict[Value, np.ndarray], dict[Value, str]]:
    """The arrays of the values that become constants, and names: those of what they are mostly made of."""
    sources = graph.constants + (graph.parameters if parameters else ())
    known: dict[Value, frozenset[Value]] = {v: frozenset((v,)) for v in sources if v.name in graph.data}
    for node in graph.nodes:
        if _is_fixed(node) and all(value in known for value in node.inputs):
            made_of = frozenset().union(*(known[value] for value in node.inputs))
            known.update((value, made_of) for value in node.outputs)
    wanted: set[Value] = set(graph.outputs)
    folded: set[Value] = set()
    for node in reversed(graph.nodes):
        if not any(value in wanted for value in node.outputs):
            if any(value not in known for value in node.outputs):
                wanted.update(node.inputs)
            continue
        if all(value in known and _worth(node, value, known[value]) for value in node.outputs):
            folded.update(node.outputs)
        else:
            wanted.update(node.inputs)
    order = {leaf: -n for n, leaf in enumerate(sources)}
    largest = {v: max(known[v], key=lambda leaf: (nominal(leaf), order[leaf])) for v in folded}
    return _evaluate(graph, known, folded), {v: f"{leaf.name}.folded" for v, leaf in largest.items()}


def nominal(value: Value) -> int:
    """Bytes of a value of fixed shape."""
    size = value.type.nbytes
    return size if isinstance(size, int) else 0


def _is_fixed(node: Node) -> bool:
    sizes = (dim for value in node.outputs for dim in value.shape)
    fixed = not any(isinstance(dim, SymbolicDim) for dim in sizes)
    return node.op.name == "constant" or (fixed and node.op.kind not in NEVER)


def _worth(node: Node, value: Value, made_of: frozenset[Value]) -> bool:
    """Whether a known value should be an array: no number, no cheap view, not larger than its sources."""
    if not made_of or is_cheap_map(node):
        return False
    return nominal(value) <= SMALL + sum(nominal(leaf) for leaf in made_of)


def _evaluate(graph: Graph, known: Mapping[Value, object], folded: set[Value]) -> dict[Value, np.ndarray]:
    needed = set(folded)
    for node in reversed(graph.nodes):
        if any(value in needed for value in node.outputs):
            needed.update(node.inputs)
    arrays = {v: np.asarray(graph.data[v.name]) for v in (*graph.constants, *graph.parameters) if v in known}
    for node in graph.nodes:
        if all(value in needed and value in known for value in node.outputs):
            if not all(value in arrays for value in node.inputs):
                continue
            try:
                with np.errstate(all="ignore"):
                    results = run_node(node, [arrays[value] for value in node.inputs], {})
            except GraphcError:  # an index that does not exist: an error when the graph runs, not now
                continue
            arrays.update(zip(node.outputs, results))
    return {value: _own(arrays[value]) for value in folded if value in arrays}


def _own(array: np.ndarray) -> np.ndarray:
    """An array nobody else has a view of; one number that is repeated stays one."""
    if array.size > 1 and not any(array.strides):
        return np.broadcast_to(array[(0,) * array.ndim].copy(), array.shape)
    return np.array(array, order="C")
