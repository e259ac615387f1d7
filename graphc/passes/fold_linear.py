"""Layers without a non-linearity between them are one layer: W2·(W1·x + b1) + b2 = (W2·W1)·x + (W2·b1 + b2).

This is why networks need non-linearities.  The product of the weights is formed in float64 and rounded once;
`fold_constants` then computes it.  The rule is graded stable: one contraction with |W2·W1| ≤ |W2|·|W1| stays
within the bound of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import ValueMap
from graphc.ir.types import float64
from graphc.passes.rules import Grade, Rule, RuleSet

RNG = np.random.default_rng(11)


def wide(x: Value) -> Value:
    return ops.cast(x, dtype=float64)


def multiplied(outer: Value, inner: Value) -> Value:
    """W2·W1"""
    return ops.cast(ops.matmul(wide(outer), wide(inner)), dtype=outer.dtype)


def moved(outer: Value, bias: Value, more: Value | None = None) -> Value:
    """W2·b1 + b2"""
    column = ops.reshape(wide(bias), shape=(*bias.shape, 1))
    total = ops.reshape(ops.matmul(wide(outer), column), shape=outer.shape[:1])
    return ops.cast(total if more is None else total + wide(more), dtype=outer.dtype)


def samples(*biases: int) -> Any:
    """`biases` are the sizes of those that follow the weights [6, 9] and [3, 6]."""

    def draw() -> Iterator[tuple[tuple, dict]]:
        x, first, second = RNG.normal(size=(4, 9)), RNG.normal(size=(6, 9)), RNG.normal(size=(3, 6))
        yield (x, first, second, *(RNG.normal(size=size) for size in biases)), {}

    return draw


RULES = RuleSet(
    "fold_linear",
    (
        Rule(
            "W2·(W1·x) = (W2·W1)·x",
            "stable",
            lambda x, v, w: ops.linear(ops.linear(x, v), w),
            lambda x, v, w: ops.linear(x, multiplied(w, v)),
            samples=samples(),
        ),
        Rule(
            "W2·(W1·x) + b2 = (W2·W1)·x + b2",
            "stable",
            lambda x, v, w, b: ops.linear(ops.linear(x, v), w, b),
            lambda x, v, w, b: ops.linear(x, multiplied(w, v), b),
            samples=samples(3),
        ),
        Rule(
            "W2·(W1·x + b1) = (W2·W1)·x + W2·b1",
            "stable",
            lambda x, v, w, a: ops.linear(ops.linear(x, v, a), w),
            lambda x, v, w, a: ops.linear(x, multiplied(w, v), moved(w, a)),
            samples=samples(6),
        ),
        Rule(
            "W2·(W1·x + b1) + b2 = (W2·W1)·x + (W2·b1 + b2)",
            "stable",
            lambda x, v, w, a, b: ops.linear(ops.linear(x, v, a), w, b),
            lambda x, v, w, a, b: ops.linear(x, multiplied(w, v), moved(w, a, b)),
            samples=samples(6, 3),
        ),
    ),
)


def fold_linear(graph: Graph, grades: Sequence[Grade] = ("exact", "stable")) -> tuple[Graph, ValueMap]:
    """Fold where the weights are known arrays, nothing else reads the layer between, and the product is smaller."""

    def may_fold(node: Node, found: Mapping[str, Any]) -> bool:
        weights = [value for name, value in found.items() if name != "x" and isinstance(value, Value)]
        if not _known(weights, graph):
            return False
        between = node.inputs[0]
        (hidden, inside), outside = found["v"].shape, found["w"].shape[0]
        if outside * inside > hidden * (inside + outside):
            return False
        return len(graph.users[between]) == 1 and between not in graph.outputs

    return RULES.run(graph, grades, may_fold)


def _known(values: Sequence[Value], graph: Graph) -> bool:
    """Whether only stored arrays are behind these values; a weight may be the product of an earlier fold."""
    pending, seen = list(values), set(values)
    while pending:
        value = pending.pop()
        if value.node is None and (value.leaf == "input" or value.name not in graph.data):
            return False
        new = [v for v in value.node.inputs if v not in seen] if value.node is not None else []
        pending += new
        seen.update(new)
    return True
