"""Reductions over axes.  `axes` is a sorted tuple of axes; reduced axes disappear.

Keeping them as size 1 is a reshape, so that each rule stands here once.
"""

import numpy as np

from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.creation import iota
from graphc.ops.elementwise import equal, less, where, zeros_like
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.rules import same_number

REDUCTION = Kind.REDUCTION


def reduced(x, *, axes):
    """The type with `axes` removed."""
    if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
        raise TypeRuleError(f"axes {axes} do not fit {{0}} of {x.rank} dimensions")
    same_number(x)
    return x.with_shape(tuple(d for i, d in enumerate(x.shape) if i not in axes))


def nonempty(x, *, axes):
    if any(x.shape[axis] == 0 for axis in axes):
        raise TypeRuleError("a maximum or minimum over no elements does not exist")
    return reduced(x, axes=axes)


def spread(y, x, axes):
    """Give a reduced value the shape of what was reduced: the axes come back by repetition."""
    return broadcast_to(reshape(y, shape=keep(x.shape, axes)), shape=x.shape)


def keep(shape, axes):
    return tuple(1 if i in axes else d for i, d in enumerate(shape))


def samples():
    rng = np.random.default_rng(5)
    for shape, axes in (
        ((7,), (0,)),
        ((3, 17), (1,)),
        ((3, 17), (0,)),
        ((2, 5, 4), (0, 2)),
        ((2, 3), (0, 1)),
        ((4, 3), ()),
    ):
        yield (
            (
                rng.permutation(float(np.prod(shape)) * 0 + np.arange(np.prod(shape))).reshape(shape) * 0.37
                - 1.1,
            ),
            {"axes": axes},
        )


def elements(x, *, axes):
    return x.size


@op(REDUCTION, formula="y = Σ x", symbol="Σ", derivative={0: "1"}, onnx="ReduceSum", flops=elements)
class sum_:
    """Sum over axes.  dy/dx = 1: the gradient is repeated along the axes."""

    infer = reduced
    samples = samples

    def reference(x, *, axes):
        return x.sum(axis=axes, dtype=x.dtype)

    def vjp(ct, x, y, *, axes):
        return spread(ct, x, axes)


@op(
    REDUCTION,
    formula="y = max x",
    symbol="max",
    derivative={0: "[{x} = {y}], first"},
    onnx="ReduceMax",
    flops=elements,
)
class max_:
    """Maximum over axes; NaN wins.  The gradient goes to the first largest element."""

    infer = nonempty
    samples = samples
    kinks = "ties: the gradient goes to the first largest element"

    def reference(x, *, axes):
        return x.max(axis=axes)

    def vjp(ct, x, y, *, axes):
        return where(first_equal(x, y, axes), spread(ct, x, axes), zeros_like(x))


@op(
    REDUCTION,
    formula="y = min x",
    symbol="min",
    derivative={0: "[{x} = {y}], first"},
    onnx="ReduceMin",
    flops=elements,
)
class min_:
    """Minimum over axes; NaN wins.  The gradient goes to the first smallest element."""

    infer = nonempty
    samples = samples
    kinks = "ties: the gradient goes to the first smallest element"

    def reference(x, *, axes):
        return x.min(axis=axes)

    def vjp(ct, x, y, *, axes):
        return where(first_equal(x, y, axes), spread(ct, x, axes), zeros_like(x))


def first_equal(x, y, axes):
    """Where x equals its reduction y for the first time in row-major order along the axes."""
    equals = equal(x, spread(y, x, axes))
    position = zeros_like_int(x)
    for axis in axes:
        position = (
            position * x.shape[axis] if isinstance(x.shape[axis], int) else scale(position, x.shape[axis])
        )
        position = position + iota(shape=x.shape, axis=axis, dtype=int64)
    far = where(equals, position, 2**62)
    first = min_(far, axes=axes)
    return less(far, spread(first, x, axes) + 1)


def zeros_like_int(x):
    from graphc.ir.builder import Builder

    return Builder.current().constant(0, int64, x.shape)


def scale(position, dim):
    from graphc.ops.creation import dim_size

    return position * dim_size(dim=dim, dtype=int64)


@op(
    REDUCTION,
    formula="y = argmax x",
    symbol="argmax",
    no_gradient="a position is a step",
    onnx="ArgMax",
    flops=elements,
)
class argmax:
    """Position (int64) of the first largest element along one axis; the first NaN wins."""

    def infer(x, *, axis):
        return nonempty(x, axes=(axis,)).with_dtype(int64)

    def samples():
        rng = np.random.default_rng(5)
        yield (rng.normal(size=(3, 7)),), {"axis": 1}
        yield (np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 1.0]]),), {"axis": 1}
        yield (rng.normal(size=(4, 5)),), {"axis": 0}

    def reference(x, *, axis):
        return np.argmax(x, axis=axis)


def mean(x, axes):
    """The mean over axes, as a sum and a division by the number of elements."""
    from graphc.ir.dims import product
    from graphc.ops.creation import dim_size

    count = product(x.shape[axis] for axis in axes)
    divisor = count if isinstance(count, int) else dim_size(dim=count, dtype=x.dtype)
    return sum_(x, axes=axes) / (float(divisor) if isinstance(divisor, int) else divisor)
