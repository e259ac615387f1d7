"""The training step as one graph: forward, loss, backward, update.

Inputs are the batch, the learning rate of each parameter group, the number of the step, the limit of the gradient
where it is clipped and, where the model draws random numbers, the seed.  Outputs are the loss and the new value of
every parameter, buffer and optimiser slot; `donate` says whose memory each of them takes over, so that a compiled step
updates in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from graphc import ops
from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance, Value
from graphc.ir.specialize import as_parameters
from graphc.ir.types import TensorType, float64
from graphc.optim import Optimizer
from graphc.optim.optimizer import number as as_number

LR, STEP = "lr", "step"
MAX_NORM, CLIP_VALUE = "max_norm", "clip_value"  # the ways to clip, and the inputs that say how far
GRAD_NORM = "grad_norm"


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A training step.

    graph    the whole step
    donate   output name -> name of the parameter it replaces; batch statistics and optimiser arrays are parameters here
    slots    name of an optimiser's array in the graph -> (parameter, slot)
    numbers  name of an input -> (what it is, such as "lr", and the parameter group)
    """

    graph: Graph
    donate: Mapping[str, str]
    slots: Mapping[str, tuple[str, str]]
    numbers: Mapping[str, tuple[str, int]]


def step_graph(
    loss: Graph,
    optimizer: Optimizer,
    updates: Mapping[str, str] | None = None,
    frozen: Collection[str] = (),
    groups: Mapping[str, int] | None = None,
    clip: str = "",
) -> StepGraph:
    """The step for a graph whose first output is the loss, a number.

    updates   output name of `loss` -> name of the buffer it is the new value of (batch statistics)
    frozen    parameters the optimiser leaves as they are
    groups    the number of each parameter's group, 0 unless given
    clip      "max_norm" or "clip_value": gradients are clipped, as far as the input of that name says

    New values are the outputs `new.NAME`, beside the loss and what else the graph returns.  With "max_norm" there is
    `grad_norm` too, the norm of the whole gradient before it was clipped.
    """
    updates = dict(updates or {})
    trained = [value.name for value in loss.parameters if value.name not in frozen]
    joint = differentiate(as_parameters(loss, updates.values()), trained, of=loss.output_names[0])
    gradients = {
        name.removeprefix("grad."): v
        for name, v in zip(joint.output_names, joint.outputs)
        if name.startswith("grad.")
    }
    builder = Builder(f"{loss.name}_step")
    builder.adopt(joint.leaves)
    builder.reserve([value.name for value in joint.values()])
    for node in joint.nodes:
        builder.append(node)
    data: dict[str, np.ndarray] = dict(joint.data)
    kept = [(n, v) for n, v in zip(joint.output_names, joint.outputs) if not n.startswith("grad.")]
    outputs = {f"new.{updates[n]}" if n in updates else n: v for n, v in kept}
    donate = {f"new.{buffer}": buffer for buffer in updates.values()}
    slots: dict[str, tuple[str, str]] = {}
    numbers: dict[str, tuple[str, int]] = {}

    def number(what: str, group: int = 0) -> Value:
        leaf = builder.leaf("input", f"{what}.{group}" if group else what, TensorType(float64, ()))
        numbers[leaf.name] = what, group
        return leaf

    with builder:
        group_of = {name: (groups or {}).get(name, 0) for name in trained}
        used = sorted(set(group_of.values()))
        rates = {group: number(LR, group) for group in used}
        views = {group: optimizer.of(group) for group in used}
        count = number(STEP)
        if clip and gradients:
            with builder.at(Provenance(role="update", made_by="optim")):
                gradients, norm = CLIPPING[clip](gradients, number(clip))
            if norm is not None:
                outputs[GRAD_NORM] = norm
        for parameter in (joint.value(name) for name in trained):
            view, lr = views[group_of[parameter.name]], rates[group_of[parameter.name]]
            held: dict[str, Value] = {}
            for slot in view.slots:
                held[slot] = builder.leaf("parameter", f"{parameter.name}.{slot}", parameter.type)
                slots[held[slot].name] = (parameter.name, slot)
                data[held[slot].name] = view.initial(slot, parameter.type.shape, parameter.dtype.numpy)
            with builder.at(Provenance(role="update", forward=parameter.name, made_by="optim")):
                new, moved = view.rule(parameter, gradients[parameter.name], held, lr, count)
            outputs[f"new.{parameter.name}"] = new
            donate[f"new.{parameter.name}"] = parameter.name
            for slot, value in moved.items():
                outputs[f"new.{held[slot].name}"] = value
                donate[f"new.{held[slot].name}"] = held[slot].name
    graph = builder.finish(list(outputs.values()), list(outputs), dims=joint.dims, data=data)
    return StepGraph(graph.with_(gradients=joint.gradients), donate, slots, numbers)


# Clipping -------------------------------------------------------------------------------------------------------------


def by_norm(gradients: Mapping[str, Value], limit: Value) -> tuple[dict[str, Value], Value | None]:
    """g · min(1, limit/(‖g‖ + 1e-6)) with the norm of all gradients together, summed in float64; and that norm."""
    total: Value | None = None
    for g in gradients.values():
        wide = ops.cast(g, dtype=float64) if g.dtype != float64 else g
        square = ops.sum(wide * wide, axes=tuple(range(g.type.rank)))
        total = square if total is None else total + square
    assert total is not None
    norm = ops.sqrt(total)
    factor = ops.minimum(limit / (norm + 1e-6), 1.0)
    return {name: g * as_number(factor, g) for name, g in gradients.items()}, norm


def by_value(gradients: Mapping[str, Value], limit: Value) -> tuple[dict[str, Value], Value | None]:
    """Each element of each gradient to at most the limit in size."""
    clipped = {}
    for name, g in gradients.items():
        most = as_number(limit, g)
        clipped[name] = ops.maximum(ops.minimum(g, most), -most)
    return clipped, None


CLIPPING: Mapping[str, Callable[..., tuple[dict[str, Value], Value | None]]] = {
    MAX_NORM: by_norm,
    CLIP_VALUE: by_value,
}
