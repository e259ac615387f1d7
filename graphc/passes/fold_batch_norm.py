"""Batch norm of inference folded into the weights of the convolution or linear layer before it.

With f = scale/√(variance + ε), every output channel o of a convolution obeys

    f·(Σ w·x + b - mean) + shift  =  Σ (f·w)·x + (f·(b - mean) + shift)

The new weights are written as float64 formulas and rounded once; `fold_constants` then computes them.  The rule
is graded stable: the result stays within the contraction's own bound k·eps·Σ|w||x|, with fewer roundings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import ValueMap
from graphc.ir.types import float64
from graphc.ops.normalization import per_channel
from graphc.passes.index_maps import number_of
from graphc.passes.rules import Grade, Rule, RuleSet, spread


def factor(scale: Value, variance: Value, epsilon: float) -> Value:
    """f = scale/√(variance + ε) in float64."""
    return ops.cast(scale, dtype=float64) / ops.sqrt(ops.cast(variance, dtype=float64) + epsilon)


def scaled(w: Value, f: Value) -> Value:
    """f·w, f belonging to the first axis of w."""
    columns = ops.broadcast_to(ops.reshape(f, shape=(*f.shape, *(1,) * (w.type.rank - 1))), shape=w.shape)
    return ops.cast(ops.cast(w, dtype=float64) * columns, dtype=w.dtype)


def moved(bias: Value | None, mean: Value, shift: Value, f: Value) -> Value:
    """f·(b - mean) + shift"""
    mean64 = ops.cast(mean, dtype=float64)
    offset = -mean64 if bias is None else ops.cast(bias, dtype=float64) - mean64
    return ops.cast(offset * f + ops.cast(shift, dtype=float64), dtype=shift.dtype)


def convolved(
    x: Value, w: Value, b: Value | None, rest: Sequence[Value], epsilon: float, attributes: dict
) -> Value:
    scale, shift, mean, variance = rest
    f = factor(scale, variance, epsilon)
    y = ops.conv(x, scaled(w, f), **attributes)
    return y + per_channel(moved(b, mean, shift, f), y)


def linear(x: Value, w: Value, b: Value | None, rest: Sequence[Value], epsilon: float) -> Value:
    scale, shift, mean, variance = rest
    f = factor(scale, variance, epsilon)
    return ops.linear(x, scaled(w, f), moved(b, mean, shift, f))


CONV = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def statistics(rng: np.random.Generator, channels: int) -> tuple[np.ndarray, ...]:
    scale, shift, mean = rng.normal(size=(3, channels))
    return scale, shift, mean, rng.uniform(0.5, 2.0, channels)


def conv_samples(*, bias: bool) -> Any:
    def draw() -> Iterator[tuple[tuple, dict]]:
        rng = np.random.default_rng(5)
        x, w = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(5, 3, 3, 3))
        biases = (rng.normal(size=5),) if bias else ()
        axes = {"axes": (0, 2, 3)} if bias else {}
        yield (x, w, *biases, *statistics(rng, 5)), {**CONV, **axes, "epsilon": 1e-5}

    return draw


def linear_samples(*, bias: bool) -> Any:
    def draw() -> Iterator[tuple[tuple, dict]]:
        rng = np.random.default_rng(5)
        x, w = rng.normal(size=(6, 7)), rng.normal(size=(4, 7))
        biases = (rng.normal(size=4),) if bias else ()
        yield (x, w, *biases, *statistics(rng, 4)), {"epsilon": 1e-5}

    return draw


def biased(y: Any, b: Any, axes: Any) -> Any:
    return y + spread(b, y, axes)


RULES = RuleSet(
    "fold_batch_norm",
    (
        Rule(
            "BN(w ∗ x) = (f·w) ∗ x + (shift - f·mean)",
            "stable",
            lambda x, w, scale, shift, mean, variance, *, strides, padding, dilation, groups, epsilon: (
                ops.batch_norm(
                    ops.conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups),
                    scale,
                    shift,
                    mean,
                    variance,
                    epsilon=epsilon,
                )
            ),
            lambda x, w, *rest, epsilon, **attributes: convolved(x, w, None, rest, epsilon, attributes),
            samples=conv_samples(bias=False),
        ),
        Rule(
            "BN(w ∗ x + b) = (f·w) ∗ x + (f·(b - mean) + shift)",
            "stable",
            lambda x, w, b, scale, shift, mean, variance, *, strides, padding, dilation, groups, epsilon, axes: (
                ops.batch_norm(
                    biased(
                        ops.conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups),
                        b,
                        axes,
                    ),
                    scale,
                    shift,
                    mean,
                    variance,
                    epsilon=epsilon,
                )
            ),
            lambda x, w, b, *rest, epsilon, axes, **attributes: (
                convolved(x, w, b, rest, epsilon, attributes) if 1 not in axes else None
            ),
            samples=conv_samples(bias=True),
        ),
        Rule(
            "BN(x·wᵀ) = x·(f·w)ᵀ + (shift - f·mean)",
            "stable",
            lambda x, w, scale, shift, mean, variance, *, epsilon: ops.batch_norm(
                ops.linear(x, w), scale, shift, mean, variance, epsilon=epsilon
            ),
            lambda x, w, *rest, epsilon: linear(x, w, None, rest, epsilon) if x.type.rank == 2 else None,
            samples=linear_samples(bias=False),
        ),
        Rule(
            "BN(x·wᵀ + b) = x·(f·w)ᵀ + (f·(b - mean) + shift)",
            "stable",
            lambda x, w, b, scale, shift, mean, variance, *, epsilon: ops.batch_norm(
                ops.linear(x, w, b), scale, shift, mean, variance, epsilon=epsilon
            ),
            lambda x, w, b, *rest, epsilon: linear(x, w, b, rest, epsilon) if x.type.rank == 2 else None,
            samples=linear_samples(bias=True),
        ),
    ),
)


def fold_batch_norm(graph: Graph, grades: Sequence[Grade] = ("exact", "stable")) -> tuple[Graph, ValueMap]:
    """Fold where the weights and statistics are known arrays and nothing else reads what comes before the norm."""

    def may_fold(node: Node, found: Mapping[str, Any]) -> bool:
        weights = (found[name] for name in found if name != "x")
        known = all(_is_known(graph, v) for v in weights if isinstance(v, Value))
        return known and _alone(graph, node.inputs[0])

    return RULES.run(graph, grades, may_fold)


def _is_known(graph: Graph, value: Value) -> bool:
    return (value.leaf != "input" and value.name in graph.data) or number_of(value) is not None


def _alone(graph: Graph, value: Value) -> bool:
    """Whether only the norm reads the layer before it, at every step of it."""
    while value.node is not None and value.node.op.name in ("conv", "linear", "add"):
        if len(graph.users[value]) != 1 or value in graph.outputs:
            return False
        if value.node.op.name != "add":
            return True
        before = [v for v in value.node.inputs if v.node is not None and v.node.op.name == "conv"]
        if not before:
            return False
        value = before[0]
    return False
