"""Optimizer: what the update rules share.

A rule says once, on tensors, how a parameter, its gradient and its state give their new values.  `step()` runs it on the
gradients that `backward()` left; a compiled training step has the same rule inside its graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.ir.types import DType
from graphc.source import user_span
from graphc.tensor import Tensor
from graphc.tensor import functions as f
from graphc.tensor.lazy import evaluate

State = dict[str, Any]


class Optimizer:
    """Base class: holds the parameters in groups, their state, and the number of steps.

    `param_groups` are dictionaries as in PyTorch, with the parameters under "params" beside their options; changing
    `group["lr"]` changes the next step.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]):
        given = list(params)
        if not given:
            raise UsageError("the optimizer got no parameters", span=user_span(), fix="pass model.parameters()")
        groups = given if isinstance(given[0], dict) else [{"params": given}]
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, dict[str, np.ndarray]] = {}
        self.steps = 0
        seen: set[int] = set()
        for group in groups:
            chosen = group["params"]
            parameters = [chosen] if isinstance(chosen, Tensor) else list(chosen)
            unknown = sorted(set(group) - set(defaults) - {"params"})
            if unknown:
                raise UsageError(f"{type(self).__name__} has no option {unknown[0]}", span=user_span())
            for parameter in parameters:
                if not isinstance(parameter, Tensor) or not parameter.is_leaf:
                    kind = type(parameter).__name__
                    raise UsageError(f"a {kind} is not a parameter", span=user_span(), fix="pass model.parameters()")
                if id(parameter) in seen:
                    raise UsageError("a parameter stands in two groups", span=user_span())
                seen.add(id(parameter))
            options = {**self.defaults, **group, "params": parameters}
            self.check(options)
            self.param_groups.append(options)

    # What a rule says ------------------------------------------------------------------------------------------------

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise UsageError when an option is out of its range."""
        for name, value in options.items():
            if name in ("lr", "eps", "weight_decay", "momentum", "lr_decay") and not value >= 0:
                raise UsageError(f"{name}={value} must not be negative", span=user_span())
            if name == "betas" and not all(0 <= beta < 1 for beta in value):
                raise UsageError(f"betas={value} must lie in [0, 1)", span=user_span())

    def slots(self, options: Mapping[str, Any]) -> dict[str, float]:
        """Names and initial values of the arrays kept for each parameter."""
        return {}

    def shared(self, lr: Any, step: Any, dtype: DType, options: Mapping[str, Any]) -> State:
        """Numbers all parameters of a group share: `lr`, and what follows from the number of the step."""
        return {"lr": lr}

    def rule(self, p: Any, g: Any, s: State, c: State, options: Mapping[str, Any]) -> tuple[Any, State]:
        """New parameter and new state from parameter, gradient and state.

        `c` is what `shared` gave, of the parameter's dtype.
        """
        raise NotImplementedError

    def update(
        self,
        params: Mapping[str, Any],
        grads: Mapping[str, Any],
        state: Mapping[str, State],
        step: Any,
        rates: Sequence[Any] | None = None,
        group_of: Mapping[str, int] | None = None,
        within: Callable[[str], AbstractContextManager[None]] = nullcontext,
    ) -> tuple[dict[str, Any], dict[str, State]]:
        """New parameters and new state, by name, written with operations on tensors.

        `step` counts from 1 (float64).  `rates` are the learning rates of the groups as float64 tensors, by default the
        groups' own numbers; `within` is entered with the path of each parameter's module.
        """
        new_params: dict[str, Any] = {}
        new_state: dict[str, State] = {}
        common: dict[tuple[int, DType], State] = {}
        for name, p in params.items():
            number = group_of[name] if group_of else 0
            options, dtype = self.param_groups[number], p.type.dtype
            if (number, dtype) not in common:
                lr = options["lr"] if rates is None else f.cast(rates[number], dtype)
                common[number, dtype] = self.shared(lr, step, dtype, options)
            with within(name.rpartition(".")[0]):
                one = self.rule(p, grads[name], dict(state[name]), common[number, dtype], options)
            new_params[name], new_state[name] = one
        return new_params, new_state

    # The eager loop --------------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def initial(self, parameter: Tensor, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The state of a parameter before the first step."""
        shape = parameter.array.shape
        return {name: np.full(shape, start, parameter.dtype) for name, start in self.slots(options).items()}

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        self.steps += 1
        params: dict[str, Any] = {}
        group_of: dict[str, int] = {}
        for number, group in enumerate(self.param_groups):
            for parameter in group["params"]:
                if parameter.grad is not None:
                    name = str(len(params))
                    params[name], group_of[name] = parameter, number
                    if id(parameter) not in self.state:
                        self.state[id(parameter)] = self.initial(parameter, group)
        state = {
            name: {slot: Tensor.of_array(array) for slot, array in self.state[id(p)].items()}
            for name, p in params.items()
        }
        grads = {name: p.grad for name, p in params.items()}
        count = Tensor(np.float64(self.steps))
        new_params, new_state = self.update(params, grads, state, count, group_of=group_of)
        wanted = [*new_params.values(), *(t for slots in new_state.values() for t in slots.values())]
        arrays = iter(evaluate([tensor.value for tensor in wanted]))
        for parameter in params.values():
            parameter.data = next(arrays)
        for name, slots in new_state.items():
            self.state[id(params[name])] = {slot: next(arrays) for slot in slots}

    def state_dict(self) -> dict[str, np.ndarray]:
        """The state as arrays: `step`, and `<number of the parameter>.<slot>`."""
        result: dict[str, np.ndarray] = {"step": np.asarray(float(self.steps))}
        for number, (parameter, options) in enumerate(self._all()):
            slots = self.state.get(id(parameter)) or self.initial(parameter, options)
            result.update({f"{number}.{slot}": array for slot, array in slots.items()})
        return result

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave.  Raises UsageError when it is that of another optimizer."""
        own = self.state_dict()
        if set(own) != set(state) or any(np.shape(state[name]) != own[name].shape for name in own):
            raise UsageError(f"this is not the state of this {type(self).__name__}", span=user_span())
        self.steps = int(state["step"])
        for number, (parameter, options) in enumerate(self._all()):
            self.state[id(parameter)] = {
                slot: np.array(state[f"{number}.{slot}"], parameter.dtype) for slot in self.slots(options)
            }

    def _all(self) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(parameter, group) for group in self.param_groups for parameter in group["params"]]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.defaults.items())
        return f"{type(self).__name__}({options})"
