"""The training step as one graph: forward, loss, backward, update.

    inputs      the model's, then the loss's targets; `seed` when something draws random numbers; `lr` (`lr.1` ... of further groups)
    parameters  the model's parameters, the buffers that change, the optimizer's state
    outputs     `loss`, then `new.` and its name for each of those that changes

`updates` pairs every leaf that changes with the output that is its new value, so that the runtime may write it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.autodiff import differentiate
from graphc.errors import UsageError
from graphc.frontends.python.tracer import InputType, Ranges, name_of, trace_twice
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.rewriter import prune
from graphc.ir.types import TensorType, dtype_of
from graphc.ir.verifier import verify
from graphc.nn import Module, Parameter
from graphc.optim import Optimizer
from graphc.tensor import Recording, Tensor

STEP = "state.step"


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """A training step.

    graph    see the module's text; `graph.data` holds the values to start from
    updates  name of a leaf that changes -> name of the output that is its new value
    rates    names of the inputs that are learning rates, one for each group of the optimizer
    tensors  name of a leaf -> the model's tensor it stands for, to write trained values back to
    slots    name of a leaf of the optimizer's state -> (parameter, slot), to write its state back to
    """

    graph: Graph
    updates: Mapping[str, str]
    rates: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    slots: Mapping[str, tuple[Tensor, str]]
    optimizer: Optimizer

    def write_back(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Give the model and the optimizer the values of the leaves that change."""
        for name, array in arrays.items():
            if name in self.tensors:
                self.tensors[name].data = array
            elif name == STEP:
                self.optimizer.steps = int(array)
            elif name in self.slots:
                parameter, slot = self.slots[name]
                self.optimizer.state.setdefault(id(parameter), {})[slot] = np.array(array)


def training_step(
    model: Module,
    loss: Callable[..., Any],
    optimizer: Optimizer,
    inputs: Mapping[str, InputType],
    targets: Mapping[str, InputType],
    *,
    dims: Ranges | None = None,
) -> TrainingStep:
    """The graph of one step: trace model and loss in training mode, differentiate, append the updates.

    `loss(outputs of the model, *targets)` gives one number.  Parameters the optimizer does not hold stay as they are.
    """
    clash = sorted(set(inputs) & set(targets))
    if clash:
        raise UsageError(f"an input and a target are both called {clash[0]}", fix="give the target another name")

    def forward_and_loss(**tensors: Any) -> dict[str, Any]:
        outputs = model(**{name: tensors[name] for name in inputs})
        given = outputs if isinstance(outputs, tuple) else (outputs,)
        value = loss(*given, *(tensors[name] for name in targets))
        if not isinstance(value, Tensor) or value.ndim != 0 or not value.type.dtype.is_float:
            shown = str(value.type) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"the loss is {shown}, not one number", fix='take its mean: reduction="mean"')
        return {"loss": value}

    types = {**inputs, **targets}
    with _training(model):
        forward = trace_twice(
            forward_and_loss, model, model, types, dims=dims, training=True, name=f"{name_of(model)}_step"
        )
    groups = {id(p): number for number, group in enumerate(optimizer.param_groups) for p in group["params"]}
    own = {name: p for name, p in model.named_parameters() if id(p) in groups and name in forward.by_name}
    if not own:
        raise UsageError("the optimizer holds none of the parameters this model uses", fix="pass model.parameters()")
    changing = {name: tensor for name, tensor in model.named_buffers() if f"new.{name}" in forward.output_names}
    joint = differentiate(forward, list(own), of="loss")
    return _with_updates(joint, optimizer, own, {name: groups[id(p)] for name, p in own.items()}, changing)


@contextmanager
def _training(model: Module) -> Iterator[None]:
    if not any(module._training for module in model.modules()):
        model.train()
        try:
            yield
        finally:
            model.eval()
    else:
        yield


