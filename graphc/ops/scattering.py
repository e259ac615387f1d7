"""Writing to positions that are data, and positions along several axes at once.

`scatter` is the primitive; what names a position by several numbers counts through the axes as one.
"""

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.dims import product
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.creation import dim_size, iota
from graphc.ops.elementwise import cast, equal, greater_equal, less, logical_and, where, zeros_like
from graphc.ops.indexing import INDEXING, WHOLE, additions, check_axis, check_positions, checked, gather
from graphc.ops.movement import broadcast_to, reshape, slice_
from graphc.ops.rules import same_number

HOW = ("set", "add", "mul", "max", "min")
COMPOSITE = Kind.COMPOSITE


def check_how(x, updates, how, position=2):
    if how not in HOW:
        raise TypeRuleError(f"how is one of {', '.join(HOW)}, not {how!r}")
    if x.dtype != updates.dtype:
        raise TypeRuleError(
            f"dtypes differ: {x.dtype} ({{0}}) and {updates.dtype} ({{{position}}})",
            f'convert one of them: .astype("{x.dtype}")',
            DTypeError,
        )
    if how != "set":
        same_number(x)


@op(
    INDEXING,
    formula="y = x, y[i] = u along an axis",
    symbol="[i]=",
    derivative={0: "[not written]", 2: "[last written]"},
    flops=lambda x, indices, updates, **_: additions(updates, indices),
)
class scatter:
    """x with slices written to the given positions of one axis, in row-major order.

    x[A..., n, B...], indices[I...], updates[A..., I..., B...] -> y of the shape of x.
    how   "set": the last one written to a position stays; "add", "mul", "max", "min": put together with what is there

    The gradient of a written slice goes to the update that stayed; those of "mul", "max" and "min" do not exist here.
    """

    defaults = {"how": "set"}

    def infer(x, indices, updates, *, axis, how):
        check_how(x, updates, how)
        check_positions(indices)
        check_axis(x.rank, axis)
        wanted = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        if updates.shape != wanted:
            raise TypeRuleError(f"{{2}} must have the shape {list(wanted)} of the slices it is written to")
        return x

    def samples():
        rng = np.random.default_rng(101)
        for how in ("set", "add"):
            yield (
                (rng.normal(size=(5, 3)), np.array([4, 0, -1]), rng.normal(size=(3, 3))),
                {"axis": 0, "how": how},
            )
            yield (
                (
                    rng.normal(size=(2, 7, 3)),
                    np.array([[6, -7], [2, 2]], np.int32),
                    rng.normal(size=(2, 2, 2, 3)),
                ),
                {"axis": 1, "how": how},
            )
            yield (rng.normal(size=4), np.array(2, np.uint8), np.array(0.5)), {"axis": 0, "how": how}
            yield (
                (rng.normal(size=(3, 5)), np.zeros((0,), np.int64), np.zeros((3, 0))),
                {"axis": 1, "how": how},
            )
        for how in HOW:
            x, updates = (
                rng.normal(size=(2, 6)).astype(np.float32),
                rng.normal(size=(2, 5)).astype(np.float32),
            )
            updates[0, 1] = np.nan
            yield (x, np.array([1, 5, 1, 1, 0]), updates), {"axis": 1, "how": how}

    def reference(x, indices, updates, *, axis, how):
        place = (slice(None),) * axis + (checked(indices, x.shape[axis]),)
        y = x.copy()
        if how == "set":
            y[place] = updates
        elif how == "add":
            np.add.at(y, place, updates)
        elif how == "mul":
            np.multiply.at(y, place, updates)
        elif how == "max":
            np.maximum.at(y, place, updates)
        else:
            np.minimum.at(y, place, updates)
        return y

    def vjp(ct, x, indices, updates, y, *, axis, how):
        if how == "add":
            return ct, WHOLE, gather(ct, indices, axis=axis)
        if how != "set":
            none = NoGradient(f'what is written with how="{how}" has no gradient here')
            return none, WHOLE, none
        kept = scatter(ct, indices, zeros_like(updates), axis=axis)
        back = gather(ct, indices, axis=axis)
        order = reshape(iota(shape=(indices.type.size,), axis=0, dtype=int64), shape=indices.shape)
        nobody = broadcast_to(size_of(0), shape=(x.shape[axis],))
        last = gather(scatter(nobody, indices, order, axis=0), indices, axis=0)
        behind = (1,) * (x.type.rank - axis - 1)
        stayed = broadcast_to(reshape(equal(last, order), shape=(*indices.shape, *behind)), shape=back.shape)
        return kept, WHOLE, where(stayed, back, zeros_like(back))


