"""LAMB: Adam whose step for each layer is as long as the layer's weights are large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc import ops
from graphc.ir.graph import Value
from graphc.optim.optimizer import Optimizer, Option, Slots, number


class LAMB(Optimizer):
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², r = m̂/(√v̂ + eps) + weight_decay·p, p ← p - lr·(‖p‖/‖r‖)·r.

    m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ); the ratio is 1 where a norm is 0.
    You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020.  PyTorch has no LAMB.
    """

    betas, eps, weight_decay = Option(), Option(), Option()
    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        first, second = self.betas
        m = slots["exp_avg"] * first + g * (1.0 - first)
        v = slots["exp_avg_sq"] * second + g * g * (1.0 - second)
        mean = m / number(1.0 - ops.pow(first, step), p)
        spread = v / number(1.0 - ops.pow(second, step), p)
        r = mean / (ops.sqrt(spread) + self.eps)
        if self.weight_decay:
            r = r + p * self.weight_decay
        of_weights, of_step = length(p), length(r)
        both = ops.logical_and(ops.greater(of_weights, 0.0), ops.greater(of_step, 0.0))
        ratio = ops.where(both, of_weights / ops.where(both, of_step, 1.0), 1.0)
        return p - r * (ratio * number(lr, p)), {"exp_avg": m, "exp_avg_sq": v}


def length(x: Value) -> Value:
    """√Σx²"""
    return ops.sqrt(ops.sum(x * x, axes=tuple(range(x.type.rank))))