def _with_updates(
    joint: Graph,
    optimizer: Optimizer,
    own: Mapping[str, Parameter],
    groups: Mapping[str, int],
    changing: Mapping[str, Tensor],
) -> TrainingStep:
    """Append the optimizer's rule, and make every leaf that changes a parameter."""
    trace = Recording(joint.name)
    builder = trace.builder = Builder(joint.name)
    moved = {value: _as_parameter(value) for value in joint.constants if value.name in changing}
    builder.adopt(joint.inputs)
    builder.adopt(joint.parameters + tuple(moved.values()))
    builder.adopt([value for value in joint.constants if value not in moved])
    builder.reserve([value.name for value in joint.values()])
    copies: dict[Value, Value] = {value: value for value in joint.leaves} | moved
    for node in joint.nodes:
        inputs = [copies[v] for v in node.inputs]
        if tuple(inputs) == node.inputs:
            builder.append(node)
            copies.update(zip(node.outputs, node.outputs, strict=True))
        else:
            made = _copy(node, inputs)
            builder.append(made)
            copies.update(zip(node.outputs, made.outputs, strict=True))
    outputs = dict(zip(joint.output_names, (copies[v] for v in joint.outputs), strict=True))

    data = dict(joint.data)
    slots: dict[str, tuple[Tensor, str]] = {}
    results: dict[str, Value] = {"loss": outputs["loss"]}
    updates: dict[str, str] = {}

    def leaf(name: str, array: np.ndarray) -> Tensor:
        value = builder.leaf("parameter", name, TensorType(dtype_of(array), array.shape))
        data[value.name] = array
        return trace.wrap(value)

    def changes(name: str, value: Value) -> None:
        if value.node is not None and value.node.provenance.role == "update":
            builder.rename(value, f"new.{name}")
        results[f"new.{name}"] = value
        updates[name] = f"new.{name}"

    with trace.running():
        trace.role, trace.depth = "update", 1  # no name of the user's program means these values
        rates = tuple("lr" if i == 0 else f"lr.{i}" for i in range(len(optimizer.param_groups)))
        scalar = TensorType(dtype_of("float64"), ())
        rate_tensors = [trace.wrap(builder.leaf("input", name, scalar)) for name in rates]
        count = leaf(STEP, np.asarray(float(optimizer.steps)))
        step = count + 1.0
        params = {name: trace.wrap(copies[joint.by_name[name]]) for name in own}
        grads = {name: trace.wrap(outputs[f"grad.{name}"]) for name in own}
        state: dict[str, dict[str, Any]] = {}
        for name, parameter in own.items():
            options = optimizer.param_groups[groups[name]]
            arrays = optimizer.state.get(id(parameter)) or optimizer.initial(parameter, options)
            state[name] = {slot: leaf(f"state.{name}.{slot}", array) for slot, array in arrays.items()}
            slots.update({f"state.{name}.{slot}": (parameter, slot) for slot in arrays})
        new_params, new_state = optimizer.update(params, grads, state, step, rate_tensors, groups, trace.within)
    for name in own:
        changes(name, new_params[name].value)
    for name in changing:
        changes(name, outputs[f"new.{name}"])
    for name, parts in new_state.items():
        for slot, tensor in parts.items():
            changes(f"state.{name}.{slot}", tensor.value)
    changes(STEP, step.value)
    graph = builder.finish(list(results.values()), list(results), dims=joint.dims, data=data)
    forward = {copies[joint.by_name[a]].name: copies[joint.by_name[b]].name for a, b in joint.gradients.items()}
    graph = prune(graph.with_(gradients=forward))
    tensors: dict[str, Tensor] = {**own, **changing}
    return TrainingStep(verify(graph), updates, rates, tensors, slots, optimizer)


def _as_parameter(value: Value) -> Value:
    return Value(value.name, value.type, leaf="parameter")


def _copy(node: Any, inputs: list[Value]) -> Any:
    from graphc.ir.graph import Node

    types, names = tuple(v.type for v in node.outputs), tuple(v.name for v in node.outputs)
    return Node(node.op, tuple(inputs), node.attributes, types, names, node.provenance)

