"""Along one axis, an element after the other: running sums and products, linear recurrences, the order of elements.

Both directions are one op: `reverse` walks the axis from its end.
"""

import numpy as np

from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.creation import dim_size, iota
from graphc.ops.elementwise import equal, where, zeros_like
from graphc.ops.indexing import check_axis, gather_elements
from graphc.ops.movement import pad, slice_
from graphc.ops.rules import same_number

SEQUENTIAL = Kind.SEQUENTIAL


def elements(x, *_, **attributes):
    return x.size


def running(x, *, axis, exclusive, reverse):
    check_axis(x.rank, axis)
    return same_number(x)


def running_samples():
    rng = np.random.default_rng(83)
    yield (rng.normal(size=7),), {"axis": 0}
    yield (rng.normal(size=(3, 17)),), {"axis": 1, "exclusive": True}
    yield (rng.normal(size=(5, 3)),), {"axis": 0, "reverse": True}
    yield (rng.normal(size=(2, 4, 31)),), {"axis": 1, "exclusive": True, "reverse": True}
    yield (rng.normal(size=(2, 1)),), {"axis": 1, "exclusive": True}
    yield (np.array([[0.5, 0.0, 2.0, 0.0, -1.5], [0.0, -0.0, 3.0, 1.0, 2.0]]),), {"axis": 1}
    yield (np.zeros((0, 3)),), {"axis": 1}
    yield (np.zeros((2, 0)),), {"axis": 1, "exclusive": True}


@op(
    SEQUENTIAL,
    formula="yᵢ = x₀ + ... + xᵢ",
    symbol="cumsum",
    derivative={0: "1"},
    onnx="CumSum",
    flops=elements,
)
class cumsum:
    """Running sum along an axis, added one after the other.

    exclusive   yᵢ is the sum of the elements before the i-th
    reverse     sums run from the end of the axis

    The gradient is the running sum of the cotangent in the other direction.
    """

    defaults = {"exclusive": False, "reverse": False}
    infer = running
    samples = running_samples

    def reference(x, *, axis, exclusive, reverse):
        x = np.flip(x, axis) if reverse else x
        y = np.cumsum(x, axis=axis, dtype=x.dtype)
        if exclusive:  # one place further, after a 0
            y = np.insert(y, 0, 0, axis).take(range(x.shape[axis]), axis)
        return np.flip(y, axis) if reverse else y

    def vjp(ct, x, y, *, axis, exclusive, reverse):
        return cumsum(ct, axis=axis, exclusive=exclusive, reverse=not reverse)


def moved(x, axis, reverse, first):
    """x with each element at the place the walk comes to next; `first` stands where it begins."""
    size = x.shape[axis]
    low, high = (1, size) if reverse else (0, size - 1)
    starts = tuple(low if i == axis else 0 for i in range(x.type.rank))
    stops = tuple(high if i == axis else d for i, d in enumerate(x.shape))
    kept = slice_(x, starts=starts, stops=stops, steps=(1,) * x.type.rank)
    one, none = tuple(int(i == axis) for i in range(x.type.rank)), (0,) * x.type.rank
    before, after = (none, one) if reverse else (one, none)
    return pad(kept, low=before, high=after, interior=none, value=first)


@op(
    SEQUENTIAL,
    formula="hᵢ = aᵢ·hᵢ₋₁ + bᵢ, h₀ = b₀",
    symbol="h=ah+b",
    derivative={0: "hᵢ₋₁", 1: "1"},
    flops=lambda a, b, **_: a.size * 2,
)
class linear_recurrence:
    """hᵢ = aᵢ·hᵢ₋₁ + bᵢ along an axis, beginning with h₀ = b₀; with `reverse` hᵢ = aᵢ·hᵢ₊₁ + bᵢ from the end.

    Discounted sums, running products, linear state-space models.  The cotangent of b obeys the recurrence in the other
    direction, with each factor one place further; that of a is it times the h before.
    """

    defaults = {"reverse": False}

    def infer(a, b, *, axis, reverse):
        check_axis(a.rank, axis)
        return same_number(a, b)

    def samples():
        rng = np.random.default_rng(89)
        yield (rng.normal(size=7), rng.normal(size=7)), {"axis": 0}
        yield (rng.normal(size=(3, 17)), rng.normal(size=(3, 17))), {"axis": 1, "reverse": True}
        yield (rng.normal(size=(2, 4, 31)), rng.normal(size=(2, 4, 31))), {"axis": 1}
        yield (rng.normal(size=(5, 3)), rng.normal(size=(5, 3))), {"axis": 0, "reverse": True}
        yield (np.array([[np.nan, 2.0, 0.0]]), np.ones((1, 3))), {"axis": 1}
        yield (np.ones((2, 1)), np.ones((2, 1))), {"axis": 1}
        yield (np.zeros((0, 3)), np.zeros((0, 3))), {"axis": 1}

    def reference(a, b, *, axis, reverse):
        a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
        h = np.empty_like(b)
        state = None
        for i in range(len(b))[:: -1 if reverse else 1]:
            state = b[i] if state is None else a[i] * state + b[i]
            h[i] = state
        return np.moveaxis(h, 0, axis)

    def vjp(ct, a, b, h, *, axis, reverse):
        if a.type.size == 0:
            return ct, ct
        slope = linear_recurrence(moved(a, axis, not reverse, 0.0), ct, axis=axis, reverse=not reverse)
        return slope * moved(h, axis, reverse, 0.0), slope