def size_of(dim):
    """A size as a number (int64)."""
    return dim_size(dim=dim, dtype=int64)


def counted(positions, size):
    """(position counted from 0, whether it exists) for positions of an axis that may count from its end."""
    positions = positions if positions.dtype == int64 else cast(positions, dtype=int64)
    n = size_of(size)
    positions = where(less(positions, 0), positions + n, positions)
    return positions, logical_and(greater_equal(positions, 0), less(positions, n))


def joint(parts, sizes):
    """One number for positions along several axes in row-major order; past the end where one does not exist."""
    total, exists = None, None
    for positions, size in zip(parts, sizes, strict=True):
        place, inside = counted(positions, size)
        total = place if total is None else total * size_of(size) + place
        exists = inside if exists is None else logical_and(exists, inside)
    return where(exists, total, size_of(product(sizes)))


def check_last(indices, x, batch=0):
    check_positions(indices)
    count = indices.shape[-1] if indices.rank else None
    if not isinstance(count, int) or not 1 <= count <= x.rank - batch or indices.rank <= batch:
        raise TypeRuleError(
            f"the last axis of {{1}} holds a position for each of 1 to {x.rank - batch} axes of {{0}}, it is {count}"
        )
    return count


def components(indices):
    """The positions along each axis: the last axis of `indices` taken apart."""
    *lead, count = indices.shape
    for i in range(count):
        starts, stops = (*(0 for _ in lead), i), (*lead, i + 1)
        yield reshape(slice_(indices, starts=starts, stops=stops, steps=(1,) * len(stops)), shape=tuple(lead))


@op(
    COMPOSITE,
    formula="y = x[i, j, ...]",
    symbol="[i,j]",
    derivative={0: "[taken]"},
    onnx="GatherND",
)
class gather_nd:
    """Slices of x at positions along several axes: the last axis of `indices` names one along each of k axes.

    x[C..., D1, ..., Dk, R...], indices[C..., I..., k] -> y[C..., I..., R...] with `batch` axes C that both share.
    """

    defaults = {"batch": 0}

    def infer(x, indices, *, batch):
        count = check_last(indices, x, batch)
        if x.shape[:batch] != indices.shape[:batch]:
            raise TypeRuleError(f"the first {batch} sizes of {{0}} and {{1}} differ")
        return x.with_shape((*indices.shape[:-1], *x.shape[batch + count :]))

    def samples():
        rng = np.random.default_rng(103)
        yield (rng.normal(size=(3, 4, 2)), np.array([[0, 3], [2, -1], [0, 3]])), {}
        yield (rng.normal(size=(3, 4)), np.array([[[0, 3], [2, -1]]], np.int32)), {}
        yield (rng.normal(size=(2, 3, 4)), np.array([[[0], [2]], [[1], [-3]]])), {"batch": 1}
        yield (rng.normal(size=(7,)), np.array([[6], [0]], np.uint8)), {}
        yield (rng.normal(size=(3, 4)), np.zeros((0, 2), np.int64)), {}

    def reference(x, indices, *, batch):
        parts = [checked(indices[..., i], x.shape[batch + i]) for i in range(indices.shape[-1])]
        lead = np.ogrid[tuple(slice(n) for n in x.shape[:batch])] if batch else []
        lead = [axis.reshape(axis.shape + (1,) * (indices.ndim - 1 - batch)) for axis in lead]
        return x[(*lead, *parts)]

    def body(x, indices, *, batch):
        count = indices.shape[-1]
        shared, sizes, rest = x.shape[:batch], x.shape[batch : batch + count], x.shape[batch + count :]
        place = joint(list(components(indices)), sizes)
        if batch:
            number = reshape(iota(shape=(product(shared),), axis=0, dtype=int64), shape=shared)
            number = reshape(number, shape=(*shared, *(1,) * (place.type.rank - batch)))
            n = size_of(product(sizes))
            first = broadcast_to(number, shape=place.shape) * n
            beyond = size_of(product(shared) * product(sizes))
            place = where(less(place, n), place + first, beyond)
        return gather(reshape(x, shape=(product(shared) * product(sizes), *rest)), place, axis=0)


