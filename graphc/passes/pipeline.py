"""Which passes run, in which order, and the log of a run.

    trace -> before_autodiff -> differentiate -> inference_passes or training_passes -> fuse -> plan

A pass is a function `Graph -> (Graph, map from old to new values)`; it changes no result beyond its grade.  The log
keeps every intermediate graph, so that anything at the end leads back to the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from graphc.ir.graph import Graph, Value
from graphc.ir.rewriter import ValueMap, compose
from graphc.ir.verifier import verify
from graphc.passes.canonicalize import canonicalize
from graphc.passes.cse import cse
from graphc.passes.dce import dce
from graphc.passes.expand import expand
from graphc.passes.fill_weights import fill_weights
from graphc.passes.fold_batch_norm import fold_batch_norm
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fold_linear import fold_linear
from graphc.passes.loops import Run, has_loops, in_bodies
from graphc.passes.notes import Note, collecting
from graphc.passes.rules import GRADES, Grade
from graphc.passes.stabilize import stabilize


@dataclass(frozen=True, slots=True)
class Pass:
    """One step: `name` is how `graphc explain --pass NAME` calls it."""

    name: str
    run: Callable[[Graph], tuple[Graph, ValueMap]]


@dataclass(frozen=True, slots=True)
class Step:
    """One pass that ran."""

    name: str
    graph: Graph
    mapping: ValueMap
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class PassLog:
    """All steps of a run.

    before   the graph it began with
    graph    the graph it ended with
    mapping  values of `before` -> values of `graph`; what was dropped is missing
    notes    all notes in order
    """

    before: Graph
    steps: tuple[Step, ...] = field(default=())

    @property
    def graph(self) -> Graph:
        return self.steps[-1].graph if self.steps else self.before

    @cached_property
    def mapping(self) -> ValueMap:
        total: ValueMap = {value: value for value in self.before.values()}
        for step in self.steps:
            total = compose(total, step.mapping)
        alive = set(self.graph.values())
        return {old: new for old, new in total.items() if new in alive}

    @cached_property
    def origins(self) -> dict[Value, tuple[Value, ...]]:
        """For each value at the end, the values of `before` it stands for."""
        found: dict[Value, list[Value]] = {}
        for old, new in self.mapping.items():
            found.setdefault(new, []).append(old)
        return {new: tuple(olds) for new, olds in found.items()}

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(note for step in self.steps for note in step.notes)

    def __add__(self, other: PassLog) -> PassLog:
        """Two runs, the second of which began where the first ended."""
        return PassLog(self.before, self.steps + other.steps)


def before_autodiff(grades: Sequence[Grade] = ("exact", "stable")) -> tuple[Pass, ...]:
    """What runs on the traced graph, so that the gradient is that of the stable form."""
    return (Pass("stabilize", deep(partial(stabilize, grades=grades))),)


def inference_passes(
    grades: Sequence[Grade] = ("exact", "stable"), keep: Collection[str] = ()
) -> tuple[Pass, ...]:
    """For a graph whose parameters will not change any more."""
    return (
        *before_autodiff(grades),
        Pass("fill_weights", fill_weights),
        Pass("fold_batch_norm", partial(fold_batch_norm, grades=grades)),
        Pass("fold_linear", partial(fold_linear, grades=grades)),
        Pass("expand", deep(partial(expand, keep=keep))),
        Pass("canonicalize", deep(partial(canonicalize, grades=grades))),
        Pass("fold_constants", partial(fold_constants, parameters=True)),
        Pass("cse", deep(cse)),
        Pass("dce", partial(dce, parameters=True)),
    )


def training_passes(
    grades: Sequence[Grade] = ("exact", "stable"), keep: Collection[str] = ()
) -> tuple[Pass, ...]:
    """For a graph that is trained: forward, backward and, if there is one, the update."""
    return (
        Pass("expand", deep(partial(expand, keep=keep))),
        Pass("canonicalize", deep(partial(canonicalize, grades=grades))),
        Pass("fold_constants", fold_constants),
        Pass("cse", deep(cse)),
        Pass("dce", dce),
    )


def grades_for(numerics: str = "default") -> tuple[Grade, ...]:
    """`strict` uses exact rules only, `default` those that are at least as accurate, `fast` all.

    >>> grades_for("strict")
    ('exact',)
    """
    return GRADES[: ("strict", "default", "fast").index(numerics) + 1]


def deep(run: Run) -> Run:
    """A pass that runs on the bodies of loops too, on them first."""

    def both(graph: Graph) -> tuple[Graph, ValueMap]:
        if not has_loops(graph):
            return run(graph)
        inside, first = in_bodies(graph, run)
        whole, second = run(inside)
        return whole, compose(first, second)

    return both


def run_passes(graph: Graph, passes: Sequence[Pass], *, check: bool = False) -> PassLog:
    """Run passes one after the other; with `check` every result is verified."""
    before, steps = graph, []
    for each in passes:
        with collecting() as notes:
            graph, mapping = each.run(graph)
        if check:
            verify(graph)
        steps.append(Step(each.name, graph, mapping, tuple(notes)))
    return PassLog(before, tuple(steps))
