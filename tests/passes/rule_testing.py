"""Tests one rewrite rule by itself: that it matches what it says, and that its grade is right."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np

from graphc.interpret import run_node
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType, dtype_of
from graphc.ir.verifier import verify
from graphc.passes.expand import expand
from graphc.passes.rules import Rule, RuleSet
from tests.passes import real_numbers

DTYPES = {"float": ("float32", "float64"), "integer": ("int32", "int64", "uint8"), "bool": ("bool",)}
DTYPES["signed"] = DTYPES["float"] + ("int32", "int64")
DTYPES["number"] = DTYPES["float"] + DTYPES["integer"]
DTYPES["any"] = DTYPES["number"] + DTYPES["bool"]
NUMBERS = (1.0, -1.0, 2.0, 3.0, 0.5, -0.25, 0.1, 1024.0, 2.0**-126, 1e-30, 7.0)
ZERO_SIGN_OPS = {"maximum", "minimum", "relu", "max", "min"}  # a tie of 0 and -0 may give either


def special_values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([False, True])
    kind = np.dtype(dtype)
    if kind.kind != "f":
        limits = np.iinfo(kind)
        return np.array([0, 1, 2, 3, 100, limits.max, limits.min, limits.max - 1], kind)
    f = np.finfo(kind)
    positive = [
        0.0,
        f.smallest_subnormal,
        f.tiny,
        f.tiny * 1.5,
        1e-3,
        0.5,
        0.7,
        1.0,
        1.1,
        2.0,
        3.7,
        50.0,
        90.0,
        f.max / 2,
        f.max,
        np.inf,
    ]
    return np.array([*positive, *(-np.array(positive)), np.nan], kind)


def samples(rule: Rule, dtype: str, values: np.ndarray | None = None):
    """Arrays for the tensors of a rule and values for its attributes."""
    if rule.samples is not None:
        for arrays, attributes in rule.samples():
            yield (
                tuple(a if a.dtype.kind == "i" else a.astype(dtype) for a in map(np.asarray, arrays)),
                attributes,
            )
        return
    values = special_values(dtype) if values is None else values
    grid = np.meshgrid(*[values] * len(rule.variables), indexing="ij")
    columns = [np.ascontiguousarray(axis.reshape(-1)) for axis in grid]
    if rule.variables[0] == "c":
        columns[0] = np.arange(columns[0].size) % 2 == 0
    for numbers in itertools.product(*[_choices(name, dtype) for name in rule.attributes]):
        yield tuple(columns), dict(zip(rule.attributes, numbers))


def _choices(name: str, dtype: str):
    if name in ("dtype", "wide"):
        return [dtype_of(d) for d in ("float32", "float64", "int32") if name == "wide" or d == dtype]
    return NUMBERS


def build(rule: Rule, side: str, arrays, attributes) -> Graph | None:
    """One side of a rule as a graph; None where the rule does not apply."""
    with Builder(side) as builder:
        inputs = [
            builder.leaf("input", n, TensorType(dtype_of(a), a.shape)) for n, a in zip(rule.variables, arrays)
        ]
        result = getattr(rule, side)(*inputs, **attributes)
    return None if result is None else verify(builder.finish([result], ["y"]))


def check_fires(rule: Rule, graph: Graph) -> Graph:
    """The left side as a graph is rewritten by the rule."""
    rewritten, _ = RuleSet("test", (rule,)).run(graph, (rule.grade,))
    verify(rewritten)
    assert rewritten.outputs[0].type == graph.outputs[0].type
    return rewritten


def differences(left: np.ndarray, right: np.ndarray, *, ignore_zero_sign: bool) -> np.ndarray:
    """Where two arrays are not the same bits, any NaN being equal to any NaN."""
    assert left.dtype == right.dtype and left.shape == right.shape
    if left.dtype.kind != "f":
        return left != right
    same = (left == right) & (ignore_zero_sign | (np.signbit(left) == np.signbit(right)))
    return ~(same | (np.isnan(left) & np.isnan(right)))


def interpret(graph: Graph, arrays) -> tuple[np.ndarray, ...]:
    """The outputs, with every operand contiguous: np.power takes another road, with other answers for -inf and -0, when
    its exponent is a repeated number (NumPy 2.4)."""
    values = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        results = run_node(node, [np.array(values[v], order="C") for v in node.inputs], {})
        values.update(zip(node.outputs, results, strict=True))
    return tuple(values[v] for v in graph.outputs)


def uses(graph: Graph, names: set[str]) -> bool:
    return any(node.op.name in names for node in graph.nodes)


def errors_in_units(graph: Graph, arrays, *, rows: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(result, exact result, error in units of the last place)

    The unit is that of the exact result; with `rows` that of the largest number of the row it comes from, which no
    formula that reads the row in this precision can undercut.
    """
    (got,) = interpret(graph, arrays)
    (exact,) = real_numbers.evaluate(expand(graph)[0], arrays)
    limits = np.finfo(got.dtype)
    scale = np.zeros(got.shape)
    if rows:
        x = np.abs(np.where(np.isfinite(arrays[0]), arrays[0], 0))
        scale = x.max(axis=tuple(range(1, x.ndim)), initial=0)
        scale = np.broadcast_to(scale.reshape(-1, *(1,) * (got.ndim - 1)), got.shape)

    def error(a, e, s):
        if mpmath.isinf(e) or abs(e) > float(limits.max) or np.isinf(a):
            return 0.0 if np.isinf(a) and (a > 0) == (e > 0) and abs(e) > float(limits.max) else np.inf
        if mpmath.isnan(e) or np.isnan(a):
            return 0.0 if mpmath.isnan(e) and np.isnan(a) else np.inf
        unit = max(
            max(abs(e), mpmath.mpf(float(s))) * float(limits.eps),
            mpmath.mpf(float(limits.smallest_subnormal)),
        )
        return float(abs(mpmath.mpf(float(a)) - e) / unit)

    return got, exact, np.asarray(np.frompyfunc(error, 3, 1)(got, exact, scale), dtype=np.float64)


def exact_result(graph: Graph, arrays) -> np.ndarray:
    (result,) = real_numbers.evaluate(expand(graph)[0], arrays)
    return result
