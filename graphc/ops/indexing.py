"""Indexing by data: elements are taken from, or added to, positions that are themselves a tensor.

A position counts from 0; a negative one counts from the end.  One that is out of range is an error on every backend.
Taking and adding are each other's gradients.
"""

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import bool_, float32, float64, int64
from graphc.ops.creation import iota
from graphc.ops.elementwise import cast, equal
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.rules import check_dtype, same_number

INDEXING = Kind.INDEXING
WHOLE = NoGradient("positions are whole numbers")


class IndexOutOfRange(GraphcError):
    """A position in the data of a gather or scatter does not exist.

    Positions of an axis of size n go from -n to n - 1.  An embedding of 1000 words has no word 1000; a
    model of 10 classes no label 10.
    """

    code = "GC0120"


def checked(indices: np.ndarray, size: int) -> np.ndarray:
    """Positions in [0, size) for positions in [-size, size).  Raises IndexError."""
    outside = (indices < -size) | (indices >= size)
    if outside.any():
        raise IndexError(f"index {indices[outside].flat[0]} is out of range for a size of {size}")
    positions = indices.astype(np.int64)
    return np.where(positions < 0, positions + size, positions)


def check_positions(indices, position=1):
    if indices.dtype.kind not in ("int", "uint"):
        raise TypeRuleError(f"positions must be whole numbers, {{{position}}} is {indices.dtype}")


def check_axis(rank, axis):
    if not (isinstance(axis, int) and 0 <= axis < rank):
        raise TypeRuleError(f"axis {axis} does not fit {{0}} of {rank} dimensions")


def check_size(size):
    if isinstance(size, int) and size < 0:
        raise TypeRuleError(f"size {size} must be >= 0")


def free(*types, **attributes):
    return 0


def additions(updates, indices, **attributes):
    return updates.size


@op(
    INDEXING,
    formula="y = x[i] along an axis",
    symbol="[i]",
    derivative={0: "[taken]"},
    onnx="Gather",
    flops=free,
)
class gather:
    """Slices of x at the given positions of one axis, as in an embedding.

    y[a..., i..., b...] = x[a..., indices[i...], b...]: x[A..., n, B...], indices[I...] ->
    y[A..., I..., B...].  The gradient is added up where a position was taken twice.
    """

    def infer(x, indices, *, axis):
        check_positions(indices)
        check_axis(x.rank, axis)
        return x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def samples():
        rng = np.random.default_rng(37)
        yield (rng.normal(size=(5, 3)), np.array([4, 0, 0, -1])), {"axis": 0}
        yield (rng.normal(size=(2, 7, 3)), np.array([[6, -7], [2, 2], [0, 1]], np.int32)), {"axis": 1}
        yield (rng.normal(size=(4,)), np.array(2, np.uint8)), {"axis": 0}
        yield (rng.normal(size=(3, 5)), np.zeros((0,), np.int64)), {"axis": 1}
        yield (rng.normal(size=(0, 5)), np.array([1, 3])), {"axis": 1}

    def reference(x, indices, *, axis):
        return np.take(x, checked(indices, x.shape[axis]), axis=axis)

    def vjp(ct, x, indices, y, *, axis):
        return scatter_add(ct, indices, axis=axis, size=x.shape[axis]), WHOLE


@op(INDEXING, formula="y[i] += x along an axis", symbol="[i]+=", derivative={0: "1"}, flops=additions)
class scatter_add:
    """Slices of x added into zeros at the given positions of one axis; the gradient of `gather`.

    x[A..., I..., B...], indices[I...] -> y[A..., size, B...].  Added in row-major order.
    """

    def infer(x, indices, *, axis, size):
        same_number(x)
        check_positions(indices)
        check_axis(x.rank - indices.rank + 1, axis)
        check_size(size)
        end = axis + indices.rank
        if x.shape[axis:end] != indices.shape:
            raise TypeRuleError(
                f"{{0}} has sizes {list(x.shape[axis:end])} from axis {axis}, positions {{1}} {list(indices.shape)}"
            )
        return x.with_shape((*x.shape[:axis], size, *x.shape[end:]))

    def samples():
        rng = np.random.default_rng(41)
        for (x, indices), attributes in gather.samples():
            y = gather.reference(x, indices, **attributes)
            yield (rng.normal(size=y.shape), indices), {"size": x.shape[attributes["axis"]], **attributes}

    def reference(x, indices, *, axis, size):
        positions = checked(indices, size)
        y = np.zeros((*x.shape[:axis], size, *x.shape[axis + indices.ndim :]), x.dtype)
        np.add.at(y, (slice(None),) * axis + (positions,), x)
        return y

    def vjp(ct, x, indices, y, *, axis, size):
        return gather(ct, indices, axis=axis), WHOLE


def check_elements(x, indices, axis):
    check_positions(indices)
    check_axis(x.rank, axis)
    if indices.rank != x.rank or any(
        a != b for i, (a, b) in enumerate(zip(x.shape, indices.shape)) if i != axis
    ):
        raise TypeRuleError(f"positions {{1}} must have the sizes of {{0}} except along axis {axis}")


