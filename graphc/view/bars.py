"""A size as a bar beside its number, so that a column of them can be taken in at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterable

STEPS = "▁▂▃▄▅▆▇█"
LEAST = 1_000.0  # what the whole length stands for at least: sizes that hardly differ look alike


class Bars:
    """Bars of positive sizes on one logarithmic scale.

    >>> bars = Bars([1.0, 1e-2, 1e-4, 0.0])
    >>> [bars.of(size) for size in (1.0, 1e-2, 1e-4, 0.0)]
    ['█', '▄', '▁', '']
    """

    def __init__(self, sizes: Iterable[float]):
        known = [size for size in sizes if size > 0.0 and math.isfinite(size)]
        self.top = max(known, default=1.0)
        self.low = min(min(known, default=1.0), self.top / LEAST)

    def of(self, size: float) -> str:
        """The bar of a size, nothing for 0."""
        if not self.low <= size <= self.top:
            return ""
        part = math.log(size / self.low) / math.log(self.top / self.low)
        return STEPS[math.floor(part * (len(STEPS) - 1))]
