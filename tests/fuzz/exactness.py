"""Which values of a graph are the same bit for bit whatever adds them up in whatever order.

Of every value three facts are followed: its largest size, the grain it is a whole multiple of, and whether roundings
are known at all.  A sum, product or convolution whose terms are multiples of one grain, and few and small enough for
the mantissa, has no rounding and therefore one result.  Elementwise IEEE arithmetic has one result anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.ir.dims import product, substitute
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.types import DType

SAME = {
    "neg", "abs", "reshape", "transpose", "broadcast_to", "slice", "reverse", "stop_gradient", "relu", "max", "min",
    "gather", "gather_elements", "max_pool",
}  # fmt: skip
ADDS = {
    "sum",
    "scatter_add",
    "scatter_elements",
    "avg_pool",
    "avg_pool_dx",
    "matmul",
    "conv",
    "conv_dx",
    "conv_dw",
}
PRODUCTS = {"matmul", "conv", "conv_dx", "conv_dw"}
ONE_RESULT = {"div", "sqrt"}


@dataclass(frozen=True, slots=True)
class Range:
    """|v| <= top, and v is a multiple of grain; grain 0: of anything, but one result; loose: several roundings."""

    top: float
    grain: float
    loose: bool = False


LOOSE = Range(math.inf, 0.0, loose=True)


def grain_of(array: np.ndarray) -> Range:
    """Of known elements: multiples of the largest power of two up to 1 that divides them."""
    numbers = {float(x) for x in np.unique(array)}
    if not all(map(math.isfinite, numbers)):
        return Range(math.inf, 0.0)
    return Range(
        max(map(abs, numbers), default=0.0), min((1 / x.as_integer_ratio()[1] for x in numbers), default=1.0)
    )


def ranges(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[Value, Range]:
    """The facts of every value, for a graph of primitive ops and these inputs."""
    sizes = graph.bind(inputs)
    known: dict[Value, Range] = {}
    for value in graph.leaves:
        known[value] = grain_of(inputs[value.name] if value.leaf == "input" else graph.data[value.name])
    for node in graph.nodes:
        found = _after(node, [known[v] for v in node.inputs], sizes)
        for value in node.outputs:
            known[value] = found if value.dtype.is_float or found.loose else _whole(value.dtype, found)
    return known


def _whole(dtype: DType, found: Range) -> Range:
    limit = 1.0 if dtype.kind == "bool" else 2.0 ** (8 * dtype.itemsize)
    return Range(min(found.top, limit), 1.0)


def _after(node: Node, operands: list[Range], sizes: Mapping[str, int]) -> Range:
    name, dtype = node.op.name, node.outputs[0].dtype
    if any(r.loose for r in operands):
        return LOOSE
    if node.op.kind is Kind.CREATION:
        return _created(node, sizes)
    if name in ("random_bits", "uniform"):
        return Range(1.0 if dtype.is_float else math.inf, 0.0)
    top = max((r.top for r in operands), default=0.0)
    grain = min((r.grain for r in operands), default=1.0)
    if not dtype.is_float and name not in ADDS:
        return Range(math.inf, 1.0)
    match name:
        case "add" | "sub" | "add_n":
            return _rounded(sum(r.top for r in operands), grain, dtype)
        case "mul":
            return _rounded(_times(operands), math.prod(r.grain for r in operands), dtype)
        case "where":
            return Range(max(r.top for r in operands[1:]), min(r.grain for r in operands[1:]))
        case "sign":
            return Range(1.0, 1.0)
        case "cast" | "concat" | "maximum" | "minimum":
            return _rounded(top, grain, dtype)
        case "pad":
            value = grain_of(np.array(node.attributes["value"], np.float64))
            return _rounded(max(top, value.top), min(grain, value.grain), dtype)
    if name in SAME:
        return Range(operands[0].top, operands[0].grain)
    if name in ADDS:
        if not dtype.is_float:
            return Range(math.inf, 1.0)
        terms = _terms(node, sizes)
        if terms <= 1 and name not in PRODUCTS:
            return operands[0]
        each = (
            Range(_times(operands), operands[0].grain * operands[1].grain)
            if name in PRODUCTS
            else operands[0]
        )
        total = _rounded(terms * each.top, each.grain, dtype)
        if total.grain == 0:
            return LOOSE
        if name.startswith("avg_pool"):
            return LOOSE if _divides(node) is None else Range(total.top, total.grain * _divides(node))
        return total
    return Range(math.inf, 0.0) if name in ONE_RESULT else LOOSE


def _times(operands: list[Range]) -> float:
    return 0.0 if any(r.top == 0 for r in operands) else math.prod(r.top for r in operands)


def _rounded(top: float, grain: float, dtype: DType) -> Range:
    """A result of this size and grain, when it fits the mantissa; else it is rounded to no grain in particular."""
    limits = np.finfo(dtype.numpy)
    fits = grain >= float(limits.tiny) and top <= grain * 2.0 ** (limits.nmant + 1)
    return Range(top, grain if fits else 0.0)


def _created(node: Node, sizes: Mapping[str, int]) -> Range:
    match node.op.name:
        case "constant":
            return grain_of(np.asarray(node.attributes["value"], node.outputs[0].dtype.numpy))
        case "iota":
            return Range(float(max(1, *(substitute(d, sizes) for d in node.outputs[0].shape))), 1.0)
        case "dim_size":
            return Range(float(substitute(node.attributes["dim"], sizes)), 1.0)
    return LOOSE


def _terms(node: Node, sizes: Mapping[str, int]) -> int:
    """At most how many terms one element is the sum of."""
    x, y = node.inputs[0], node.outputs[0]

    def count(*dims: object) -> int:
        return int(substitute(product(dims), sizes))  # type: ignore[arg-type]

    match node.op.name:
        case "sum":
            return count(*(x.shape[a] for a in node.attributes["axes"]))
        case "matmul":
            return count(x.shape[-2] if node.attributes["transpose_x"] else x.shape[-1])
        case "conv" | "conv_dx":
            return count(*node.inputs[1].shape)
        case "conv_dw":
            return count(y.shape[0], *node.inputs[1].shape)
        case "avg_pool" | "avg_pool_dx":
            return count(*node.attributes["kernel"])
    return count(*x.shape)


def _divides(node: Node) -> float | None:
    """1/n for an average of n elements everywhere, n a power of two; None for others."""
    a = node.attributes
    n = math.prod(a["kernel"])
    padded = any(low or high for low, high in a["padding"])
    return 1 / n if n & (n - 1) == 0 and not a["ceil"] and (a["count_include_pad"] or not padded) else None
