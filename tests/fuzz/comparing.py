"""Comparing two versions of a graph: bit for bit, or within what rounding can do to this very graph.

The bound is not chosen but measured: the graph runs several times with every operand and result of every node
moved at random by a few units in the last place.  How far its results spread that way is how far roundings reach,
whichever way a contraction or a reduction adds (the operands are moved, so the spread grows with Σ|a||b|).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.interpret import run_node
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Kind

RUNS = 4
MOVES = 4  # units in the last place, so that rounding the move itself does not undo it
SPREAD = 4  # times the spread of RUNS random roundings
CONTRACTIONS = (Kind.CONTRACTION, Kind.CONVOLUTION)


def run(
    graph: Graph, inputs: Mapping[str, np.ndarray], rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """The outputs; every operand is contiguous, since NumPy adds in another order when it is not.

    With `rng` everything is moved by up to MOVES units in the last place.
    """

    def moved(array: np.ndarray) -> np.ndarray:
        array = np.array(array, order="C")
        if rng is None or array.dtype.kind != "f":
            return array
        eps = np.finfo(array.dtype).eps
        return array * (1 + MOVES * eps * rng.uniform(-1, 1, array.shape)).astype(array.dtype)

    bindings = graph.bind(inputs)
    values: dict[Value, np.ndarray] = {v: inputs[v.name] for v in graph.inputs}
    values.update({v: graph.data[v.name] for v in graph.parameters + graph.constants})
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            exact = node.op.kind in (Kind.MOVEMENT, Kind.CREATION, Kind.RANDOM)
            operands = [np.array(values[v], order="C") if exact else moved(values[v]) for v in node.inputs]
            results = run_node(node, operands, bindings)
            for value, array in zip(node.outputs, results, strict=True):
                values[value] = array if exact else np.asarray(moved(array))
    return [values[v] for v in graph.outputs]


@dataclass(frozen=True)
class Bound:
    """What the outputs of a graph are, and how far each element may be off; None where roundings decide a branch."""

    outputs: list[np.ndarray]
    off: list[np.ndarray | None]


def bound(graph: Graph, inputs: Mapping[str, np.ndarray], seed: int) -> Bound:
    outputs = run(graph, inputs)
    rng = np.random.default_rng(seed)
    runs = [run(graph, inputs, rng) for _ in range(RUNS)]
    off: list[np.ndarray | None] = []
    for n, y in enumerate(outputs):
        if y.dtype.kind != "f":
            off.append(np.zeros(y.shape) if all((other[n] == y).all() for other in runs) else None)
            continue
        limits = np.finfo(y.dtype)
        spread = np.max([np.abs(other[n] - y) for other in runs], axis=0, initial=0)
        tolerance = SPREAD * spread + 8 * limits.eps * np.abs(y) + 8 * limits.tiny
        steady = np.all(spread <= limits.eps**0.5 * max(1.0, np.abs(y).max(initial=0)))
        off.append(tolerance if steady and np.isfinite(y).all() else None)
    return Bound(outputs, off)


def compare(graph: Graph, inputs: Mapping[str, np.ndarray], wanted: Bound, label: str) -> int:
    """Fail when an output of a rewritten graph is off by more than the bound; how many outputs were compared."""
    return compare_outputs(run(graph, inputs), wanted, label)


def compare_outputs(outputs: Sequence[np.ndarray], wanted: Bound, label: str) -> int:
    """The same for outputs that something else computed."""
    compared = 0
    for n, (y, expected, off) in enumerate(zip(outputs, wanted.outputs, wanted.off, strict=True)):
        assert y.dtype == expected.dtype and y.shape == expected.shape, label
        if off is None:
            continue
        wrong = y != expected if y.dtype.kind != "f" else ~(np.abs(y - expected) <= off)
        assert not wrong.any(), (
            f"{label}: output {n}: {expected[wrong][:3]} became {y[wrong][:3]}, allowed {off[wrong][:3]}"
        )
        compared += 1
    return compared


def compare_bits(graph: Graph, inputs: Mapping[str, np.ndarray], wanted: Bound, label: str) -> None:
    """Fail when a bit differs; any NaN equals any NaN."""
    for n, (y, expected) in enumerate(zip(run(graph, inputs), wanted.outputs, strict=True)):
        assert y.dtype == expected.dtype and y.shape == expected.shape, label
        same = y == expected
        if y.dtype.kind == "f":
            same = (same & (np.signbit(y) == np.signbit(expected))) | (np.isnan(y) & np.isnan(expected))
        assert same.all(), f"{label}: output {n}: {expected[~same][:3]} became {y[~same][:3]}"


def contracts(graph: Graph) -> bool:
    """Whether the order of additions is left to NumPy's linear algebra, which may choose it by the layout."""
    composite = {"linear"}
    return any(node.op.kind in CONTRACTIONS or node.op.name in composite for node in graph.nodes)


def breaks_ties(graph: Graph) -> bool:
    """Whether the maximum of 0 and -0 is taken, which may be either."""
    return any(
        node.op.name in ("maximum", "minimum", "relu", "max", "min", "max_pool") for node in graph.nodes
    )
