"""Initial values of parameters, drawn from one generator that `graphc.manual_seed` sets.

Names and formulas are PyTorch's: Glorot and Bengio 2010 (xavier), He et al. 2015 (kaiming).  Each function fills a
tensor in place and returns it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.tensor import Tensor

_generator = np.random.default_rng(0)


def manual_seed(seed: int) -> None:
    """Start the random numbers of initial values, and of dropout outside of a compiled step, anew."""
    global _generator
    _generator = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    return _generator


def _fill(tensor: Any, array: np.ndarray) -> Any:
    tensor.data = array.astype(tensor.dtype)
    return tensor


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0) -> Any:
    return _fill(tensor, _generator.uniform(a, b, tensor.shape))


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    return _fill(tensor, _generator.normal(mean, std, tensor.shape))


def trunc_normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Any:
    """Normal numbers, drawn again where they lie outside [a, b]."""
    draw = _generator.normal(mean, std, tensor.shape)
    outside = (draw < a) | (draw > b)
    while outside.any():
        draw[outside] = _generator.normal(mean, std, int(outside.sum()))
        outside = (draw < a) | (draw > b)
    return _fill(tensor, draw)


def constant_(tensor: Any, val: float) -> Any:
    return _fill(tensor, np.full(tensor.shape, val))


def zeros_(tensor: Any) -> Any:
    return constant_(tensor, 0.0)


def ones_(tensor: Any) -> Any:
    return constant_(tensor, 1.0)


def eye_(tensor: Any) -> Any:
    return _fill(tensor, np.eye(*tensor.shape))


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs one unit of a weight [out, in, *kernel] has."""
    if tensor.ndim < 2:
        raise UsageError(f"{tensor.type} has no fan-in and fan-out: a weight has at least 2 dimensions")
    out, inside, *kernel = tensor.type.shape
    area = int(np.prod(kernel))  # type: ignore[arg-type]
    return int(inside) * area, int(out) * area  # type: ignore[arg-type]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a non-linearity."""
    slope = 0.01 if param is None else param
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + slope**2)), "selu": 3 / 4}
    linear = ("linear", "conv1d", "conv2d", "conv3d", "sigmoid")
    if nonlinearity not in gains and nonlinearity not in linear:
        raise UsageError(f"no gain is known for {nonlinearity!r}", fix=", ".join((*linear, *gains)))
    return gains.get(nonlinearity, 1.0)


def xavier_uniform_(tensor: Any, gain: float = 1.0) -> Any:
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Any, gain: float = 1.0) -> Any:
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Any:
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Any:
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = fans(tensor)[("fan_in", "fan_out").index(mode)]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))
