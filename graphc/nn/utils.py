"""Gradient clipping, between `loss.backward()` and `optimizer.step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.tensor import Tensor


def _given(parameters: Any) -> list[Any]:
    found = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [parameter for parameter in found if parameter.grad is not None]


def clip_grad_norm_(parameters: Iterable[Any] | Tensor, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients together so that their norm is at most `max_norm`; returns the norm they had.

    As in PyTorch the factor is max_norm/(norm + 1e-6), where that is below 1.
    Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.

    >>> from graphc import tensor
    >>> w = tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> clip_grad_norm_(w, 1.0)
    10.0
    >>> print(f"{w.grad.norm():.4f}")
    1.0000
    """
    held = _given(parameters)
    flat = [np.abs(parameter.grad.array.astype(np.float64)).ravel() for parameter in held]
    if math.isinf(norm_type):
        total = max((float(each.max(initial=0.0)) for each in flat), default=0.0)
    else:
        total = float(sum(float((each**norm_type).sum()) for each in flat) ** (1 / norm_type))
    factor = min(1.0, max_norm / (total + 1e-6))
    for parameter in held:
        parameter.grad = Tensor((parameter.grad.array * factor).astype(parameter.grad.dtype))
    return total


def clip_grad_value_(parameters: Iterable[Any] | Tensor, clip_value: float) -> None:
    """Each element of each gradient to at most `clip_value` in size."""
    for parameter in _given(parameters):
        parameter.grad = Tensor(np.clip(parameter.grad.array, -clip_value, clip_value))