def everywhere(positions, axis):
    """An index of one element for each position: itself along `axis`, its own place along the others."""
    grid = list(np.ogrid[tuple(slice(n) for n in positions.shape)])
    grid[axis] = positions
    return tuple(grid)


@op(
    INDEXING,
    formula="y = x[..., i, ...]",
    symbol="[i]",
    derivative={0: "[taken]"},
    onnx="GatherElements",
    flops=free,
)
class gather_elements:
    """One element of x for each position: y[a, i, b] = x[a, indices[a, i, b], b] along one axis.

    x[A..., n, B...], indices[A..., m, B...] -> y[A..., m, B...].  Picks the label's score out of each row.
    """

    def infer(x, indices, *, axis):
        check_elements(x, indices, axis)
        return x.with_shape(indices.shape)

    def samples():
        rng = np.random.default_rng(43)
        yield (rng.normal(size=(5, 3)), np.array([[2], [0], [-1], [1], [1]])), {"axis": 1}
        yield (rng.normal(size=(2, 3, 4)), rng.integers(-3, 3, (2, 7, 4)).astype(np.int32)), {"axis": 1}
        yield (rng.normal(size=(7,)), np.array([3, 3, 0])), {"axis": 0}
        yield (rng.normal(size=(0, 5)), np.zeros((0, 2), np.int64)), {"axis": 1}

    def reference(x, indices, *, axis):
        return x[everywhere(checked(indices, x.shape[axis]), axis)]

    def vjp(ct, x, indices, y, *, axis):
        return scatter_elements(ct, indices, axis=axis, size=x.shape[axis]), WHOLE


@op(INDEXING, formula="y[..., i, ...] += x", symbol="[i]+=", derivative={0: "1"}, flops=additions)
class scatter_elements:
    """Each element of x added into zeros at its position along one axis; the gradient of `gather_elements`.

    x[A..., m, B...], indices of the same shape -> y[A..., size, B...].  Added in row-major order.
    """

    def infer(x, indices, *, axis, size):
        same_number(x)
        check_positions(indices)
        check_axis(x.rank, axis)
        check_size(size)
        if indices.shape != x.shape:
            raise TypeRuleError("positions {1} must have the shape of {0}")
        return x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :]))

    def samples():
        rng = np.random.default_rng(47)
        for (x, indices), attributes in gather_elements.samples():
            yield (
                (rng.normal(size=indices.shape), indices),
                {"size": x.shape[attributes["axis"]], **attributes},
            )

    def reference(x, indices, *, axis, size):
        y = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
        np.add.at(y, everywhere(checked(indices, size), axis), x)
        return y

    def vjp(ct, x, indices, y, *, axis, size):
        return gather_elements(ct, indices, axis=axis), WHOLE


def label_mask(labels, shape, axis):
    """Booleans of a shape: whether the place along `axis` is the label.  `labels` has the shape without that axis."""
    kept = (*labels.shape[:axis], 1, *labels.shape[axis:])
    labels = labels if labels.dtype == int64 else cast(labels, dtype=int64)
    spread = broadcast_to(reshape(labels, shape=kept), shape=shape)
    return equal(iota(shape=shape, axis=axis, dtype=int64), spread)


@op(
    Kind.COMPOSITE,
    formula="y = [i = label]",
    symbol="1 of C",
    no_gradient="labels are whole numbers",
    onnx="OneHot",
)
class one_hot:
    """1 at the label and 0 elsewhere, along a new axis: labels[A..., B...] -> y[A..., classes, B...].

    `axis` is where the new axis stands in y; -1, the default, is last.

    A label outside 0 ... classes - 1 gives zeros only.
    """

    defaults = {"axis": -1}

    def infer(labels, *, classes, dtype, axis):
        check_positions(labels, 0)
        if not -1 <= axis <= labels.rank:
            raise TypeRuleError(f"axis {axis} does not fit labels {{0}} of {labels.rank} dimensions")
        check_size(classes)
        check_dtype(dtype)
        place = labels.rank if axis == -1 else axis
        return labels.with_shape((*labels.shape[:place], classes, *labels.shape[place:])).with_dtype(dtype)

    def samples():
        yield (np.array([2, 0, -1, 3, 1]),), {"classes": 3, "dtype": float32}
        yield (np.array([[2, 0], [1, 1]], np.uint8),), {"classes": 7, "dtype": float64}
        yield (np.array(1, np.int32),), {"classes": 2, "dtype": bool_}
        yield (np.zeros((0,), np.int64),), {"classes": 2, "dtype": int64}
        yield (np.array([[2, 0, 5], [1, 1, 0]]),), {"classes": 7, "dtype": float64, "axis": 1}
        yield (np.array([4, 0]),), {"classes": 5, "dtype": float32, "axis": 0}

    def reference(labels, *, classes, dtype, axis):
        return np.moveaxis((labels[..., None] == np.arange(classes)).astype(dtype.numpy), -1, axis)

    def body(labels, *, classes, dtype, axis):
        place = labels.type.rank if axis == -1 else axis
        shape = (*labels.shape[:place], classes, *labels.shape[place:])
        return cast(label_mask(labels, shape, place), dtype=dtype)
