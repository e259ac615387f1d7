"""A convolution, and its derivative by the input, as correlations of one image with windows of weights.

    y[o, i·spacing + start] = sum over c, k of w[o, c, first + k·step] · x[c, i·stride + k·dilation - padding]

A convolution is one such sum. So is its derivative with stride 1: the window turned around, channels
exchanged. With stride s every s-th row and column of the derivative meets its own taps, every s-th of the
window, so it falls apart into s·s sums with stride 1 that write interleaved pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.graph import Node
from graphc.ir.types import is_static

Halo = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Side:
    """The sum along one axis; see the module's docstring. taps and count: how many k and how many i there are."""

    taps: int
    count: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    first: int = 0
    step: int = 1
    start: int = 0
    spacing: int = 1

    def beyond(self, size: int) -> int:
        """Elements after the end of x that the windows reach."""
        if not self.taps:
            return 0
        last = (self.count - 1) * self.stride + (self.taps - 1) * self.dilation - self.padding
        return max(last + 1 - size, 0)


@dataclass(frozen=True, slots=True)
class WeightOrder:
    """Elements between weights of neighbouring groups, results o and operands c of a group, rows and columns.

    first: the weight of the first tap
    """

    group: int
    result: int
    operand: int
    row: int
    column: int
    first: int


@dataclass(frozen=True, slots=True)
class Correlation:
    """One sum over a window, along rows and columns."""

    rows: Side
    columns: Side
    backwards: bool
    groups: int

    def halo(self, height: int, width: int) -> Halo:
        """The border of x the windows reach: top, left, bottom, right."""
        top, left = (max(side.padding, 0) if side.taps else 0 for side in (self.rows, self.columns))
        return top, left, self.rows.beyond(height), self.columns.beyond(width)

    def select(self, w: Any) -> Any:
        """The weights of this sum as those of a convolution, (results, operands of a group, rows, columns)."""
        rows, columns = ([s.first + k * s.step for k in range(s.taps)] for s in (self.rows, self.columns))
        grouped = w.reshape(self.groups, -1, *w.shape[1:])
        if self.backwards:
            grouped = np.swapaxes(grouped, 1, 2)
        own = grouped.reshape(-1, *grouped.shape[2:])
        return own[:, :, rows][:, :, :, columns]

    def order(self, shape: Sequence[int]) -> WeightOrder:
        """Where this sum's weights lie in an array of this shape."""
        outputs, inputs, height, width = shape
        taps = height * width
        far, near = inputs * taps, taps
        result, operand = (near, far) if self.backwards else (far, near)
        return WeightOrder(
            outputs // self.groups * far,
            result,
            operand,
            self.rows.step * width,
            self.columns.step,
            self.rows.first * width + self.columns.first,
        )


def correlations(node: Node) -> list[Correlation]:
    """The sums a conv or conv_dx node of two spatial axes consists of; none when there is no such form.

    >>> [(s.taps, s.padding, s.start) for s in _backwards(size=5, taps=3, stride=2, before=1, dilation=1)]
    [(2, 0, 1), (1, 0, 0)]
    """
    if node.op.name not in ("conv", "conv_dx") or node.output.type.rank != 4:
        return []
    x, w, y = node.inputs[0], node.inputs[1], node.output
    if not all(is_static(v.shape[1:]) and 0 not in v.shape[1:] for v in (x, y)) or not is_static(w.shape):
        return []
    a, found = node.attributes, []
    for axis in range(2):
        size, taps = y.shape[2 + axis], w.shape[2 + axis]
        stride, dilation, (before, _) = a["strides"][axis], a["dilation"][axis], a["padding"][axis]
        assert isinstance(size, int) and isinstance(taps, int)
        if node.op.name == "conv":
            found.append([Side(taps, size, stride, before, dilation)])
        else:
            found.append(_backwards(size, taps, stride, before, dilation))
    backwards, groups = node.op.name == "conv_dx", a["groups"]
    return [Correlation(rows, columns, backwards, groups) for rows in found[0] for columns in found[1]]


def _backwards(size: int, taps: int, stride: int, before: int, dilation: int) -> list[Side]:
    """The derivative by the input along one axis: one sum for each remainder of the result's index by the stride."""
    if stride == 1:
        return [Side(taps, size, 1, (taps - 1) * dilation - before, dilation, taps - 1, -1)]
    if dilation != 1:
        return []
    found = []
    for phase in range(stride):
        start = (phase - before) % stride
        count = -(-(size - start) // stride)
        own = max(-(-(taps - phase) // stride), 0)  # taps phase, phase + stride, ...
        base = (start + before - phase) // stride  # the window that tap `phase` meets at the first element
        if count > 0:
            first = phase + stride * (own - 1) if own else 0
            padding = own - 1 - base if own else 0
            found.append(Side(own, count, 1, padding, 1, first, -stride, start, stride))
    return found


def window_halo(node: Node) -> Halo:
    """The border of the image that all windows of a conv or conv_dx node reach."""
    height, width = node.inputs[0].shape[2:]
    assert isinstance(height, int) and isinstance(width, int)
    halos = [c.halo(height, width) for c in correlations(node)]
    top, left, bottom, right = (max(sides) for sides in zip(*halos))
    return top, left, bottom, right
