"""Gradient checks as a user asks for them: of a model, and of a layer whose backward was written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.api import graph_of
from graphc.errors import CheckFailed, UsageError
from graphc.gradcheck import EPS, GradientCheck, compare, gradient_check
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType, dtype_of
from graphc.nn import Module

Arrays = Mapping[str, Any]


def gradcheck(
    model: Any,
    args: Sequence[Any] | Mapping[str, Any],
    wrt: Sequence[str] | None = None,
    *,
    of: str | None = None,
    elements: int | None = 20,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of a Module, a function or a graph with central differences in float64.

    args      arrays of the inputs, in order or by name
    wrt       names of inputs or parameters; all floating-point ones by default
    of        the output; by default all floating-point outputs, one after the other
    elements  how many elements of each array are tried; None tries all

    Print the result, or read `.passed`, `.worst` and `.by_name()`.  Raises UsageError when `args` are not the inputs.

    >>> check = gradcheck(lambda x: np.tanh(x) * x, [np.array([0.5, -2.0])])
    >>> check.passed, check.worst.verdict
    (True, 'good')
    """
    arrays = _named(model, args)
    graph = model if isinstance(model, Graph) else graph_of(model, _types(model, arrays))
    if not isinstance(model, Graph):
        arrays = {v.name: arrays[v.name].astype(v.dtype.numpy) for v in graph.inputs}
    return check_graph(graph, arrays, wrt, of=of, elements=elements, seed=seed)


def check_graph(
    graph: Graph, arrays: Arrays, wrt: Sequence[str] | None = None, *, of: str | None = None,
    elements: int | None = 20, seed: int = 0,
) -> GradientCheck:  # fmt: skip
    """The check of a graph by all its floating-point inputs and parameters, of all its floating-point outputs."""
    leaves = [v.name for v in (*graph.inputs, *graph.parameters) if v.dtype.is_float]
    chosen = list(wrt) if wrt is not None else leaves
    outputs = [of] if of else [n for n, v in zip(graph.output_names, graph.outputs) if v.dtype.is_float]
    if not chosen or not outputs:
        raise UsageError(f"{graph.name} has nothing to differentiate: no floating-point inputs or outputs")
    checks = [
        gradient_check(graph, arrays, chosen, of=name, elements=elements, seed=seed) for name in outputs
    ]
    return GradientCheck(tuple(entry for check in checks for entry in check.entries))


def _named(model: Any, args: Any) -> dict[str, np.ndarray]:
    if isinstance(args, Mapping):
        return {name: np.asarray(array) for name, array in args.items()}
    if not isinstance(args, (list, tuple)):
        raise UsageError("args is no list of arrays", fix="pass the arrays of all inputs: [x]")
    if isinstance(model, Graph):
        names = [v.name for v in model.inputs]
    else:
        parameters = inspect.signature(model.forward if isinstance(model, Module) else model).parameters
        names = list(parameters)
    if len(args) > len(names):
        raise UsageError(f"{len(args)} arrays for the inputs {', '.join(names) or '(none)'}")
    return {name: np.asarray(array) for name, array in zip(names, args)}


def _types(model: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, TensorType]:
    """Types of the inputs; floating-point ones as the module's parameters are, to be traced as it is used."""
    own = next((p.type.dtype for p in model.parameters()), None) if isinstance(model, Module) else None
    return {
        name: TensorType(own if own and array.dtype.kind == "f" else dtype_of(array), array.shape)
        for name, array in arrays.items()
    }


# Layers written by hand -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """One result of a backward function, beside what it should be."""

    name: str
    check: GradientCheck | None
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


def check_layer(
    forward: Callable[..., Any], backward: Callable[..., Any], arguments: Arrays, *, seed: int = 0
) -> list[Term]:
    """Check a backward function written by hand, every element of every result.

    forward    (arguments) -> out, or (out, cache)
    backward   (dout, cache) -> the gradients of the floating-point arguments in their order, or a dictionary by name

    Returns a term for each gradient; `problem` says what is wrong with it, in words where the pattern is known.
    Raises CheckFailed when `backward` returns something else than these gradients.
    """
    given = {n: np.array(a, np.float64) if _moves(a) else a for n, a in arguments.items()}
    names = [name for name, value in given.items() if _moves(value)]
    if not names:
        raise UsageError("the layer has no floating-point argument to differentiate by")
    before = {name: given[name].copy() for name in names}
    out, _ = _split(forward(*given.values()))
    rng = np.random.default_rng([seed, 1])  # arguments drawn with the same seed must not be dout
    dout = rng.normal(size=out.shape)

    def backward_of(upstream: np.ndarray) -> dict[str, np.ndarray]:
        fresh = {n: v.copy() if n in before else v for n, v in given.items()}
        _, cache = _split(forward(*fresh.values()))
        return _gradients(backward(upstream.copy(), *cache), names)

    analytic = backward_of(dout)
    changed = [name for name in names if not np.array_equal(given[name], before[name])]
    if changed:
        raise CheckFailed(f"forward changes its argument {changed[0]}", fix="work on a copy")
    noise = 16 * EPS * float(np.abs(out * dout).sum())
    numeric: dict[str, np.ndarray] = {}
    terms = []
    for name in names:
        result = analytic[name]
        fits = result.shape == given[name].shape
        entries = []
        for index in np.ndindex(given[name].shape):
            centre = before[name][index]

            def value(step: float) -> float:
                moved = {n: v.copy() if n in before else v for n, v in given.items()}
                moved[name][index] = centre + step  # noqa: B023  (used up before the next round)
                return float((_split(forward(*moved.values()))[0] * dout).sum())

            entries.append(compare(name, index, float(result[index]) if fits else np.nan, value, noise))
        measured = GradientCheck(tuple(entries))
        numeric[name] = np.array([e.numeric for e in entries]).reshape(given[name].shape)
        terms.append((name, measured if fits else None))
    scaled = backward_of(2 * dout)
    found = []
    for name, made in terms:
        problem = ""
        if made is None or not made.passed:
            ignores = analytic[name].shape == scaled[name].shape and _same(analytic[name], scaled[name])
            problem = _diagnosis(name, analytic[name], numeric, out.shape, ignores, made)
        found.append(Term(name, made, problem))
    return found


