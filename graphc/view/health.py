"""Gradient flow in numbers: units that never fire, gradients that vanish or explode.

The size of a gradient is its root mean square, so that tensors of any size compare.  The measure is the gradient where
backward begins, of the last array before the loss: one a thousand times smaller is marked ↓↓, one a thousand times
larger ↑↑.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.ir.graph import Graph, Value
from graphc.view.numbers import number

RECTIFIERS = ("relu", "leaky_relu", "elu", "maximum", "maxout")
BAND = 1_000.0


class Flow:
    """The sizes of all gradients of a picture, and which of them stand out."""

    def __init__(
        self, values: Mapping[Value, np.ndarray] | None, gradient: Mapping[Value, Value], graph: Graph
    ):
        self.sizes: dict[Value, float] = {}
        for found in gradient.values():
            array = values.get(found) if values is not None else None
            if array is not None and array.size and np.isfinite(array).all():
                self.sizes[found] = root_mean_square(array)
        computed = (
            v for node in reversed(graph.nodes) for v in node.outputs if v in gradient and v.type.shape
        )
        sizes = (self.sizes.get(gradient[v], 0.0) for v in computed)
        self.first = next(filter(None, sizes), 0.0)

    def warning(self, gradient: Value) -> str:
        """` ↓↓` or ` ↑↑` for a gradient out of band, else nothing."""
        size = self.sizes.get(gradient, 0.0)
        if not self.first or not size:
            return ""
        return " ↓↓" if size * BAND < self.first else " ↑↑" if size > self.first * BAND else ""

    def notices(self) -> list[str]:
        """What stands out, in a sentence each."""
        found = []
        for sign, words in (
            ("↓↓", ("vanishes", "vanish", "less than a thousandth of")),
            ("↑↑", ("explodes", "explode", "more than a thousand times")),
        ):
            count = sum(self.warning(gradient) == f" {sign}" for gradient in self.sizes)
            if count:
                several = f"{count} gradient{'s' * (count != 1)} {words[count != 1]}"
                found.append(f"{several} ({sign}): {words[2]} the first, {number(self.first)}")
        return found


def root_mean_square(array: np.ndarray) -> float:
    """√(Σ x² / n), without overflow.

    >>> root_mean_square(np.array([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    data = np.abs(array.astype(np.float64))
    largest = float(data.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(np.mean((data / largest) ** 2)))


def dead_units(array: np.ndarray) -> tuple[int, int]:
    """How many units (axis 1: channels or features) there are, and how many are 0 for every sample and place.

    >>> dead_units(np.array([[0.0, 1.0], [0.0, 2.0]]))
    (2, 1)
    """
    other = tuple(axis for axis in range(array.ndim) if axis != 1)
    alive = np.any(array != 0, axis=other)
    return array.shape[1], int(np.count_nonzero(~alive))
