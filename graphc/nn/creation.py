"""Tensors to begin with, as PyTorch makes them: zeros, ones, random numbers of the generator `manual_seed` sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.nn import init
from graphc.source import user_span
from graphc.tensor import Tensor, open_trace
from graphc.tensor import functions as f


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`, float32 unless a dtype is given.

    Inside a trace sizes may be left open: `zeros(x.shape[0], 8)`.

    >>> zeros(2)
    tensor([0., 0.])
    """
    return _filled(0, size, dtype, requires_grad)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return _filled(1, size, dtype, requires_grad)


def rand(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1).

    Raises UsageError inside a trace, where each call of the compiled model would get the same numbers.
    """
    return _drawn(init.generator().random, size, dtype, requires_grad)


def randn(*size: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal numbers of mean 0 and variance 1.

    >>> randn(2, 3).shape
    (2, 3)
    """
    return _drawn(init.generator().standard_normal, size, dtype, requires_grad)


def _sizes(size: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


def _filled(value: int, size: tuple[Any, ...], dtype: Any, requires_grad: bool) -> Tensor:
    if open_trace() is not None:
        return f.full(_sizes(size), value, dtype or np.float32)
    return Tensor(np.full(_sizes(size), value, dtype or np.float32), requires_grad)


def _drawn(draw: Any, size: tuple[Any, ...], dtype: Any, requires_grad: bool) -> Tensor:
    if open_trace() is not None:
        raise UsageError(
            "random numbers inside a trace would be the same in every call",
            span=user_span(),
            fix="make them an input, or use nn.Dropout",
        )
    return Tensor(np.asarray(draw(_sizes(size))).astype(dtype or np.float32), requires_grad)
