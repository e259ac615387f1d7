"""From a traced graph to a partition: which passes run for what."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.ir.partition import Partition
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import PassLog, inference_passes, run_passes, training_passes


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph on its way to a backend: as traced, after each pass, and grouped into kernels."""

    source: Graph
    log: PassLog
    partition: Partition

    @property
    def graph(self) -> Graph:
        """After all passes."""
        return self.log.graph


def lower(graph: Graph, *, training: bool = False, strict: bool = False) -> Lowered:
    """Run the passes of inference or training and fuse.

    training   parameters change between calls: nothing is folded into them
    strict     only rewrites that give the same bits
    """
    passes = training_passes(strict=strict) if training else inference_passes(strict=strict)
    log = run_passes(graph, passes)
    return Lowered(graph, log, fuse(log.graph))
