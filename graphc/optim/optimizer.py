"""What all optimisers share: parameters, state, and one update rule in the language of the graph.

The state of a parameter `w` are arrays `w.NAME`, as `w.momentum_buffer`.  The learning rate and the
number of the step are numbers in float64, as PyTorch computes with them in Python.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from graphc.errors import UsageError, nearest
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType, float64
from graphc.tensor import Tensor

Slots = Mapping[str, Value]


class Option:
    """A setting of an optimiser: read from its first group, set in all of them."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        return self if optimizer is None else optimizer.param_groups[0][self.name]

    def __set__(self, optimizer: Any, value: Any) -> None:
        for group in optimizer.param_groups:
            group[self.name] = value


class Optimizer:
    """Base of all optimisers.

    param_groups   dictionaries of `params` and of every setting; each group has its own
    lr             of the first group; setting it sets all groups
    steps          how many were taken

    A subclass declares its settings as `Option`s, hands their values to `super().__init__`, and writes

    slots    names of the arrays kept for each parameter, zero at first
    rule     (parameter, gradient, its slots, lr, step) -> (new parameter, new slots), in ops

    where `self` has the settings of the parameter's group; `lr` and `step` (1 in the first step) are float64 numbers in
    the graph.

    >>> from graphc import nn, optim
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    >>> groups = [{"params": net[0].parameters(), "lr": 1e-3}, {"params": net[1].parameters()}]
    >>> optimizer = optim.SGD(groups, lr=0.1, momentum=0.9)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.001, 0.1]
    """

    lr = Option()

    def __init__(self, params: Iterable[Any], **defaults: Any):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.steps = 0
        self._state: dict[int, dict[str, np.ndarray]] = {}
        given: list[Any] = [params] if isinstance(params, Tensor) else list(params)
        for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """One more group: a dictionary of `params` and of the settings that differ from the optimiser's own.

        Raises UsageError for settings there are not, no parameters, and parameters of another group.
        """
        unknown = sorted(set(group) - {"params", *self.defaults})
        if unknown or "params" not in group:
            wrong = (
                f"has no setting {unknown[0]}{nearest(unknown[0], self.defaults)}"
                if unknown
                else "needs params"
            )
            raise UsageError(
                f"a parameter group of {type(self).__name__} {wrong}",
                fix=", ".join(("params", *self.defaults)),
            )
        given = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        found = [one[1] if isinstance(one, tuple) and len(one) == 2 else one for one in given]
        if not found:
            raise UsageError("the optimizer got no parameters", fix="pass net.parameters()")
        if {id(p) for p in found} & {id(p) for p in self.params} or len({id(p) for p in found}) < len(found):
            raise UsageError("a parameter stands twice in the optimizer")
        self.param_groups.append(
            {"params": found, **self.defaults, **{k: group[k] for k in group if k != "params"}}
        )
        view = self.of(len(self.param_groups) - 1)
        if view.lr < 0:
            raise UsageError(f"learning rate {view.lr} is negative")
        view.check()

    def check(self) -> None:
        """Raises UsageError for settings that make no sense together."""

    @property
    def params(self) -> list[Any]:
        """The parameters of all groups."""
        return [param for group in self.param_groups for param in group["params"]]

    @property
    def slots(self) -> tuple[str, ...]:
        return ()

    def of(self, number: int) -> Self:
        """This optimiser with the settings of one group."""
        view = copy.copy(self)
        view.param_groups = [self.param_groups[number]]
        return view

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
            (number,) = (
                i for i, group in enumerate(self.param_groups) if any(p is param for p in group["params"])
            )
            view = self.of(number)
            made = self._state[id(param)] = {s: view.initial(s, array.shape, array.dtype) for s in view.slots}
        return made

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for param in self.params:
            param.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient, in place."""
        from graphc.interpret import interpret

        self.steps += 1
        for view in map(self.of, range(len(self.param_groups))):
            scalars = {"lr": np.asarray(float(view.lr)), "step": np.asarray(float(self.steps))}
            for param in view.params:
                if param.grad is None:
                    continue
                slots = self.state_of(param)
                arrays = {
                    "p": param.array,
                    "g": param.grad.array,
                    **scalars,
                    **{f"p.{k}": v for k, v in slots.items()},
                }
                new, *rest = interpret(view.graph(param.type), arrays)
                param.assign(new)
                for name, array in zip(view.slots, rest, strict=True):
                    slots[name] = array

    def graph(self, kind: TensorType) -> Graph:
        """The rule for one parameter as a graph: inputs p, g, lr, step and p.SLOT; outputs in that order."""
        with Builder(type(self).__name__) as builder:
            p, g = (builder.leaf("input", name, kind) for name in ("p", "g"))
            lr, step = (builder.leaf("input", name, TensorType(float64, ())) for name in ("lr", "step"))
            slots = {s: builder.leaf("input", f"p.{s}", kind) for s in self.slots}
            new, kept = self.rule(p, g, slots, lr, step)
        return builder.finish([new, *(kept[s] for s in self.slots)], ["p", *(f"p.{s}" for s in self.slots)])


def number(x: Value, like: Value) -> Value:
    """A float64 number of the graph in the dtype of a parameter."""
    from graphc import ops

    return x if x.dtype == like.dtype else ops.cast(x, dtype=like.dtype)
