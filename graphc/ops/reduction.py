"""Reductions over axes.  `axes` is a sorted tuple of axes; reduced axes disappear.

Keeping them as size 1 is a reshape, so that each rule stands here once.
"""

import numpy as np

from graphc.ir.dims import product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.creation import iota
from graphc.ops.elementwise import equal, where, zeros_like
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.rules import same_number

REDUCTION = Kind.REDUCTION


def reduced(x, *, axes):
    """The type with `axes` removed."""
    if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
        raise TypeRuleError(f"axes {axes} do not fit {{0}} of {x.rank} dimensions")
    same_number(x)
    return x.with_shape(tuple(d for i, d in enumerate(x.shape) if i not in axes))


def nonempty(x, *, axes):
    y = reduced(x, axes=axes)
    if any(x.shape[axis] == 0 for axis in axes):
        raise TypeRuleError("a maximum or minimum over no elements does not exist")
    return y


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
        distinct = rng.permutation(np.arange(float(np.prod(shape)))).reshape(shape) * 0.37 - 1.1
        yield (distinct,), {"axes": axes}


def elements(x, **_):
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
        return where(taken(argmax, x, axes), spread(ct, x, axes), zeros_like(x)) if axes else ct


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
        return where(taken(argmin, x, axes), spread(ct, x, axes), zeros_like(x)) if axes else ct


def products():
    """Zeros among the factors, one and several in a row."""
    for (x,), attributes in samples():
        yield (x + 1.3,), attributes
    yield (np.array([[2.0, 0.0, -1.5], [0.0, 3.0, 0.0], [0.5, -2.0, 1.5]]),), {"axes": (1,)}
    yield (np.array([[2.0, 0.0], [1.5, 3.0], [0.5, -1.0]]),), {"axes": (0, 1)}
    yield (np.zeros((0, 3)),), {"axes": (0,)}


@op(
    REDUCTION,
    formula="y = Π x",
    symbol="Π",
    derivative={0: "product of the others"},
    onnx="ReduceProd",
    flops=elements,
)
class prod:
    """Product over axes; 1 of nothing.  dy/dx is the product of the other elements, right where some are 0, too."""

    infer = reduced
    samples = products

    def reference(x, *, axes):
        return x.prod(axis=axes, dtype=x.dtype)

    def vjp(ct, x, y, *, axes):
        from graphc.ops.sequential import cumprod

        if not axes:
            return ct
        flat, back = merged(x, axes)
        axis = flat.type.rank - 1
        before = cumprod(flat, axis=axis, exclusive=True)
        behind = cumprod(flat, axis=axis, exclusive=True, reverse=True)
        return spread(ct, x, axes) * back(before * behind)


def merged(x, axes):
    """x with `axes` as one last axis, in row-major order, and the way back for a value of that shape."""
    order = tuple(i for i in range(x.type.rank) if i not in axes) + axes
    kept = tuple(x.shape[i] for i in order[: len(order) - len(axes)])
    back = tuple(sorted(range(len(order)), key=lambda i: order[i]))

    def restored(y):
        return transpose(reshape(y, shape=tuple(x.shape[i] for i in order)), permutation=back)

    flat = reshape(transpose(x, permutation=order), shape=(*kept, product(x.shape[i] for i in axes)))
    return flat, restored


def taken(index_of, x, axes):
    """Booleans of the shape of x: the element a maximum or minimum over axes was taken from.

    One axis needs only the position; several are first merged into one, in row-major order.
    """
    order = tuple(i for i in range(x.type.rank) if i not in axes) + axes
    merged = len(order) - len(axes)
    flat = transpose(x, permutation=order) if order != tuple(range(x.type.rank)) and len(axes) > 1 else x
    if len(axes) > 1:
        flat = reshape(flat, shape=(*flat.shape[:merged], product(flat.shape[merged:])))
    axis = merged if len(axes) > 1 else axes[0]
    position = spread(index_of(flat, axis=axis), flat, (axis,))
    mask = equal(iota(shape=flat.shape, axis=axis, dtype=int64), position)
    if len(axes) == 1:
        return mask
    mask = reshape(mask, shape=tuple(x.shape[i] for i in order))
    back = tuple(sorted(range(len(order)), key=lambda i: order[i]))
    return transpose(mask, permutation=back) if back != tuple(range(len(order))) else mask


def position_samples():
    rng = np.random.default_rng(5)
    yield (rng.normal(size=(3, 7)),), {"axis": 1}
    yield (np.array([[1.0, 2.0, 2.0, 1.0], [3.0, 3.0, 1.0, 1.0]]),), {"axis": 1}
    yield (np.array([[np.nan, 9.0, np.nan], [np.inf, -np.inf, np.nan]]),), {"axis": 1}
    yield (rng.normal(size=(4, 5)),), {"axis": 0}
    yield (rng.normal(size=(2, 3, 4)),), {"axis": 1}
    yield (np.zeros((0, 3)),), {"axis": 1}


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

    samples = position_samples

    def reference(x, *, axis):
        return np.argmax(x, axis=axis)


@op(
    REDUCTION,
    formula="y = argmin x",
    symbol="argmin",
    no_gradient="a position is a step",
    onnx="ArgMin",
    flops=elements,
)
class argmin:
    """Position (int64) of the first smallest element along one axis; the first NaN wins."""

    def infer(x, *, axis):
        return nonempty(x, axes=(axis,)).with_dtype(int64)

    samples = position_samples

    def reference(x, *, axis):
        return np.argmin(x, axis=axis)
