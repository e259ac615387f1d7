"""Tensors of random numbers, from the generator that `graphc.manual_seed` sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.nn import init
from graphc.source import user_span
from graphc.tensor import Tensor, open_trace


def rand(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1): `rand(2, 3)` or `rand((2, 3))`, float32 unless a dtype is given.

    Raises UsageError inside a trace, where each call of the compiled model would get the same numbers.
    """
    return _drawn(init.generator().random(_sizes(size)), dtype, requires_grad)


def randn(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal numbers of mean 0 and variance 1.

    >>> randn(2, 3).shape
    (2, 3)
    """
    return _drawn(init.generator().standard_normal(_sizes(size)), dtype, requires_grad)


def _sizes(size: tuple[Any, ...]) -> tuple[int, ...]:
    if open_trace() is not None:
        raise UsageError(
            "random numbers inside a trace would be the same in every call",
            span=user_span(),
            fix="make them an input, or use nn.Dropout",
        )
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


def _drawn(array: Any, dtype: Any, requires_grad: bool) -> Tensor:
    return Tensor(np.asarray(array).astype(dtype or np.float32), requires_grad)
