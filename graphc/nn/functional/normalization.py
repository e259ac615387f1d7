"""Normalisation by the statistics of a batch, a sample, its groups or neighbouring channels; dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError, UnsupportedError
from graphc.ir.dims import exact_divide
from graphc.ir.op import REGISTRY
from graphc.nn import init
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here, open_trace, record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def batch_norm(
    x: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel; in training with the batch's statistics, which also move the running ones."""
    channels = x.type.shape[1]

    def given(operand: Any, otherwise: float) -> Any:
        return f.full((channels,), otherwise, x.dtype) if operand is None else operand

    scale, shift = given(weight, 1.0), given(bias, 0.0)
    mean, var = given(running_mean, 0.0), given(running_var, 1.0)
    if not training and running_mean is not None:
        return record(REGISTRY["batch_norm"], x, scale, shift, mean, var, epsilon=float(eps))
    y, new_mean, new_var = record(
        REGISTRY["batch_norm_train"], x, scale, shift, mean, var, epsilon=float(eps), momentum=float(momentum)
    )
    if running_mean is not None:
        move(running_mean, new_mean)
        move(running_var, new_var)
    return y


def move(buffer: Tensor, new: Tensor) -> None:
    """Give a buffer its new value: at once, or in a trace as one more output which the training step writes back."""
    trace = open_trace()
    if trace is None:
        buffer.data = new.array
    else:
        trace.update(buffer, new)


def layer_norm(
    x: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each sample over its last axes."""
    sizes = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if x.type.shape[x.ndim - len(sizes) :] != sizes:
        raise ShapeError(f"layer_norm over {list(sizes)}", span=here(), facts=f.fact(x))
    if weight is None and bias is not None:
        weight = f.full(sizes, 1.0, x.dtype)
    operands = [x, *(one for one in (weight, bias) if one is not None)]
    return record(REGISTRY["layer_norm"], *operands, axis=x.ndim - len(sizes), epsilon=float(eps))


def group_norm(x: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalise each sample over groups of channels: x[N, C, ...]."""
    batch, channels, *rest = x.type.shape
    share = exact_divide(channels, num_groups)
    if share is None:
        raise ShapeError(
            f"{channels} channels do not divide into {num_groups} groups", span=here(), facts=f.fact(x)
        )
    parts = f.reshape(x, batch, num_groups, share, *rest)
    y = f.reshape(record(REGISTRY["layer_norm"], parts, axis=2, epsilon=float(eps)), *x.type.shape)
    for function, operand in ((f.mul, weight), (f.add, bias)):
        if operand is not None:
            y = function(y, f.reshape(f.as_tensor(operand), -1, *(1,) * len(rest)))
    return y


def local_response_norm(
    x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha·m)^beta, where m is the mean of x² over `size` neighbouring channels; missing ones count as 0.

    Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional networks, 2012, section 3.3.
    """
    planes = f.square(x).reshape(x.shape[0], 1, x.shape[1], -1)
    mean = record(
        REGISTRY["avg_pool"],
        planes,
        kernel=(size, 1),
        strides=(1, 1),
        padding=((size // 2, (size - 1) // 2), (0, 0)),
        ceil=False,
        count_include_pad=True,
    )
    return f.div(x, f.pow(f.add(f.mul(mean.reshape(x.shape), alpha), k), beta))


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its length along an axis."""
    if p != 2:
        raise UnsupportedError(f"normalize with p={p}", span=here())
    return f.div(x, f.maximum(f.norm(x, dim, keepdims=True), eps))


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element is 0 with probability p, else x/(1 - p); otherwise x itself.

    In a trace the seed is an input of the graph; each dropout draws its own stream of numbers from it.
    """
    if not training or p == 0:
        return x
    trace = open_trace()
    if trace is None:
        seed: Any = f.constant_like(np.uint64(init.generator().integers(2**63)))
        return record(REGISTRY["dropout"], x, seed, p=float(p), stream=0)
    trace.streams += 1
    return record(REGISTRY["dropout"], x, trace.seed(), p=float(p), stream=trace.streams - 1)


recording.entries(globals())
