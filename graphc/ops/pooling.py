"""Pooling: the maximum or the average of each window of x[N, C, *S].

Max pooling also gives where each maximum stands, so that its gradient is a scatter, and the gradient of that a
gather.  Average pooling is linear; it and its derivative are each other's gradients.
"""

import math

import numpy as np

from graphc.ir.dims import product
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.indexing import gather_elements, scatter_elements
from graphc.ops.movement import reshape
from graphc.ops.rules import same_float, same_number
from graphc.ops.windows import check_windows, taps, window_counts

POOLING = Kind.POOLING


def laid_out(sizes, kernel, strides, padding, dilation, ceil):
    """How many windows there are along each axis, and the widths of padding that hold them all."""
    counts, widths = [], [(0, 0), (0, 0)]
    for size, k, s, (low, high), d in zip(sizes, kernel, strides, padding, dilation):
        room = low + size + high - (d * (k - 1) + 1)
        count = (room + (s - 1 if ceil else 0)) // s + 1
        if ceil and (count - 1) * s >= low + size:
            count -= 1  # it would start beyond the input
        counts.append(count)
        widths.append((low, max(high, (count - 1) * s + d * (k - 1) + 1 - low - size)))
    return counts, widths


def check_not_empty(sizes, counts, kernel, strides, padding, dilation):
    """A maximum over padding alone does not exist."""
    rows = zip(sizes, counts, kernel, strides, padding, dilation)
    for axis, (size, count, k, stride, (low, high), d) in enumerate(rows):
        if d == 1 and low < k and high < k and size != 0 or low == high == 0:
            continue
        if not isinstance(size, int):
            raise TypeRuleError(
                f"padding {low} + {high} around a window of {k} needs a fixed size along axis {axis} of {{0}}"
            )
        positions = np.arange(count)[:, None] * stride - low + np.arange(k) * d
        if not ((positions >= 0) & (positions < size)).any(axis=1).all():
            raise TypeRuleError(
                f"a window lies in the padding {low} + {high} alone along spatial axis {axis} of {{0}}",
                "use less padding than the size of the window",
            )


def pool_flops(x, *, kernel, strides, padding, **attributes):
    counts = window_counts(
        x.shape[2:],
        kernel,
        strides,
        padding,
        attributes.get("dilation", (1,) * len(kernel)),
        attributes["ceil"],
    )
    return product(x.shape[:2]) * product(counts) * product(kernel)


def average_dx_flops(ct, *, kernel, **attributes):
    return ct.size * product(kernel)


@op(
    POOLING,
    formula="y, i = max of windows of x",
    symbol="max",
    derivative={0: "[{x} is the first maximum]"},
    onnx="MaxPool",
    flops=pool_flops,
)
class max_pool:
    """Maximum of each window, and where it stands.

    x[N, C, *S] -> y[N, C, *T] and int64 i[N, C, *T], the row-major position of the maximum within its plane *S.
    NaN wins; among equals the first in row-major order; padding never wins.  With `ceil` a last window may
    hang over the end. The gradient goes to the element that was taken.
    """

    kinks = "ties: the gradient goes to the first largest element of the window"

    def infer(x, *, kernel, strides, padding, dilation, ceil):
        same_number(x)
        check_windows(x.rank - 2, kernel, strides, padding, dilation)
        counts = window_counts(x.shape[2:], kernel, strides, padding, dilation, ceil)
        check_not_empty(x.shape[2:], counts, kernel, strides, padding, dilation)
        y = x.with_shape((*x.shape[:2], *counts))
        return y, y.with_dtype(int64)

    def samples():
        rng = np.random.default_rng(19)
        for n, c, s, k, strides, padding, dilation, ceil in max_cases():
            x = np.asarray(rng.permutation(np.arange(float(n * c * product(s)))) * 0.31 - 4.0).reshape(
                n, c, *s
            )
            yield (
                (x,),
                {"kernel": k, "strides": strides, "padding": padding, "dilation": dilation, "ceil": ceil},
            )

    def reference(x, *, kernel, strides, padding, dilation, ceil):
        counts, widths = laid_out(x.shape[2:], kernel, strides, padding, dilation, ceil)
        positions = np.arange(math.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])
        x, positions = np.pad(x, widths), np.pad(positions, widths, constant_values=-1)
        largest = np.zeros((*x.shape[:2], *counts), x.dtype)
        index = np.full(largest.shape, -1)
        for _, met in taps(kernel, strides, dilation, counts):
            element, position = x[met], positions[met]
            larger = (element > largest) | (np.isnan(element) & ~np.isnan(largest)) | (index < 0)
            taken = larger & (position >= 0)
            largest, index = np.where(taken, element, largest), np.where(taken, position, index)
        return largest, index

    def vjp(cts, x, y, indices, *, kernel, strides, padding, dilation, ceil):
        return max_pool_dx(cts[0], indices, size=x.shape[2:])


