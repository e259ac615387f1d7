"""The training step as one graph: forward, loss, backward, update.

Inputs are the batch, the learning rate, the number of the step and, where the model draws random
numbers, the seed.  Outputs are the loss and the new value of every parameter, buffer and optimiser
slot; `donate` says whose memory each of them takes over, so that a compiled step updates in place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Provenance, Value
from graphc.ir.specialize import as_parameters
from graphc.ir.types import TensorType, float64
from graphc.optim import Optimizer

LR, STEP = "lr", "step"


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A training step.

    graph    the whole step
    donate   output name -> name of the parameter it replaces; batch statistics and optimiser arrays are parameters here
    slots    name of an optimiser's array in the graph -> (parameter, slot)
    """

    graph: Graph
    donate: Mapping[str, str]
    slots: Mapping[str, tuple[str, str]]


def step_graph(
    loss: Graph, optimizer: Optimizer, updates: Mapping[str, str] | None = None, frozen: Collection[str] = ()
) -> StepGraph:
    """The step for a graph whose first output is the loss, a number.

    updates   output name of `loss` -> name of the buffer it is the new value of (batch statistics)
    frozen    parameters the optimiser leaves as they are

    New values are the outputs `new.NAME`, beside the loss and what else the graph returns.
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
    with builder:
        lr = builder.leaf("input", LR, TensorType(float64, ()))
        count = builder.leaf("input", STEP, TensorType(float64, ()))
        for parameter in (joint.value(name) for name in trained):
            held: dict[str, Value] = {}
            for slot in optimizer.slots:
                held[slot] = builder.leaf("parameter", f"{parameter.name}.{slot}", parameter.type)
                slots[held[slot].name] = (parameter.name, slot)
                data[held[slot].name] = optimizer.initial(slot, parameter.type.shape, parameter.dtype.numpy)
            with builder.at(Provenance(role="update", forward=parameter.name, made_by="optim")):
                new, moved = optimizer.rule(parameter, gradients[parameter.name], held, lr, count)
            outputs[f"new.{parameter.name}"] = new
            donate[f"new.{parameter.name}"] = parameter.name
            for slot, value in moved.items():
                outputs[f"new.{held[slot].name}"] = value
                donate[f"new.{held[slot].name}"] = held[slot].name
    graph = builder.finish(list(outputs.values()), list(outputs), dims=joint.dims, data=data)
    return StepGraph(graph.with_(gradients=joint.gradients), donate, slots)
