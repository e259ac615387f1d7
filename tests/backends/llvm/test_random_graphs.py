"""Random graphs of all kinds of ops: native code of their fused kernels against the interpreter.

Values are multiples of 1/8 that stay small, so sums and products are exact in float64 whatever their order, and results
agree bit for bit but for the sign of zeros.
"""

import numpy as np
import pytest

from graphc import ops
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.dims import product
from graphc.ir.graph import Graph, Value
from graphc.ir.rewriter import prune
from graphc.ir.types import int64, parse_type
from graphc.passes.fuse import fuse

SIZES = (1, 2, 3, 5, 7, 16, 17)


class Drawing:
    """Draws one op after the other on values drawn before."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: list[Value] = []

    def pick(self, *items):
        return items[self.rng.integers(len(items))]

    def value(self) -> Value:
        # Recent values first, so that graphs are deep.
        return self.values[-1 - min(int(self.rng.geometric(0.4)) - 1, len(self.values) - 1)]

    def graph(self, length: int) -> Graph:
        with Builder("drawn") as b:
            first = self.pick("N", *map(str, SIZES))
            rest = [str(self.pick(*SIZES)) for _ in range(self.rng.integers(3))]
            batch = b.leaf("input", "n", parse_type("f64[N]"))
            self.values = [batch, b.leaf("input", "x", parse_type(f"f64[{','.join([first, *rest])}]"))]
            self.values.append(b.leaf("input", "y", parse_type("f64[4,3,2]")))
            self.values.append(b.leaf("input", "image", parse_type("f64[N,2,7,9]")))
            self.seed = b.leaf("input", "seed", parse_type("u64[]"))
            for _ in range(length):
                drawn = self.op()
                if drawn is not None and product(d for d in drawn.shape if isinstance(d, int)) <= 2000:
                    self.values.append(drawn)
            outputs = list(dict.fromkeys(v for v in self.values[4:] if self.rng.random() < 0.3)) or [
                self.values[-1]
            ]
        return prune(b.finish(outputs, [f"y{i}" for i in range(len(outputs))]))

    def op(self) -> Value | None:
        x = self.value()
        rank = x.type.rank
        kind = self.rng.integers(15)
        if kind > 10:
            images = [v for v in self.values if v.type.rank == 4]
            return self.anchor(self.pick(x, images[-1]))
        if kind <= 2:
            return self.elementwise(x)
        if kind == 3:
            return (
                ops.transpose(x, permutation=tuple(int(i) for i in self.rng.permutation(rank)))
                if rank
                else None
            )
        if kind == 4:
            return self.reshape(x)
        if kind == 5:
            shape = list(x.shape)
            shape = [self.pick(2, 3) if d == 1 else d for d in shape]
            return ops.broadcast_to(x, shape=(*([self.pick(2, 3)] if rank < 3 else []), *shape))
        if kind == 6:
            return self.slice(x)
        if kind == 7:
            low, high = ([int(self.rng.integers(3)) for _ in range(rank)] for _ in range(2))
            interior = [
                int(self.rng.integers(3)) if isinstance(d, int) and self.rng.random() < 0.3 else 0
                for d in x.shape
            ]
            return ops.pad(x, low=low, high=high, interior=interior, value=self.pick(0.0, 1.5))
        if kind == 8:
            axes = [a for a in range(rank) if self.rng.random() < 0.5]
            return ops.reverse(x, axes=tuple(axes))
        if kind == 9:
            return ops.concat(x, self.elementwise(x), axis=int(self.rng.integers(rank))) if rank else None
        return self.reduction(x)

    def elementwise(self, x: Value) -> Value:
        same = [v for v in self.values if v.shape == x.shape]
        y = self.pick(*same)
        match self.rng.integers(8):
            case 0:
                return ops.maximum(x, y)
            case 1:
                return ops.abs(x)
            case 2:
                return ops.relu(x - y)
            case 3:
                return ops.where(ops.less(x, y), x, -y)
            case 4:
                return ops.cast(ops.cast(x, dtype=parse_type("i32").dtype), dtype=x.dtype)
            case 5 if x.type.rank:
                axis = int(self.rng.integers(x.type.rank))
                return ops.minimum(x, ops.iota(shape=x.shape, axis=axis, dtype=x.dtype))
            case _:
                # Clamped, so that numbers stay small and exact.
                return ops.minimum(ops.maximum(x + y, -64.0), 64.0)

    def reshape(self, x: Value) -> Value:
        known = [d for d in x.shape if isinstance(d, int)]
        open_ = [d for d in x.shape if not isinstance(d, int)]
        size, shape = product(known), []
        for _ in range(int(self.rng.integers(1, 4))):
            factor = self.pick(*[f for f in range(1, size + 1) if size % f == 0])
            shape.append(factor)
            size //= factor
        shape.append(size)
        if len(open_) > 1:
            return ops.reshape(x, shape=x.shape)
        return ops.reshape(x, shape=(*open_, *shape) if self.rng.random() < 0.7 else (*shape, *open_))

    def slice(self, x: Value) -> Value | None:
        starts, stops, steps = [], [], []
        for d in x.shape:
            if not isinstance(d, int) or d == 0:
                starts, stops, steps = [*starts, 0], [*stops, d], [*steps, 1]
                continue
            start = int(self.rng.integers(d))
            starts, stops = [*starts, start], [*stops, int(self.rng.integers(start + 1, d + 1))]
            steps.append(int(self.rng.integers(1, 4)))
        return ops.slice(x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))

    def reduction(self, x: Value) -> Value:
        axes = tuple(a for a in range(x.type.rank) if self.rng.random() < 0.5)
        reduce = self.pick(ops.sum, ops.max, ops.min)
        y = ops.minimum(ops.maximum(reduce(x, axes=axes), -64.0), 64.0)
        if self.rng.random() < 0.5:
            keep = tuple(1 if a in axes else d for a, d in enumerate(x.shape))
            return x - ops.broadcast_to(ops.reshape(y, shape=keep), shape=x.shape)
        return y

    def anchor(self, x: Value) -> Value | None:
        """A product, a convolution, a window, positions or random numbers, of the last axes of x."""
        rank, name = (
            x.type.rank,
            self.pick(
                "matmul", "conv", "conv_dx", "conv_dw", "max", "average", "gather", "scatter", "dropout"
            ),
        )
        if name == "dropout":
            draw = ops.uniform(self.seed, shape=x.shape, stream=int(self.rng.integers(5)), dtype=x.dtype)
            return ops.where(ops.less(draw, 0.5), x, 0.0)
        if rank < 1 or 0 in x.shape or not all(isinstance(d, int) for d in x.shape[1:]):
            return None
        if name in ("gather", "scatter"):
            axis = int(self.rng.integers(rank))
            size = x.shape[axis] if name == "gather" else self.pick(1, 3, 8)
            if not isinstance(size, int):
                return None
            count = self.pick(1, 3, 8) if name == "gather" else x.shape[axis]
            if not isinstance(count, int):
                return None
            ramp = ops.iota(shape=(count,), axis=0, dtype=int64)
            # Positions from -size to size - 1.
            positions = ops.maximum(
                ops.minimum(ramp * self.pick(-1, 1, 2) - self.pick(0, 1), size - 1), -size
            )
            if name == "gather":
                return ops.gather(x, positions, axis=axis)
            return self.small(ops.scatter_add(x, positions, axis=axis, size=size))
        if rank < 2:
            return None
        if name == "matmul":
            square = self.pick(x, self.small(x * 2.0))
            if isinstance(x.shape[-2], int) and self.rng.random() < 0.5:
                return self.small(ops.matmul(x, square, transpose_w=True)) + 1.0
            return self.small(ops.relu(ops.matmul(x, square, transpose_x=True)) - 1.0)
        if rank < 3:
            return None
        spatial = x.shape[2:]
        kernel = tuple(int(self.rng.integers(1, min(d, 3) + 1)) for d in spatial)
        strides = tuple(int(self.rng.integers(1, 3)) for _ in spatial)
        padding = tuple(tuple(int(p) for p in self.rng.integers(0, k, 2)) for k in kernel)
        ones = (1,) * len(spatial)
        if name == "max":
            y, at = ops.max_pool(
                x, kernel=kernel, strides=strides, padding=padding, dilation=ones, ceil=False
            )
            if self.rng.random() < 0.5:
                return ops.abs(y)
            return ops.max_pool_dx(y, at, size=spatial) + self.pick(x, ops.abs(x))
        if name == "average":
            count = bool(self.rng.random() < 0.5)
            attributes = {
                "kernel": kernel,
                "strides": strides,
                "padding": padding,
                "ceil": False,
                "count_include_pad": count,
            }
            y = ops.avg_pool(x, **attributes)
            if self.rng.random() < 0.5:
                y = ops.avg_pool_dx(y, size=spatial, **attributes)
            return self.small(y)
        attributes = {"strides": strides, "padding": padding, "dilation": ones, "groups": 1}
        outputs = self.pick(1, 3, 18)
        w = (
            ops.iota(shape=(outputs, x.shape[1], *kernel), axis=int(self.rng.integers(2)), dtype=x.dtype)
            - 1.5
        )
        y = self.small(ops.relu(ops.conv(x, w, **attributes)))
        if name == "conv":
            return y
        if name == "conv_dx":
            return self.small(ops.conv_dx(y, w, size=spatial, **attributes)) + x
        return self.small(ops.conv_dw(x, y, kernel=kernel, **attributes) * 0.25)

    def small(self, x: Value) -> Value:
        """Clamped and rounded to multiples of 1/8."""
        whole = ops.cast(ops.minimum(ops.maximum(x, -16.0), 16.0) * 8.0, dtype=parse_type("i32").dtype)
        return ops.cast(whole, dtype=x.dtype) * 0.125


def check(seed: int, length: int) -> None:
    drawing = Drawing(seed)
    graph = drawing.graph(length)
    function = compile_plan(native_plan(fuse(graph))).load()
    for n in (1, 2, 19):
        rng = np.random.default_rng(n)
        arrays = []
        for value in graph.inputs:
            shape = [d if isinstance(d, int) else n for d in value.shape]
            whole = rng.integers(-16, 17, shape)
            arrays.append(whole / 8 if value.dtype.is_float else np.asarray(seed, np.uint64))
        found = function(*arrays)
        found = found if isinstance(found, tuple) else (found,)
        for name, y, z in zip(graph.output_names, found, interpret(graph, arrays), strict=True):
            np.testing.assert_array_equal(y, z, f"seed {seed}, N = {n}, {name}\n{graph}")


@pytest.mark.parametrize("block", range(8))
def test_random_graphs(block: int) -> None:
    for seed in range(12 * block, 12 * block + 12):
        check(seed, 12)
