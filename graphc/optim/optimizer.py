"""What all optimisers share: parameters, state, and one update rule in the language of the graph.

The state of a parameter `w` are arrays `w.NAME`, as `w.momentum_buffer`.  The learning rate and the
number of the step are numbers in float64, as PyTorch computes with them in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType, float64

Slots = Mapping[str, Value]


class Optimizer:
    """Base of all optimisers.

    slots    names of the arrays kept for each parameter, zero at first
    rule     (parameter, gradient, its slots, lr, step) -> (new parameter, new slots), in ops

    A subclass sets `slots` and writes `rule`; `lr` and `step` (1 in the first step) are float64 numbers in the graph.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Any], lr: float):
        self.params = [self._parameter(p) for p in params]
        if not self.params:
            raise UsageError("the optimizer got no parameters", fix="pass net.parameters()")
        if lr < 0:
            raise UsageError(f"learning rate {lr} is negative")
        self.lr = float(lr)
        self.steps = 0
        self._state: dict[int, dict[str, np.ndarray]] = {}

    def rule(
        self, p: Value, g: Value, slots: Slots, lr: Value, step: Value
    ) -> tuple[Value, Mapping[str, Value]]:
        raise NotImplementedError

    def initial(self, slot: str, shape: tuple[Any, ...], dtype: np.dtype) -> np.ndarray:
        """The array a slot begins with."""
        return np.zeros(shape, dtype)

    def state_of(self, param: Any) -> dict[str, np.ndarray]:
        """The slots of one parameter; made when first asked for."""
        array = param.array
        made = self._state.get(id(param))
        if made is None:
            made = self._state[id(param)] = {s: self.initial(s, array.shape, array.dtype) for s in self.slots}
        return made

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        from graphc.interpret import interpret

        self.steps += 1
        for param in self.params:
            if param.grad is None:
                continue
            slots = self.state_of(param)
            graph = self.graph(param.type)
            scalars = {"lr": np.asarray(self.lr), "step": np.asarray(float(self.steps))}
            arrays = {
                "p": param.array,
                "g": param.grad.array,
                **scalars,
                **{f"p.{k}": v for k, v in slots.items()},
            }
            new, *rest = interpret(graph, arrays)
            param.assign(new)
            for name, array in zip(self.slots, rest, strict=True):
                slots[name] = array

    def graph(self, kind: TensorType) -> Graph:
        """The rule for one parameter as a graph: inputs p, g, lr, step and p.SLOT; outputs in that order."""
        with Builder(type(self).__name__) as builder:
            p, g = (builder.leaf("input", name, kind) for name in ("p", "g"))
            lr, step = (builder.leaf("input", name, TensorType(float64, ())) for name in ("lr", "step"))
            slots = {s: builder.leaf("input", f"p.{s}", kind) for s in self.slots}
            new, kept = self.rule(p, g, slots, lr, step)
        return builder.finish([new, *(kept[s] for s in self.slots)], ["p", *(f"p.{s}" for s in self.slots)])

    def _parameter(self, param: Any) -> Any:
        if isinstance(param, (dict, tuple)):
            raise UsageError(
                "parameter groups are not supported",
                fix="pass one list of parameters, or use several optimizers",
            )
        return param


def number(x: Value, like: Value) -> Value:
    """A float64 number of the graph in the dtype of a parameter."""
    from graphc import ops

    return x if x.dtype == like.dtype else ops.cast(x, dtype=like.dtype)