def _moves(value: Any) -> bool:
    return (
        isinstance(value, (float, np.floating)) or isinstance(value, np.ndarray) and value.dtype.kind == "f"
    )


def _split(result: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
    """(out, cache) of a forward function; no cache when it returns the output alone."""
    if isinstance(result, tuple) and len(result) == 2:
        return np.asarray(result[0], np.float64), (result[1],)
    if isinstance(result, tuple):
        raise CheckFailed(f"forward returns {len(result)} values", fix="return out, cache")
    return np.asarray(result, np.float64), ()


def _gradients(result: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    wanted = ", ".join(f"d{name}" for name in names)
    if isinstance(result, Mapping):
        found = {n: result[k] for n in names for k in (n, f"d{n}") if k in result}
        missing = [name for name in names if name not in found]
        if missing:
            raise CheckFailed(f"backward returns no d{missing[0]}", fix=f"return {wanted}")
    else:
        parts = result if isinstance(result, (tuple, list)) else (result,)
        if len(parts) != len(names):
            raise CheckFailed(
                f"backward returns {len(parts)} gradients, not {len(names)}", fix=f"return {wanted}"
            )
        found = dict(zip(names, parts))
    absent = [name for name, part in found.items() if part is None]
    if absent:
        raise CheckFailed(f"backward returns None for d{absent[0]}", fix=f"return {wanted}")
    return {name: np.asarray(part, np.float64) for name, part in found.items()}


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0)) <= 1e-5 * float(
        np.abs(b).max(initial=0)
    )


def _diagnosis(
    name: str, result: np.ndarray, numeric: Mapping[str, np.ndarray], out: tuple[int, ...], ignores: bool,
    check: GradientCheck | None,
) -> str:  # fmt: skip
    """What is wrong, as well as it can be told from the numbers; patterns students meet come first."""
    right = numeric[name]
    if not np.isfinite(result).all():
        return f"d{name} has elements that are not finite"
    if result.shape != right.shape:
        text = f"d{name} has shape {list(result.shape)}, {name} has {list(right.shape)}"
        if _same(result.T, right):
            return f"{text}: it is transposed"
        for axis in range(result.ndim):
            if _same(result.sum(axis=axis), right):
                return f"{text}: the sum over axis {axis} is missing"
        return text
    if not result.any():
        return f"d{name} is 0 everywhere"
    for other, array in numeric.items():
        if other != name and _same(result, array):
            return f"d{name} is the gradient of {other}: the order of the results is that of the arguments"
    if result.ndim == 2 and result.shape[0] == result.shape[1] and _same(result.T, right):
        return f"d{name} is transposed"
    factor = float((result * right).sum() / (right * right).sum()) if right.any() else 0.0
    if factor and _same(result, factor * right):
        if abs(factor + 1) < 1e-4:
            return f"d{name} has the wrong sign"
        sizes = {float(n): f"the size {n} of an axis of out" for n in out if n > 1}
        for size, text in sizes.items():
            if abs(factor - size) < 1e-4 * size or abs(factor * size - 1) < 1e-4:
                return f"d{name} is {factor:.6g} times what it should be: {text}"
        return f"d{name} is {factor:.6g} times what it should be"
    if ignores:
        return f"d{name} does not depend on dout: the gradient from above is left out"
    assert check is not None
    entries = [e for e in check.entries if not e.kink]
    wrong = [e for e in entries if e.error > 1e-4]
    if not entries:
        return f"d{name} was tried at kinks only"
    worst = max(wrong or entries, key=lambda e: e.error)
    place = f"{name}[{', '.join(map(str, worst.index))}]" if worst.index else name
    return (
        f"d{name} is wrong in {len(wrong)} of {len(entries)} elements; at {place} it is {worst.analytic:.6g}, "
        f"not {worst.numeric:.6g}"
    )
