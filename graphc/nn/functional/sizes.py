"""Sizes of windows: a number for all axes, or one for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.tensor.recording import here

Sizes = int | tuple[int, ...]


def spread(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """`3` and `(3, 3)` mean the same."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(numbers) == 1:
        numbers *= rank
    if len(numbers) != rank or not all(isinstance(n, (int, np.integer)) for n in numbers):
        raise ShapeError(
            f"{name}={value!r} is not one whole number, or one for each of {rank} axes", span=here()
        )
    return tuple(int(n) for n in numbers)
