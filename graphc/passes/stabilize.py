"""Stabilize: formulas that overflow, underflow or cancel are replaced by ones that do not, and it says so.

Run before autodiff, so that gradients are those of the stable form too.  Each rewrite makes a note with the
user's line and the equation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.graph import Graph, Value
from graphc.ir.rewriter import ValueMap
from graphc.passes.index_maps import source
from graphc.passes.rules import Grade, Rule, RuleSet, spread


@cache
def rows() -> np.ndarray:
    """Rows of scores, small and large, some of -inf: what the rules are tested on."""
    scores = np.random.default_rng(2).normal(size=(4, 5)) * np.array([[1], [30], [300], [1e4]])
    low, inf = -1e3, np.inf
    hard = [
        [-inf, 0.0, 1.0, 2.0, -inf],
        [500.0, 500.0, 500.0, 0.0, -500.0],
        [low, 2 * low, low, 3 * low, low],
    ]
    return np.concatenate([scores, hard])


@cache
def labels() -> np.ndarray:
    return np.array([[0], [4], [2], [3], [1], [4], [1]])


def along(**attributes: Any) -> Any:
    def draw() -> Iterator[tuple[tuple, dict]]:
        yield (rows(),), attributes

    return draw


def rows_and_shift() -> Iterator[tuple[tuple, dict]]:
    yield (rows(), np.array([1.0, 2.0, -300.0, 1e3, 0.0, 500.0, -1e3])), {"axes": (1,), "axis": 1}


def rows_and_labels(**attributes: Any) -> Any:
    def draw() -> Iterator[tuple[tuple, dict]]:
        yield (rows(), labels()), {"axis": 1, "a": 1, **attributes}

    return draw


def rows_off_zero() -> Iterator[tuple[tuple, dict]]:
    offsets = np.array([[0], [10], [1e3], [1e4]])
    yield (np.random.default_rng(2).normal(size=(4, 6)) + offsets,), {"axes": (1,)}


def one_axis(op: Any, x: Value, axes: tuple[int, ...]) -> Value | None:
    return op(x, axis=axes[0]) if len(axes) == 1 else None


def is_shifted(x: Value) -> bool:
    """Whether x has its maximum taken out already."""
    if x.node is None or x.node.op.name != "sub":
        return False
    node = source(x.node.inputs[1])[0].node
    while node is not None and node.op.name == "stop_gradient":
        node = source(node.inputs[0])[0].node
    return node is not None and node.op.name == "max"


def negated(x: Value) -> Value:
    """-x, where x may be a negation itself."""
    return x.node.inputs[0] if x.node is not None and x.node.op.name == "neg" else -x


def naive_softmax(x: Any, *, axes: Any) -> Any:
    return ops.exp(x) / spread(ops.sum(ops.exp(x), axes=axes), x, axes)


OVERFLOW = "e^x overflows from 89 on in float32"
UNDERFLOW = "probabilities underflow to 0, whose logarithm is -inf"
CANCELS = "the difference cancels"

RULES = RuleSet(
    "stabilize",
    (
        Rule(
            "ln(e^x / Σ e^x) = log_softmax(x)",
            "stable",
            lambda x, *, axes: ops.log(naive_softmax(x, axes=axes)),
            lambda x, *, axes: one_axis(ops.log_softmax, x, axes),
            reason=UNDERFLOW,
            samples=along(axes=(1,)),
        ),
        Rule(
            "ln softmax(x) = log_softmax(x)",
            "stable",
            lambda x, *, axis: ops.log(ops.softmax(x, axis=axis)),
            lambda x, *, axis: ops.log_softmax(x, axis=axis),
            reason=UNDERFLOW,
            samples=along(axis=1),
        ),
        Rule(
            "ln softmax(x)[i] = log_softmax(x)[i]",
            "stable",
            lambda x, i, *, axis, a: ops.log(ops.gather_elements(ops.softmax(x, axis=axis), i, axis=a)),
            lambda x, i, *, axis, a: ops.gather_elements(ops.log_softmax(x, axis=axis), i, axis=a),
            reason=UNDERFLOW,
            samples=rows_and_labels(),
        ),
        Rule(
            "ln softmax(x)[i] = log_softmax(x)[i]",
            "stable",
            lambda x, i, *, axis, a, shape: ops.log(
                ops.reshape(ops.gather_elements(ops.softmax(x, axis=axis), i, axis=a), shape=shape)
            ),
            lambda x, i, *, axis, a, shape: ops.reshape(
                ops.gather_elements(ops.log_softmax(x, axis=axis), i, axis=a), shape=shape
            ),
            reason=UNDERFLOW,
            samples=rows_and_labels(shape=(7,)),
        ),
        Rule(
            "e^x / Σ e^x = softmax(x)",
            "stable",
            naive_softmax,
            lambda x, *, axes: None if is_shifted(x) else one_axis(ops.softmax, x, axes),
            reason=OVERFLOW,
            samples=along(axes=(1,)),
        ),
        Rule(
            "log_softmax(x - c) = log_softmax(x)",
            "stable",
            lambda x, c, *, axes, axis: ops.log_softmax(x - spread(c, x, axes), axis=axis),
            lambda x, c, *, axes, axis: ops.log_softmax(x, axis=axis) if axes == (axis,) else None,
            samples=rows_and_shift,
        ),
        Rule(
            "ln Σ e^x = logsumexp(x)",
            "stable",
            lambda x, *, axes: ops.log(ops.sum(ops.exp(x), axes=axes)),
            lambda x, *, axes: None if is_shifted(x) else ops.logsumexp(x, axes=axes),
            reason=OVERFLOW,
            samples=along(axes=(1,)),
        ),
        Rule(
            "nll_loss(log_softmax(x)) = cross_entropy(x)",
            "stable",
            lambda x, i, *, reduction: ops.nll_loss(ops.log_softmax(x, axis=1), i, reduction=reduction),
            lambda x, i, *, reduction: ops.cross_entropy(x, i, reduction=reduction),
            samples=lambda: iter([((rows(), labels()[:, 0]), {"reduction": "none"})]),
        ),
        Rule(
            "1 / (1 + e^(-x)) = σ(x)",
            "stable",
            lambda x: 1.0 / (ops.exp(-x) + 1.0),
            lambda x: ops.sigmoid(x),
            reason="e^(-x) overflows below -88 in float32, and the slope becomes inf·0",
        ),
        Rule(
            "1 - σ(x) = σ(-x)",
            "stable",
            lambda x: 1.0 - ops.sigmoid(x),
            lambda x: ops.sigmoid(negated(x)),
            reason=CANCELS,
            alone=True,
        ),
        Rule(
            "ln(1 - σ(x)) = -softplus(x)",
            "stable",
            lambda x: ops.log(1.0 - ops.sigmoid(x)),
            lambda x: -ops.softplus(x),
            reason="σ(x) rounds to 1, and the logarithm of 0 is -inf",
        ),
        Rule(
            "ln σ(x) = -softplus(-x)",
            "stable",
            lambda x: ops.log(ops.sigmoid(x)),
            lambda x: -ops.softplus(negated(x)),
            reason="σ(x) underflows to 0, whose logarithm is -inf",
        ),
        Rule(
            "ln(1 + e^x) = softplus(x)",
            "stable",
            lambda x: ops.log(ops.exp(x) + 1.0),
            lambda x: ops.softplus(x),
            reason=OVERFLOW,
        ),
        Rule(
            "log1p(e^x) = softplus(x)",
            "stable",
            lambda x: ops.log1p(ops.exp(x)),
            lambda x: ops.softplus(x),
            reason=OVERFLOW,
        ),
        Rule(
            "ln(1 + x) = log1p(x)",
            "stable",
            lambda x: ops.log(x + 1.0),
            lambda x: ops.log1p(x),
            reason="1 + x rounds x away",
        ),
        Rule(
            "ln(1 - x) = log1p(-x)",
            "stable",
            lambda x: ops.log(1.0 - x),
            lambda x: ops.log1p(-x),
            reason="1 - x rounds x away",
        ),
        Rule(
            "e^x - 1 = expm1(x)", "stable", lambda x: ops.exp(x) - 1.0, lambda x: ops.expm1(x), reason=CANCELS
        ),
        Rule("ln e^x = x", "stable", lambda x: ops.log(ops.exp(x)), lambda x: x, reason=OVERFLOW),
        Rule(
            "√(x·x) = |x|", "stable", lambda x: ops.sqrt(x * x), lambda x: ops.abs(x), reason="x·x overflows"
        ),
        Rule(
            "√x² = |x|",
            "stable",
            lambda x: ops.sqrt(ops.pow(x, 2.0)),
            lambda x: ops.abs(x),
            reason="x² overflows",
        ),
        Rule(
            "mean(x²) - mean(x)² = variance(x)",
            "stable",
            lambda x, *, axes: ops.mean(x * x, axes=axes) - ops.mean(x, axes=axes) * ops.mean(x, axes=axes),
            lambda x, *, axes: ops.variance(x, axes=axes),
            reason=CANCELS,
            samples=rows_off_zero,
        ),
        Rule(
            "mean(x²) - mean(x)² = variance(x)",
            "stable",
            lambda x, *, axes: ops.mean(ops.pow(x, 2.0), axes=axes) - ops.pow(ops.mean(x, axes=axes), 2.0),
            lambda x, *, axes: ops.variance(x, axes=axes),
            reason=CANCELS,
            samples=rows_off_zero,
        ),
    ),
    tell=True,
)


def stabilize(graph: Graph, grades: Sequence[Grade] = ("exact", "stable")) -> tuple[Graph, ValueMap]:
    """Apply the rules in one sweep; `grades` without "stable" leaves the graph as it is."""
    return RULES.run(graph, grades)
