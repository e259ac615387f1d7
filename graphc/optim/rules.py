"""The update rules: SGD, Adagrad, RMSprop, Adam, AdamW, with PyTorch's names, defaults and formulas.

p is a parameter, g its gradient, λ the weight decay, η the learning rate, t the number of the step from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc.errors import UsageError
from graphc.ir.types import DType
from graphc.optim.optimizer import Optimizer, State
from graphc.source import user_span
from graphc.tensor import functions as f


def _decayed(p: Any, g: Any, options: Mapping[str, Any]) -> Any:
    """The gradient of the loss plus λ/2·p²."""
    return g + p * options["weight_decay"] if options["weight_decay"] else g


def _mixed(old: Any, new: Any, weight: float) -> Any:
    """The moving average: weight·old + (1 - weight)·new."""
    return old * weight + new * (1 - weight)


class SGD(Optimizer):
    """Stochastic gradient descent: g ← g + λp; v ← μv + (1 - τ)g; p ← p - ηv, or p - η(g + μv) with Nesterov's.

    Polyak 1964 (momentum μ), Nesterov 1983; Sutskever, Martens, Dahl and Hinton 2013 for the form with v.  In the first step v = g.
    """

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
            {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov},
        )

    def check(self, options: Mapping[str, Any]) -> None:
        super().check(options)
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise UsageError("Nesterov's momentum needs momentum > 0 and dampening 0", span=user_span())

    def slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if options["momentum"] else {}

    def rule(self, p: Any, g: Any, s: State, c: State, options: Mapping[str, Any]) -> tuple[Any, State]:
        momentum, dampening = options["momentum"], options["dampening"]
        g = _decayed(p, g, options)
        if momentum:
            v = s["momentum_buffer"] * momentum + g * (1 - dampening)
            if dampening:
                v = f.where(f.broadcast_to(c["first"], p.type.shape), g, v)
            s["momentum_buffer"] = v
            g = g + v * momentum if options["nesterov"] else v
        return p - g * c["lr"], s

    def shared(self, lr: Any, step: Any, dtype: DType, options: Mapping[str, Any]) -> State:
        return {"lr": lr, "first": step == 1.0} if options["dampening"] else {"lr": lr}


class Adagrad(Optimizer):
    """s ← s + g²; p ← p - η/(1 + (t - 1)·decay)·g/(√s + ε).  Duchi, Hazan and Singer 2011."""

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
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
            },
        )

    def slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": options["initial_accumulator_value"]}

    def rule(self, p: Any, g: Any, s: State, c: State, options: Mapping[str, Any]) -> tuple[Any, State]:
        g = _decayed(p, g, options)
        s["sum"] = s["sum"] + g * g
        return p - g / (f.sqrt(s["sum"]) + options["eps"]) * c["lr"], s

    def shared(self, lr: Any, step: Any, dtype: DType, options: Mapping[str, Any]) -> State:
        if not options["lr_decay"]:
            return {"lr": lr}
        return {"lr": f.cast(1.0 / ((step - 1.0) * options["lr_decay"] + 1.0), dtype) * lr}


class RMSprop(Optimizer):
    """s ← αs + (1 - α)g²; p ← p - ηg/(√s + ε).  Tieleman and Hinton 2012; centered: √(s - a²) with the moving average a of g."""

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
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
            },
        )

    def slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        names = ["square_avg"]
        names += ["grad_avg"] if options["centered"] else []
        names += ["momentum_buffer"] if options["momentum"] else []
        return dict.fromkeys(names, 0.0)

    def rule(self, p: Any, g: Any, s: State, c: State, options: Mapping[str, Any]) -> tuple[Any, State]:
        g = _decayed(p, g, options)
        square = s["square_avg"] = _mixed(s["square_avg"], g * g, options["alpha"])
        if options["centered"]:
            average = s["grad_avg"] = _mixed(s["grad_avg"], g, options["alpha"])
            square = square - average * average
        direction = g / (f.sqrt(square) + options["eps"])
        if options["momentum"]:
            direction = s["momentum_buffer"] = s["momentum_buffer"] * options["momentum"] + direction
        return p - direction * c["lr"], s


class Adam(Optimizer):
    """m ← β₁m + (1 - β₁)g; v ← β₂v + (1 - β₂)g²; p ← p - η·(m/(1 - β₁ᵗ))/(√(v/(1 - β₂ᵗ)) + ε).

    Kingma and Ba 2015; amsgrad takes the largest v so far: Reddi, Kale and Kumar 2018.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        )

    def slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if options["amsgrad"] else [])
        return dict.fromkeys(names, 0.0)

    def rule(self, p: Any, g: Any, s: State, c: State, options: Mapping[str, Any]) -> tuple[Any, State]:
        beta1, beta2 = options["betas"]
        if self.decoupled:
            p = p * (1.0 - c["lr"] * options["weight_decay"]) if options["weight_decay"] else p
        else:
            g = _decayed(p, g, options)
        m = s["exp_avg"] = _mixed(s["exp_avg"], g, beta1)
        v = s["exp_avg_sq"] = _mixed(s["exp_avg_sq"], g * g, beta2)
        if options["amsgrad"]:
            v = s["max_exp_avg_sq"] = f.maximum(s["max_exp_avg_sq"], v)
        return p - m / (f.sqrt(v) / c["root"] + options["eps"]) * c["rate"], s

    def shared(self, lr: Any, step: Any, dtype: DType, options: Mapping[str, Any]) -> State:
        # in float64, for 1 - 0.999 in float32 is off by 1e-5
        first, second = (f.cast(1.0 - f.pow(beta, step), dtype) for beta in options["betas"])
        return {"lr": lr, "rate": lr / first, "root": f.sqrt(second)}


class AdamW(Adam):
    """Adam with the decay apart from the gradient: p ← p - ηλp before the step.  Loshchilov and Hutter 2019."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
