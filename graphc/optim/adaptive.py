"""Optimisers with a step size of its own for each weight: Adagrad, RMSprop, Adam, AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.graph import Value
from graphc.optim.optimizer import Optimizer, Option, Slots, number


class Adagrad(Optimizer):
    """s ← s + g², p ← p - lr/(1 + (t-1)·lr_decay) · g/(√s + eps).  Duchi, Hazan and Singer, 2011."""

    lr_decay, weight_decay, initial_accumulator_value, eps = Option(), Option(), Option(), Option()
    slots = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ):
        super().__init__(
            params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps,
        )  # fmt: skip

    def initial(self, slot: str, shape: tuple[Any, ...], dtype: np.dtype) -> np.ndarray:
        return np.full(shape, self.initial_accumulator_value, dtype)

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        d = g + p * self.weight_decay if self.weight_decay else g
        s = slots["sum"] + d * d
        rate = lr / (1.0 + (step - 1.0) * self.lr_decay) if self.lr_decay else lr
        return p - d / (ops.sqrt(s) + self.eps) * number(rate, p), {"sum": s}


class RMSprop(Optimizer):
    """v ← α·v + (1-α)·g², p ← p - lr·g/(√v + eps).

    `centered` subtracts the squared mean of g from v; momentum is added on top.
    Tieleman and Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012.
    """

    alpha, eps, weight_decay, momentum, centered = Option(), Option(), Option(), Option(), Option()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
        )

    @property
    def slots(self) -> tuple[str, ...]:
        more = {"grad_avg": self.centered, "momentum_buffer": self.momentum}
        return ("square_avg", *(name for name in more if more[name]))

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        d = g + p * self.weight_decay if self.weight_decay else g
        v = slots["square_avg"] * self.alpha + d * d * (1.0 - self.alpha)
        kept = {"square_avg": v}
        spread = v
        if self.centered:
            mean = slots["grad_avg"] * self.alpha + d * (1.0 - self.alpha)
            kept["grad_avg"] = mean
            spread = v - mean * mean
        move = d / (ops.sqrt(spread) + self.eps)
        if self.momentum:
            move = slots["momentum_buffer"] * self.momentum + move
            kept["momentum_buffer"] = move
        return p - move * number(lr, p), kept


class Adam(Optimizer):
    """m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², p ← p - lr/(1-β₁ᵗ) · m/(√v/√(1-β₂ᵗ) + eps).

    Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015.  `weight_decay` adds weight_decay·p to g.
    """

    betas, eps, weight_decay = Option(), Option(), Option()
    slots = ("exp_avg", "exp_avg_sq")
    decoupled = False  # whether weight decay acts on the weights themselves

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        first, second = self.betas
        if self.weight_decay and self.decoupled:
            p = p * number(1.0 - lr * self.weight_decay, p)
        elif self.weight_decay:
            g = g + p * self.weight_decay
        m = slots["exp_avg"] * first + g * (1.0 - first)
        v = slots["exp_avg_sq"] * second + g * g * (1.0 - second)
        rate = lr / (1.0 - ops.pow(first, step))
        scale = ops.sqrt(1.0 - ops.pow(second, step))
        denominator = ops.sqrt(v) / number(scale, p) + self.eps
        return p - m / denominator * number(rate, p), {"exp_avg": m, "exp_avg_sq": v}


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves: p ← (1 - lr·weight_decay)·p first.

    Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