@op(
    Kind.COMPOSITE,
    formula="yᵢ = x₀ · ... · xᵢ",
    symbol="cumprod",
    derivative={0: "yⱼ/xᵢ for j ≥ i"},
    onnx="CumProd",
)
class cumprod:
    """Running product along an axis; attributes as of `cumsum`.  The gradient is right where elements are 0, too."""

    defaults = {"exclusive": False, "reverse": False}
    infer = running
    samples = running_samples

    def body(x, *, axis, exclusive, reverse):
        if x.shape[axis] == 0:
            return x
        place = iota(shape=x.shape, axis=axis, dtype=int64)
        begins = equal(place, dim_size(dim=x.shape[axis] - 1, dtype=int64) if reverse else 0)
        factors = moved(x, axis, reverse, 1.0) if exclusive else x
        return linear_recurrence(factors, where(begins, factors, zeros_like(x)), axis=axis, reverse=reverse)


def ordered(x, *, axis, descending):
    check_axis(x.rank, axis)
    return x


def order_samples():
    rng = np.random.default_rng(97)
    yield (rng.permutation(7) * 0.3,), {"axis": 0}
    yield (rng.permutation(51).reshape(3, 17) * 0.3,), {"axis": 1, "descending": True}
    yield (rng.permutation(40).reshape(2, 5, 4) * 0.3,), {"axis": 1}
    yield (rng.permutation(15).reshape(5, 3) * 0.3,), {"axis": 0, "descending": True}
    for descending in (False, True):
        yield (np.array([[1, 0, 1, 2, 0, 2, 1]], np.int32),), {"axis": 1, "descending": descending}
        yield (
            (np.array([[2.0, np.nan, -np.inf, 2.0, -0.0, 0.0, np.inf, np.nan, 1.0]], np.float32),),
            {"axis": 1, "descending": descending},
        )
    yield (np.array([[3.0]]),), {"axis": 1}
    yield (np.zeros((0, 3)),), {"axis": 1}


@op(
    SEQUENTIAL,
    formula="x[y] is in order",
    symbol="argsort",
    no_gradient="positions are whole numbers",
    flops=lambda x, **_: 0,
)
class argsort:
    """Positions (int64) that put x in order along an axis; equal elements stay in their order, in both directions.

    NaN counts as larger than every number.
    """

    defaults = {"descending": False}

    def infer(x, *, axis, descending):
        return ordered(x, axis=axis, descending=descending).with_dtype(int64)

    samples = order_samples

    def reference(x, *, axis, descending):
        if descending:  # the last of equal elements backwards is the first
            return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, stable=True), axis)
        return np.argsort(x, axis=axis, stable=True)


@op(Kind.COMPOSITE, formula="y = x in order", symbol="sort", derivative={0: "[taken]"})
class sort:
    """x in order along an axis, NaN last (first when descending).  Each element takes its gradient with it."""

    defaults = {"descending": False}
    infer = ordered
    samples = order_samples
    kinks = "ties: the gradient goes to the place the element came from"

    def reference(x, *, axis, descending):
        if descending:
            return np.flip(np.sort(x, axis=axis, stable=True), axis)
        return np.sort(x, axis=axis, stable=True)

    def body(x, *, axis, descending):
        return gather_elements(x, argsort(x, axis=axis, descending=descending), axis=axis)


@op(
    Kind.COMPOSITE,
    formula="y, i = the k largest, and where",
    symbol="top k",
    derivative={0: "[taken]"},
    onnx="TopK",
)
class topk:
    """The k largest elements along an axis in falling order, and their positions (int64); of equal ones the first.

    With largest=False the k smallest in rising order.
    """

    defaults = {"largest": True}
    kinks = "ties: the gradient goes to the place the element came from"

    def infer(x, *, k, axis, largest):
        check_axis(x.rank, axis)
        size = x.shape[axis]
        if isinstance(k, int) and (k < 0 or isinstance(size, int) and k > size):
            raise TypeRuleError(f"k is {k}, the axis has {size} elements")
        shape = tuple(k if i == axis else d for i, d in enumerate(x.shape))
        return x.with_shape(shape), x.with_shape(shape).with_dtype(int64)

    def samples():
        for number, ((x,), attributes) in enumerate(order_samples()):
            axis = attributes["axis"]
            yield (x,), {"axis": axis, "k": min(3, x.shape[axis]), "largest": number % 2 == 0}

    def body(x, *, k, axis, largest):
        order = argsort(x, axis=axis, descending=largest)
        stops = tuple(k if i == axis else d for i, d in enumerate(x.shape))
        chosen = slice_(order, starts=(0,) * len(stops), stops=stops, steps=(1,) * len(stops))
        return gather_elements(x, chosen, axis=axis), chosen
