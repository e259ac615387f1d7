"""Checks gradients against central differences in float64, element by element.

The numeric derivative (f(x + h) - f(x - h)) / 2h knows nothing of the rules it checks.  Relative errors are judged
by the bands of Stanford's CS231n: above 1e-2 wrong, above 1e-4 suspicious, up to 1e-4 fine, up to 1e-7 good.
What the rounding of f explains, a few eps·|f|/h, is no error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.autodiff import differentiate
from graphc.errors import UsageError
from graphc.interpret import Arrays, bind_inputs, interpret
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.types import DType, float32, float64

STEP = 1e-5
EPS = float(np.finfo(np.float64).eps)
BANDS = ((1e-7, "good"), (1e-4, "fine"), (1e-2, "suspicious"), (float("inf"), "wrong"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of one gradient: by the rules, by differences, and whether a kink lies between x - h and x + h."""

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    kink: bool

    @property
    def verdict(self) -> str:
        return "kink" if self.kink else verdict(self.error)


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """The result: every element that was compared."""

    entries: tuple[Entry, ...]

    @property
    def worst(self) -> Entry | None:
        """The entry with the largest error, kinks aside; None when nothing was compared."""
        smooth = [entry for entry in self.entries if not entry.kink]
        return max(smooth, key=lambda entry: entry.error, default=None)

    @property
    def passed(self) -> bool:
        """Whether something was compared, and no error is above 1e-4."""
        return self.worst is not None and self.worst.error <= 1e-4

    def by_name(self) -> dict[str, GradientCheck]:
        names = dict.fromkeys(entry.name for entry in self.entries)
        return {n: GradientCheck(tuple(e for e in self.entries if e.name == n)) for n in names}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For each array: its name, the verdict, the largest error and where it is, how many elements were tried."""
        found = []
        for name, check in self.by_name().items():
            kinks = sum(entry.kink for entry in check.entries)
            tried = f"{len(check.entries)} elements" + (f", {kinks} at kinks" if kinks else "")
            worst = check.worst
            if worst is None:
                found.append((name, "kinks only", "", tried))
                continue
            index = f"[{','.join(map(str, worst.index))}]" if worst.index else ""
            text = f"{worst.error:.1e} at {name}{index}: {worst.analytic:.9g} and numerically {worst.numeric:.9g}"
            found.append((name, worst.verdict, text, tried))
        return found

    def __str__(self) -> str:
        rows = self.rows()
        wide = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, (*wide, 0))).rstrip() for row in rows
        )


def verdict(error: float) -> str:
    """The band of a relative error.

    >>> verdict(3e-9), verdict(2e-5), verdict(0.5), verdict(float("nan"))
    ('good', 'fine', 'wrong', 'wrong')
    """
    return next((name for limit, name in BANDS if error <= limit), "wrong")


def gradient_check(
    graph: Graph,
    inputs: Arrays,
    wrt: Sequence[str] | None = None,
    *,
    of: str | None = None,
    data: Mapping[str, np.ndarray] | None = None,
    elements: int | None = 20,
    seed: int = 0,
) -> GradientCheck:
    """Compare gradients of one output with central differences.

    wrt       inputs or parameters; the default is that of `differentiate`
    of        the output; a tensor is summed up with fixed random weights
    data      arrays of parameters and constants, over those of the graph
    elements  how many elements of each array are tried, chosen by `seed`; None tries all

    Everything is computed in float64, whatever the dtypes of the graph.

    >>> from graphc.ir.parser import parse_graph
    >>> g = parse_graph('''graph f {
    ...   input %x: f32[3]
    ...   %y: f32[3] = tanh %x
    ...   return %y
    ... }''')
    >>> gradient_check(g, [np.array([-1, 0.2, 2], np.float32)]).worst.verdict
    'good'
    """
    rng = np.random.default_rng([seed, 1])  # inputs drawn with the same seed must not be the cotangent
    double = to_float64(graph)
    arrays = {name: _widened(a) for name, a in bind_inputs(graph, inputs).items()}
    store = {name: _widened(np.asarray(a)) for name, a in {**graph.data, **(data or {})}.items()}
    joint = differentiate(double, wrt, of=of)
    names = [name.removeprefix("grad.") for name in joint.output_names[len(double.outputs) :]]
    position = double.output_names.index(of) if of is not None else 0
    output = interpret(double, arrays, store)[position]
    weight = rng.normal(size=output.shape) if output.shape else np.ones(())
    cotangent = {v.name: weight for v in joint.inputs[len(double.inputs) :]}
    gradients = dict(zip(names, interpret(joint, {**arrays, **cotangent}, store)[len(double.outputs) :]))
    noise = 16 * EPS * float(np.abs(output * weight).sum())

    entries: list[Entry] = []
    for name in names:
        if name not in arrays and name not in store:
            raise UsageError(f"{name} is neither an input nor a parameter: its gradient has nothing to move")
        source = arrays if name in arrays else store
        moved = source[name] = source[name].copy()
        for index in _chosen(moved.shape, elements, rng):
            before = moved[index]

            def value(step: float) -> float:
                moved[index] = before + step  # noqa: B023  (used up before the next round)
                return float((interpret(double, arrays, store)[position] * weight).sum())

            entries.append(compare(name, index, float(gradients[name][index]), value, noise))
            moved[index] = before
    return GradientCheck(tuple(entries))


def compare(
    name: str, index: tuple[int, ...], analytic: float, value: Callable[[float], float], noise: float
) -> Entry:
    """One derivative beside its central difference; `value(step)` is the function with one element moved by `step`."""
    middle, up, down = value(0.0), value(STEP), value(-STEP)
    numeric = (up - down) / (2 * STEP)
    excess = abs(analytic - numeric) - noise / STEP
    error = 0.0 if excess <= 0 else excess / (abs(analytic) + abs(numeric))
    error = error if math.isfinite(error) else math.inf  # NaN and infinity are never right
    kink = False
    if not error <= 1e-7:
        # The change of slope at x shrinks with the step where f is smooth.  At a kink it stays; when the kink lies
        # beside x, it is gone once the step is shorter than the way there.
        small = STEP / 16
        wide = abs((up - middle) - (middle - down)) / STEP
        narrow = abs((value(small) - middle) - (middle - value(-small))) / small
        sharp = wide > 1e-3 * (abs(analytic) + abs(numeric)) + noise / STEP
        kink = sharp and (narrow > wide / 2 or narrow < wide / 64)
    return Entry(name, index, analytic, numeric, error, kink)


def _chosen(shape: tuple[int, ...], elements: int | None, rng: np.random.Generator) -> list[tuple[int, ...]]:
    count = int(np.prod(shape))
    if elements is None or count <= elements:
        return list(np.ndindex(*shape))
    flat = np.sort(rng.choice(count, elements, replace=False))
    return [tuple(int(i) for i in np.unravel_index(place, shape)) for place in flat]


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def to_float64(graph: Graph) -> Graph:
    """The same computation with float64 in place of float32; names are kept.

    Random numbers stay those of float32, so that masks do not change.
    """
    builder = Builder(graph.name)
    mapping: dict[Value, Value] = {}
    for leaf in graph.leaves:
        assert leaf.leaf is not None
        mapping[leaf] = builder.leaf(leaf.leaf, leaf.name, leaf.type.with_dtype(_double(leaf.dtype)))
    for node in graph.nodes:
        operands = [mapping[v] for v in node.inputs]
        names = [v.name for v in node.outputs]
        if node.op.kind is Kind.RANDOM:
            narrow = [f"{name}.f32" for name in names] if node.output.dtype == float32 else names
            outputs = builder.emit(node.op, operands, node.attributes, narrow, node.provenance)
            if narrow is not names:
                outputs = builder.emit(REGISTRY["cast"], outputs, {"dtype": float64}, names, node.provenance)
        else:
            attributes = {k: _in_double(v) for k, v in node.attributes.items()}
            outputs = builder.emit(node.op, operands, attributes, names, node.provenance)
        mapping.update(zip(node.outputs, outputs, strict=True))
    data = {name: _widened(array) for name, array in graph.data.items()}
    return builder.finish([mapping[v] for v in graph.outputs], graph.output_names, dims=graph.dims, data=data)


def _in_double(attribute: Any) -> Any:
    match attribute:
        case DType():
            return _double(attribute)
        case Graph():
            return to_float64(attribute)
    return attribute


def _double(dtype: DType) -> DType:
    return float64 if dtype == float32 else dtype
