"""Random graphs of numbers that are added without rounding, so that native code must agree bit for bit.

    case = exact_case(seed)

All dtypes, sizes that are zero, one and prime, sums over any axes, rows with several reductions, windows, groups,
gradients of convolutions and pools, positions, outputs that are inputs and outputs that are returned twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.dims import Dim, symbol
from graphc.ir.graph import Value
from graphc.ir.op import REGISTRY
from graphc.ir.types import DTYPES, DType, bool_, float32, float64, int32, int64, uint8
from graphc.ops.reduction import spread
from tests.fuzz.random_graphs import Case, Maker, build_case, choice, moving, removable, reshaping

SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 11, 16, 17)
REAL = (float32, float64)


def exact_case(seed: int, nodes: tuple[int, int] = (3, 20), *, gradient: bool | None = None) -> Case:
    """A random graph of small multiples of 1/8.

    >>> exact_case(3).graph.name
    'exact3'
    """
    return build_case(seed, nodes, gradient, ExactMaker, f"exact{seed}")


class ExactMaker(Maker):
    """Leaves are multiples of 1/8 up to 4; steps keep to arithmetic without rounding, as far as sizes allow."""

    most = 3000

    @property
    def steps(self) -> Any:
        return STEPS

    def new_leaf(
        self, kind: Any, shape: tuple[Dim, ...] | None = None, dtype: DType | None = None, high: int = 3
    ) -> Value:
        if shape is None:
            rank = int(self.rng.choice([0, 1, 2, 2, 3, 4, 4, 5]))
            sizes = SIZES if rank < 4 else SIZES[:10]
            shape = tuple(int(self.rng.choice(sizes)) for _ in range(rank))
            if self.symbolic and kind == "input" and rank:
                shape = (symbol("N"), *shape[1:])
        value = super().new_leaf(kind, shape, dtype, high)
        if value.dtype.is_float:
            array = self.arrays[value]
            eighths = self.rng.integers(-32, 33, array.shape)
            self.arrays[value] = np.asarray(eighths / 8, array.dtype)
            if kind != "input":
                self.data[value.name] = self.arrays[value]
        return value

    def choose(self, results: list[Value]) -> list[Value]:
        chosen = super().choose(results)
        if self.coin(0.2):
            chosen.append(self.one_of(*self.builder.leaves["input"]))
        if self.coin(0.1):
            chosen.insert(0, chosen[-1])
        return chosen

    def loss(self, results: list[Value]) -> Value:
        """Sums, so that the gradient needs no rounding either."""
        real = [v for v in results if v.dtype == self.float] or [
            v for v in self.pool if v.dtype == self.float
        ][-1:]
        terms = [ops.sum(ops.maximum(v, -1.5), axes=tuple(range(v.type.rank))) for v in real]
        return ops.add_n(*terms) if len(terms) > 1 else terms[0]


def arithmetic(m: Maker) -> Any:
    x = m.real()
    if x is None:
        return None
    y = m.partner(x) if m.coin(0.8) else m.one_of(0.5, 2.0, -1.0, 0.125, 3.0)
    match m.one_of(
        "add", "add", "sub", "mul", "maximum", "minimum", "relu", "abs", "sign", "div", "sqrt", "add_n"
    ):
        case "div":
            return x / 4.0 if isinstance(y, float) else x / (ops.abs(y) + 0.75)
        case "sqrt":
            return ops.sqrt(ops.abs(x))
        case "add_n":
            return ops.add_n(x, x, x * 0.5)
        case "relu" | "abs" | "sign" as name:
            return REGISTRY[name](x)
        case name:
            return REGISTRY[name](x, y) if isinstance(y, Value) else x * y + 0.5


def clamped(m: Maker) -> Any:
    """Small multiples of 1/8 again, by way of integers."""
    x = m.pick(lambda v: v.dtype in REAL)
    if x is None:
        return None
    whole = ops.cast(ops.minimum(ops.maximum(x, -4.0), 4.0) * 8.0, dtype=m.one_of(int32, int64, INT8))
    return ops.cast(whole, dtype=m.float) * 0.125


INT8 = next(d for d in DTYPES if d.name == "int8")


def converted(m: Maker) -> Any:
    x = m.pick(lambda v: True)
    return None if x is None else ops.cast(x, dtype=m.one_of(m.float, m.float, *DTYPES))


def integers(m: Maker) -> Any:
    """Whole numbers of every width, which wrap around."""
    x = m.pick(lambda v: v.dtype.kind in ("int", "uint")) or m.new_leaf("input", None, m.one_of(*DTYPES[2:8]))
    same = m.pick(lambda v: v.dtype == x.dtype and v.shape == x.shape) or x
    match m.one_of(
        "add", "sub", "mul", "maximum", "minimum", "neg", "abs", "sign", "sum", "max", "min", "argmax", "less"
    ):
        case "neg" | "abs" | "sign" as name:
            return REGISTRY[name](x)
        case "sum" | "max" | "min" as name:
            return REGISTRY[name](x, axes=m.axes(x))
        case "argmax":
            return ops.argmax(x, axis=m.axis(x)) if x.type.rank else None
        case "less":
            return ops.where(ops.less(x, same), same, x * x)
        case name:
            return REGISTRY[name](x, same)


def bools(m: Maker) -> Any:
    x = m.pick(lambda v: v.dtype == bool_) or m.new_leaf("input", None, bool_)
    same = m.pick(lambda v: v.dtype == bool_ and v.shape == x.shape) or x
    match m.one_of("and", "or", "not", "equal", "where", "max", "u8"):
        case "and":
            return ops.logical_and(x, same)
        case "or":
            return ops.logical_or(x, ops.logical_not(same))
        case "not":
            return ops.logical_not(x)
        case "equal":
            return ops.not_equal(x, same)
        case "where":
            return ops.where(x, same, ops.logical_not(x))
        case "max":
            return ops.max(ops.cast(x, dtype=uint8), axes=m.axes(x))
        case "u8":
            return ops.cast(ops.sum(ops.cast(x, dtype=uint8), axes=m.axes(x)), dtype=m.float)


def reductions(m: Maker) -> Any:
    """One reduction, or several of the same rows with work between them."""
    x = m.real(least=1, most=5)
    if x is None:
        return None
    axes = m.axes(x)
    match m.one_of("sum", "max", "min", "argmax", "argmin", "row", "rows", "squares"):
        case "argmax" | "argmin" as name:
            return REGISTRY[name](x, axis=m.axis(x))
        case "row":
            return x - spread(ops.max(x, axes=axes), x, axes)
        case "rows":
            shifted = ops.abs(x - spread(ops.min(x, axes=axes), x, axes))
            total = spread(ops.sum(shifted, axes=axes), x, axes)
            return ops.maximum(shifted, total * 0.25) - total * 0.5
        case "squares":
            return ops.sum(x * m.partner(x), axes=axes)
        case name:
            return REGISTRY[name](x, axes=axes)


def products(m: Maker) -> Any:
    x = m.real(least=2, most=5)
    if x is None:
        return None
    turned = m.coin()
    k, n = x.shape[-2] if turned else x.shape[-1], int(m.rng.choice(SIZES[1:]))
    if not isinstance(k, int) or m.coin(0.2):
        y = m.one_of(x, x * 0.5)
        return ops.matmul(x, y, transpose_x=turned, transpose_w=not turned)
    w = m.weights(n, k) if m.coin() else m.weights(k, n)
    y = ops.matmul(x, w, transpose_x=turned, transpose_w=w.shape != (k, n))
    return ops.relu(y + m.weights(n)) if m.coin() else y


def image(m: Maker) -> Value:
    x = m.real(least=3, most=5)
    if x is not None and all(isinstance(d, int) and d > 0 for d in x.shape[1:]) and m.coin(0.6):
        return x
    spatial = tuple(
        int(m.rng.choice([1, 2, 3, 5, 7, 9, 12])) for _ in range(int(m.rng.choice([1, 2, 2, 2, 3])))
    )
    channels = int(m.rng.choice([1, 2, 3, 4, 8, 16, 17]))
    return m.new_leaf("input", (symbol("N") if m.symbolic else m.one_of(1, 2, 3), channels, *spatial))


def windows(m: Maker) -> Any:
    x = image(m)
    channels, spatial = x.shape[1], x.shape[2:]
    kernel = tuple(int(m.rng.integers(1, min(3, d) + 1)) for d in spatial)
    strides = tuple(int(m.one_of(1, 1, 2, 3)) for _ in spatial)
    padding = tuple((int(m.rng.integers(0, k)), int(m.rng.integers(0, k))) for k in kernel)
    ones = (1,) * len(spatial)
    dilation = tuple(int(m.one_of(1, 1, 2)) for _ in spatial) if m.coin(0.3) else ones
    match m.one_of("conv", "conv", "conv", "dx", "dw", "max", "max", "max dx", "average", "average dx"):
        case "max" | "max dx" as name:
            y, at = ops.max_pool(
                x, kernel=kernel, strides=strides, padding=padding, dilation=dilation, ceil=m.coin(0.3)
            )
            if name == "max":
                return m.one_of(y, at, ops.abs(y), ops.cast(at, dtype=m.float) + y)
            return ops.max_pool_dx(y, at, size=spatial)
        case "average" | "average dx" as name:
            if m.coin(0.7):
                kernel = tuple(min(2, d) for d in spatial)
            even = {"kernel": kernel, "strides": strides, "ceil": m.coin(0.2), "count_include_pad": m.coin()}
            even["padding"] = tuple((low % k, high % k) for (low, high), k in zip(padding, kernel))
            y = ops.avg_pool(x, **even)
            return y if name == "average" else ops.avg_pool_dx(y, size=spatial, **even)
        case name:
            groups = m.one_of(*(g for g in (1, 1, 2, 4, channels) if channels % g == 0))
            out = groups * m.one_of(1, 1, 2, 3, 16)
            w = m.weights(out, channels // groups, *kernel)
            attributes = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
            y = ops.conv(x, w, **attributes)
            if name == "dx":
                return ops.conv_dx(y, w, size=spatial, **attributes)
            if name == "dw":
                return ops.conv_dw(x, y, kernel=kernel, **attributes)
            if m.coin():
                y = y + ops.reshape(m.weights(out), shape=(out, *ones))
            return ops.relu(y) if m.coin() else y


def positions(m: Maker) -> Any:
    """Gather and scatter with positions from an input, and with ones that are computed."""
    x = m.pick(lambda v: v.type.rank >= 1)
    if x is None:
        return None
    axis = m.axis(x)
    size = x.shape[axis]
    if not isinstance(size, int) or size == 0:
        return None
    count = int(m.one_of(0, 1, 3, 8))
    dtype = m.one_of(int32, int64, uint8)
    match m.one_of("gather", "computed", "elements", "scatter", "scatter elements", "one hot"):
        case "gather":
            return ops.gather(
                x, m.new_leaf("input", m.one_of((count,), (2, count), ()), dtype, high=size), axis=axis
            )
        case "computed":
            ramp = ops.iota(shape=(count,), axis=0, dtype=int64)
            return ops.gather(x, ops.maximum(ops.minimum(ramp * 2 - 3, size - 1), -size), axis=axis)
        case "elements":
            shape = tuple(count if a == axis else d for a, d in enumerate(x.shape))
            return ops.gather_elements(x, m.new_leaf("input", shape, dtype, high=size), axis=axis)
        case "scatter":
            return ops.scatter_add(x, m.new_leaf("input", (size,), dtype, high=5), axis=axis, size=5)
        case "scatter elements":
            return ops.scatter_elements(x, m.new_leaf("input", x.shape, dtype, high=3), axis=axis, size=3)
        case "one hot":
            return ops.one_hot(m.new_leaf("input", x.shape[:1], int64, high=4), classes=3, dtype=m.float)


def numbers(m: Maker) -> Any:
    x = m.real(least=1)
    if x is None:
        return None
    match m.one_of("iota", "zeros", "uniform", "empty"):
        case "iota":
            return ops.iota(shape=x.shape, axis=m.axis(x), dtype=m.one_of(m.float, int32))
        case "zeros":
            return x * m.builder.constant(m.one_of(0.5, 0.0, -1.0), m.float, x.shape)
        case "uniform":
            seed = m.new_leaf("input", (), UINT64, high=1000)
            return ops.where(ops.less(ops.uniform(seed, shape=x.shape, dtype=m.float), 0.5), x, 0.0)
        case "empty":
            starts = tuple(d if isinstance(d, int) and a == 0 else 0 for a, d in enumerate(x.shape))
            return ops.slice(x, starts=starts, stops=x.shape, steps=(1,) * x.type.rank)


UINT64 = next(d for d in DTYPES if d.name == "uint64")

STEPS = (
    arithmetic, arithmetic, arithmetic, clamped, clamped, converted, integers, bools, reductions, reductions, products,
    products, windows, windows, windows, positions, numbers, moving, moving, reshaping, choice, removable,
)  # fmt: skip
