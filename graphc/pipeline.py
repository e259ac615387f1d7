"""From a traced graph to a partition: which passes run for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.autodiff import differentiate
from graphc.ir.graph import Graph
from graphc.ir.partition import Partition
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import (
    PassLog,
    Step,
    before_autodiff,
    grades_for,
    inference_passes,
    run_passes,
    training_passes,
)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph on its way to a backend: as traced, after each pass, and grouped into kernels."""

    log: PassLog
    partition: Partition
    numerics: str

    @property
    def source(self) -> Graph:
        """As traced."""
        return self.log.before

    @property
    def graph(self) -> Graph:
        """After all passes."""
        return self.log.graph


def stabilized(graph: Graph, numerics: str = "default") -> PassLog:
    """What runs before a graph is differentiated, so that the gradient is that of the stable form."""
    return run_passes(graph, before_autodiff(grades_for(numerics)))


def gradient_graph(graph: Graph, *arguments: Any, numerics: str = "default", **options: Any) -> Graph:
    """`graphc.autodiff.differentiate` of the stable form."""
    return differentiate(stabilized(graph, numerics).graph, *arguments, **options)


def lower(graph: Graph, *, training: bool = False, numerics: str = "default") -> Lowered:
    """Run the passes of inference or training and fuse.

    training   parameters change between calls: nothing is folded into them
    numerics   "strict": only rewrites that change no bit; "default": also those that are at least as accurate;
               "fast": also those that may round differently
    """
    choose = training_passes if training else inference_passes
    log = run_passes(graph, choose(grades_for(numerics)))
    return Lowered(log, fuse(log.graph), numerics)


def lower_with_gradients(graph: Graph, *, numerics: str = "default") -> Lowered:
    """`lower` of a graph with the gradients of its parameters, as for `compile(train=True)`; the log tells it all."""
    stable = stabilized(graph, numerics)
    joint = differentiate(stable.graph)
    step = Step("differentiate", joint, {value: value for value in stable.graph.values()}, ())
    lowered = lower(joint, numerics=numerics)
    return Lowered(stable + PassLog(stable.graph, (step,)) + lowered.log, lowered.partition, numerics)