def max_cases():
    """(N, C, S, K, strides, padding, dilation, ceil)"""
    yield 1, 1, (4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False
    yield 2, 3, (7,), (3,), (2,), ((1, 1),), (1,), False
    yield 2, 2, (5, 5), (3, 3), (2, 2), ((0, 0), (0, 0)), (1, 1), False
    yield 1, 2, (5, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), False  # windows overlap
    yield (
        1,
        3,
        (7, 6),
        (2, 3),
        (3, 2),
        ((1, 0), (0, 2)),
        (1, 1),
        False,
    )  # stride does not divide, one-sided padding
    yield 2, 1, (6, 7), (3, 2), (2, 2), ((1, 1), (0, 1)), (1, 1), True  # the last window hangs over
    yield 1, 2, (3, 3), (2, 2), (2, 2), ((1, 1), (1, 1)), (1, 1), True  # a window that would start outside
    yield 1, 1, (9, 8), (3, 2), (2, 1), ((2, 1), (1, 1)), (2, 3), False  # dilation
    yield 1, 2, (3, 4, 5), (2, 2, 3), (1, 2, 2), ((0, 0), (1, 0), (1, 1)), (1, 1, 1), False
    yield 0, 2, (4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False  # empty batch
    yield 1, 1, (5,), (1,), (1,), ((0, 0),), (1,), False


@op(POOLING, formula="x[i] += c", symbol="max′", derivative={0: "[taken]"})
class max_pool_dx:
    """Gradient of max pooling: each window's gradient goes to the element that was taken.

    c[N, C, *T], int64 i[N, C, *T] -> x[N, C, *size], zero where nothing was taken.
    """

    def infer(c, indices, *, size):
        same_number(c)
        if indices.dtype != int64 or indices.shape != c.shape:
            raise TypeRuleError("positions {1} must be int64 of the shape of {0}")
        if len(size) != c.rank - 2:
            raise TypeRuleError(f"size {list(size)} does not fit {{0}} of {c.rank - 2} spatial dimensions")
        return c.with_shape((*c.shape[:2], *size))

    def samples():
        rng = np.random.default_rng(23)
        for (x,), attributes in max_pool.samples():
            _, indices = max_pool.reference(x, **attributes)
            yield (rng.normal(size=indices.shape), indices), {"size": x.shape[2:]}

    def body(c, indices, *, size):
        flat = (*c.shape[:2], product(c.shape[2:]))
        plane = scatter_elements(
            reshape(c, shape=flat), reshape(indices, shape=flat), axis=2, size=product(size)
        )
        return reshape(plane, shape=(*c.shape[:2], *size))

    def vjp(ct, c, indices, x, *, size):
        plane = reshape(ct, shape=(*c.shape[:2], product(size)))
        taken = gather_elements(plane, reshape(indices, shape=(*c.shape[:2], product(c.shape[2:]))), axis=2)
        return reshape(taken, shape=c.shape), NoGradient("positions are whole numbers")


def divisors(sizes, kernel, strides, padding, ceil, count_include_pad, dtype):
    """[1, 1, *T]: how many elements each window averages: those in the input, or in the input and its padding."""
    ones = (1,) * len(kernel)
    counts, widths = laid_out(sizes, kernel, strides, padding, ones, ceil)
    inside = np.pad(
        np.ones((1, 1, *sizes), dtype), ((0, 0), (0, 0), *padding), constant_values=float(count_include_pad)
    )
    inside = np.pad(
        inside, [(0, after - high) for (_, after), (_, high) in zip(widths, ((0, 0), (0, 0), *padding))]
    )
    total = np.zeros((1, 1, *counts), dtype)
    for _, met in taps(kernel, strides, ones, counts):
        total += inside[met]
    return np.maximum(total, 1)


def averages(x, *, kernel, strides, padding, ceil):
    same_float(x)
    ones = (1,) * len(kernel)
    check_windows(x.rank - 2, kernel, strides, padding, ones)
    return window_counts(x.shape[2:], kernel, strides, padding, ones, ceil)


@op(
    POOLING,
    formula="y = mean of windows of x",
    symbol="avg",
    derivative={0: "1/n"},
    onnx="AveragePool",
    flops=pool_flops,
)
class avg_pool:
    """Average of each window: x[N, C, *S] -> y[N, C, *T].

    `count_include_pad` counts padding as elements that are 0; otherwise the average is over the input's elements alone,
    and 0 for a window of none.  What hangs over the padding's end (`ceil`) never counts.
    """

    def infer(x, *, kernel, strides, padding, ceil, count_include_pad):
        counts = averages(x, kernel=kernel, strides=strides, padding=padding, ceil=ceil)
        return x.with_shape((*x.shape[:2], *counts))

    def samples():
        rng = np.random.default_rng(29)
        for x, attributes in average_cases(rng):
            yield (x,), attributes

    def reference(x, *, kernel, strides, padding, ceil, count_include_pad):
        ones = (1,) * len(kernel)
        counts, widths = laid_out(x.shape[2:], kernel, strides, padding, ones, ceil)
        padded, total = np.pad(x, widths), np.zeros((*x.shape[:2], *counts), x.dtype)
        for _, met in taps(kernel, strides, ones, counts):
            total += padded[met]
        return total / divisors(x.shape[2:], kernel, strides, padding, ceil, count_include_pad, x.dtype)

    def vjp(ct, x, y, **attributes):
        return avg_pool_dx(ct, size=x.shape[2:], **attributes)


@op(POOLING, formula="x += c / n over windows", symbol="avg′", derivative={0: "1/n"}, flops=average_dx_flops)
class avg_pool_dx:
    """Gradient of average pooling: each window's gradient, divided by its count, goes to all its elements.

    c[N, C, *T] -> x[N, C, *size].
    """

    def infer(c, *, size, kernel, strides, padding, ceil, count_include_pad):
        if len(size) != c.rank - 2:
            raise TypeRuleError(f"size {list(size)} does not fit {{0}} of {c.rank - 2} spatial dimensions")
        x = c.with_shape((*c.shape[:2], *size))
        counts = averages(x, kernel=kernel, strides=strides, padding=padding, ceil=ceil)
        if c.shape[2:] != counts:
            raise TypeRuleError(
                f"{{0}} has spatial sizes {list(c.shape[2:])}, the pooling gives {list(counts)}"
            )
        return x

    def samples():
        rng = np.random.default_rng(31)
        for x, attributes in average_cases(rng):
            c = avg_pool.reference(x, **attributes)
            yield (rng.normal(size=c.shape),), {"size": x.shape[2:], **attributes}

    def reference(c, *, size, kernel, strides, padding, ceil, count_include_pad):
        ones = (1,) * len(kernel)
        counts, widths = laid_out(size, kernel, strides, padding, ones, ceil)
        share = c / divisors(size, kernel, strides, padding, ceil, count_include_pad, c.dtype)
        padded = np.zeros(
            (*c.shape[:2], *(low + n + high for n, (low, high) in zip(size, widths[2:]))), c.dtype
        )
        for _, met in taps(kernel, strides, ones, counts):
            padded[met] += share
        return padded[(..., *(slice(low, low + n) for n, (low, _) in zip(size, padding)))]

    def vjp(ct, c, x, *, size, **attributes):
        return avg_pool(ct, **attributes)


def average_cases(rng):
    in_padding = (1, 2, (3, 4), (2, 2), (2, 1), ((2, 3), (0, 1)), (1, 1), True)  # windows of padding alone
    for n, c, s, k, strides, padding, dilation, ceil in (*max_cases(), in_padding):
        if set(dilation) != {1}:
            continue
        for count_include_pad in (True, False):
            attributes = {
                "kernel": k,
                "strides": strides,
                "padding": padding,
                "ceil": ceil,
                "count_include_pad": count_include_pad,
            }
            yield rng.normal(size=(n, c, *s)), attributes
