"""Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc.errors import UsageError
from graphc.ir.graph import Value
from graphc.optim.optimizer import Optimizer, Option, Slots, number


class SGD(Optimizer):
    """p ← p - lr·d, with d = g + weight_decay·p and, with momentum μ, b ← μ·b + d, d = b (Nesterov: d + μ·b).

    Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning, 2013,
    in the form PyTorch uses.
    """

    momentum, dampening, weight_decay, nesterov = Option(), Option(), Option(), Option()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def check(self) -> None:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise UsageError("Nesterov's momentum needs momentum > 0 and no dampening")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        from graphc import ops

        d = g + p * self.weight_decay if self.weight_decay else g
        kept: dict[str, Value] = {}
        if self.momentum:
            b = slots["momentum_buffer"] * self.momentum
            if self.dampening:  # the first step takes the gradient whole, as PyTorch does
                share = ops.where(step > 1.0, 1.0 - self.dampening, ops.div(step, step))
                b = b + d * number(share, p)
            else:
                b = b + d
            kept["momentum_buffer"] = b
            d = d + b * self.momentum if self.nesterov else b
        return p - d * number(lr, p), kept
