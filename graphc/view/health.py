"""Gradient flow in numbers: units that never fire, gradients that vanish or explode.

The size of a gradient is its root mean square, so that tensors of any size compare.  What is normal is the median of
the picture; a gradient a thousand times smaller is marked ↓↓, one a thousand times larger ↑↑.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.ir.graph import Value
from graphc.view.numbers import number

RECTIFIERS = ("relu", "leaky_relu", "elu", "maximum", "maxout")
BAND = 1_000.0


class Flow:
    """The sizes of all gradients of a picture, and which of them stand out."""

    def __init__(self, values: Mapping[Value, np.ndarray] | None, gradient: Mapping[Value, Value]):
        self.sizes: dict[Value, float] = {}
        for found in gradient.values():
            array = values.get(found) if values is not None else None
            if array is not None and array.size and np.isfinite(array).all():
                self.sizes[found] = root_mean_square(array)
        positive = [size for size in self.sizes.values() if size > 0]
        self.median = float(np.median(positive)) if positive else 0.0

    def warning(self, gradient: Value) -> str:
        """` ↓↓` or ` ↑↑` for a gradient out of band, else nothing."""
        size = self.sizes.get(gradient, 0.0)
        if not self.median or not size:
            return ""
        return " ↓↓" if size * BAND < self.median else " ↑↑" if size > self.median * BAND else ""

    def notices(self) -> list[str]:
        """What stands out, in a sentence each."""
        found = []
        for sign, word in ((" ↓↓", "vanish"), (" ↑↑", "explode")):
            count = sum(self.warning(gradient) == sign for gradient in self.sizes)
            if count:
                found.append(
                    f"{count} gradient{'s' * (count != 1)} {word}{'es' * (count == 1 and word == 'vanish')}"
                    f"{'s' * (count == 1 and word == 'explode')} ({sign.strip()}): a thousand times "
                    f"{'below' if word == 'vanish' else 'above'} the median {number(self.median)}"
                )
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
