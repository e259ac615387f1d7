"""Windows that slide over the spatial axes of x[N,C,*S]: sizes, checks and NumPy views.

Convolution and pooling share them.  A window of `kernel` taps, `dilation` apart, covers
dilation·(kernel - 1) + 1 elements; windows start `stride` apart on the input with `padding` around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.op import TypeRuleError

Ints = Sequence[int]
Pairs = Sequence[tuple[int, int]]


def span(kernel: int, dilation: int) -> int:
    """Elements from the first tap of a window to the last, both included."""
    return dilation * (kernel - 1) + 1


def check_windows(rank: int, kernel: Ints, strides: Ints, padding: Pairs, dilation: Ints) -> None:
    """Raise TypeRuleError unless there is one plain number (pair) per spatial axis, each in its range."""
    if not 1 <= rank <= 3:
        raise TypeRuleError(
            f"{{0}} has {rank} spatial dimensions; 1, 2 or 3 are supported, after batch and channels"
        )
    for name, numbers in (("kernel", kernel), ("strides", strides), ("dilation", dilation)):
        if len(numbers) != rank:
            raise TypeRuleError(
                f"{name} {tuple(numbers)} has {len(numbers)} sizes, {{0}} has {rank} spatial dimensions"
            )
        if not all(isinstance(n, int) and n >= 1 for n in numbers):
            raise TypeRuleError(f"{name} {tuple(numbers)} must be whole numbers >= 1")
    if len(padding) != rank or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in padding):
        raise TypeRuleError(
            f"padding {padding} must be one pair (before, after) for each of {rank} spatial dimensions"
        )
    if not all(isinstance(n, int) and n >= 0 for pair in padding for n in pair):
        raise TypeRuleError(f"padding {padding} must be whole numbers >= 0")


def window_counts(
    sizes: Sequence[Dim], kernel: Ints, strides: Ints, padding: Pairs, dilation: Ints, ceil: bool = False
) -> tuple[Dim, ...]:
    """How many windows fit along each axis: (size + before + after - span) // stride + 1.

    With `ceil`, a last window that hangs over the end counts as well, if it starts inside the input or the
    padding before it.

    >>> window_counts((7,), (3,), (2,), ((0, 0),), (1,)), window_counts((6,), (3,), (2,), ((0, 0),), (1,), ceil=True)
    ((3,), (3,))
    """
    counts: list[Dim] = []
    for axis, (size, k, stride, (low, high), d) in enumerate(
        zip(sizes, kernel, strides, padding, dilation, strict=True)
    ):
        room = size + (low + high - span(k, d))
        if isinstance(room, int) and room < 0:
            raise TypeRuleError(
                f"a window of {span(k, d)} does not fit the size {size} of {{0}} along spatial axis {axis}"
                + (f" with padding {low} + {high}" if low or high else "")
            )
        if not ceil:
            counts.append(room // stride + 1)
            continue
        count = (room + (stride - 1)) // stride + 1
        if high + stride > span(k, d):  # otherwise the last window cannot start beyond the end
            if not (isinstance(count, int) and isinstance(size, int)):
                raise TypeRuleError(
                    f"ceil with padding {low} + {high} needs a fixed size along spatial axis {axis} of {{0}}"
                )
            count -= (count - 1) * stride >= size + low
        counts.append(count)
    return tuple(counts)


def unread(size: int, count: int, kernel: int, stride: int, low: int, dilation: int) -> int:
    """How many elements at the end of an axis no window reads; padding does not count.

    >>> unread(7, 2, kernel=3, stride=3, low=0, dilation=1)
    1
    """
    return min(size, max(0, low + size - (count - 1) * stride - span(kernel, dilation)))


def windows(x: np.ndarray, kernel: Ints, strides: Ints, padding: Pairs, dilation: Ints) -> np.ndarray:
    """All windows of x with zeros around it: a view [N, C, *T, *K]."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, x.ndim)))
    every: tuple[Any, ...] = (..., *(slice(None, None, step) for step in (*strides, *dilation)))
    return view[every]


def taps(
    kernel: Ints, strides: Ints, dilation: Ints, counts: Ints
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """Each tap of a window in row-major order, with the index of the elements that it meets in all windows."""
    for tap in np.ndindex(*kernel):
        rows = zip(tap, strides, dilation, counts)
        yield tap, (..., *(slice(t * d, t * d + (count - 1) * s + 1, s) for t, s, d, count in rows))


def add_windows(view: np.ndarray, size: Ints, strides: Ints, padding: Pairs, dilation: Ints) -> np.ndarray:
    """The reverse of `windows`: each window of view[N, C, *T, *K] is added to where it was taken from."""
    counts, kernel = view.shape[2 : 2 + len(size)], view.shape[2 + len(size) :]
    x = np.zeros((*view.shape[:2], *(low + n + high for n, (low, high) in zip(size, padding))), view.dtype)
    for tap, met in taps(kernel, strides, dilation, counts):
        one: tuple[Any, ...] = (..., *tap)
        x[met] += view[one]
    inside: tuple[Any, ...] = (..., *(slice(low, low + n) for n, (low, _) in zip(size, padding)))
    return x[inside]