@op(
    COMPOSITE,
    formula="y = x, y[i, j, ...] = u",
    symbol="[i,j]=",
    derivative={0: "[not written]", 2: "[last written]"},
    onnx="ScatterND",
)
class scatter_nd:
    """x with slices written to positions along several axes; `how` as of `scatter`.

    x[D1, ..., Dk, R...], indices[I..., k], updates[I..., R...] -> y of the shape of x.
    """

    defaults = {"how": "set"}

    def infer(x, indices, updates, *, how):
        check_how(x, updates, how)
        count = check_last(indices, x)
        wanted = (*indices.shape[:-1], *x.shape[count:])
        if updates.shape != wanted:
            raise TypeRuleError(f"{{2}} must have the shape {list(wanted)} of the slices it is written to")
        return x

    def samples():
        rng = np.random.default_rng(107)
        for how in ("set", "add"):
            places = np.array([[0, 3], [2, -1], [0, 3]])
            yield (rng.normal(size=(3, 4, 2)), places, rng.normal(size=(3, 2))), {"how": how}
            yield (
                (rng.normal(size=(3, 4)), places[None].astype(np.int32), rng.normal(size=(1, 3))),
                {"how": how},
            )
            yield (rng.normal(size=(7,)), np.array([[6], [0]], np.uint8), rng.normal(size=2)), {"how": how}
        yield (rng.normal(size=(3, 4)).astype(np.float32), places, np.float32([1, -9, 2])), {"how": "max"}

    def body(x, indices, updates, *, how):
        count = indices.shape[-1]
        sizes, rest = x.shape[:count], x.shape[count:]
        place = joint(list(components(indices)), sizes)
        flat = scatter(reshape(x, shape=(product(sizes), *rest)), place, updates, axis=0, how=how)
        return reshape(flat, shape=x.shape)


@op(
    COMPOSITE,
    formula="y = x, y[..., i, ...] = u",
    symbol="[i]=",
    derivative={0: "[not written]", 2: "[last written]"},
    onnx="ScatterElements",
)
class put_elements:
    """x with one element written for each position along an axis: y[a, indices[a, i, b], b] = updates[a, i, b].

    `indices` and `updates` have one shape, along other axes no longer than x; `how` as of `scatter`.
    """

    defaults = {"how": "set"}

    def infer(x, indices, updates, *, axis, how):
        check_how(x, updates, how)
        check_positions(indices)
        check_axis(x.rank, axis)
        if indices.shape != updates.shape or indices.rank != x.rank:
            raise TypeRuleError("positions {1} must have the shape of {2}, and as many axes as {0}")
        for i, (size, whole) in enumerate(zip(indices.shape, x.shape)):
            fits = size <= whole if isinstance(size, int) and isinstance(whole, int) else size == whole
            if i != axis and not fits:
                raise TypeRuleError(f"{{1}} is longer than {{0}} along axis {i}")
        return x

    def samples():
        rng = np.random.default_rng(109)
        for how in ("set", "add"):
            places = np.array([[2, 0], [-1, 1], [1, 1]])
            yield (rng.normal(size=(5, 3)), places, rng.normal(size=(3, 2))), {"axis": 1, "how": how}
            yield (
                (
                    rng.normal(size=(2, 3, 4)),
                    rng.integers(-3, 3, (2, 7, 4)).astype(np.int32),
                    rng.normal(size=(2, 7, 4)),
                ),
                {"axis": 1, "how": how},
            )
            yield (rng.normal(size=7), np.array([3, 3, 0]), rng.normal(size=3)), {"axis": 0, "how": how}
        x = rng.normal(size=(2, 3)).astype(np.float32)
        yield (x, np.array([[2, 0], [0, 0]]), np.float32([[1, -1], [2, 5]])), {"axis": 1, "how": "min"}

    def body(x, indices, updates, *, axis, how):
        parts = [
            indices if i == axis else iota(shape=indices.shape, axis=i, dtype=int64)
            for i in range(x.type.rank)
        ]
        count = (indices.type.size,)
        place = reshape(joint(parts, x.shape), shape=count)
        flat = scatter(
            reshape(x, shape=(x.type.size,)), place, reshape(updates, shape=count), axis=0, how=how
        )
        return reshape(flat, shape=x.shape)
