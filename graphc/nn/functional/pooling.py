"""Pooling: the maximum, minimum, average or norm of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.op import REGISTRY
from graphc.nn.functional.sizes import Sizes, spread
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def _max_pooling(rank: int) -> Any:
    def pooling(
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        kernel = spread(kernel_size, rank, "kernel_size")
        values, _ = record(
            REGISTRY["max_pool"],
            x,
            kernel=kernel,
            strides=kernel if stride is None else spread(stride, rank, "stride"),
            padding=tuple((p, p) for p in spread(padding, rank, "padding")),
            dilation=spread(dilation, rank, "dilation"),
            ceil=bool(ceil_mode),
        )
        return values

    pooling.__name__ = pooling.__qualname__ = f"max_pool{rank}d"
    pooling.__doc__ = "The maximum of each window; the stride is the window's size unless given."
    return pooling


def _average_pooling(rank: int) -> Any:
    def pooling(
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Tensor:
        kernel = spread(kernel_size, rank, "kernel_size")
        return record(
            REGISTRY["avg_pool"],
            x,
            kernel=kernel,
            strides=kernel if stride is None else spread(stride, rank, "stride"),
            padding=tuple((p, p) for p in spread(padding, rank, "padding")),
            ceil=bool(ceil_mode),
            count_include_pad=bool(count_include_pad),
        )

    pooling.__name__ = pooling.__qualname__ = f"avg_pool{rank}d"
    pooling.__doc__ = "The average of each window; the stride is the window's size unless given."
    return pooling


max_pool1d, max_pool2d = _max_pooling(1), _max_pooling(2)
avg_pool1d, avg_pool2d = _average_pooling(1), _average_pooling(2)


def lp_pool2d(
    x: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """(Σ |x|^p)^(1/p) of each window; p = 2 is the L2 norm."""
    count = float(np.prod(spread(kernel_size, 2, "kernel_size")))
    powers = f.square(x) if norm_type == 2 else f.pow(f.abs(x), float(norm_type))
    total = f.mul(avg_pool2d(powers, kernel_size, stride, ceil_mode=ceil_mode), count)
    return f.sqrt(total) if norm_type == 2 else f.pow(total, 1.0 / norm_type)


def min_pool2d(
    x: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1
) -> Tensor:
    """The minimum of each window, -max(-x); PyTorch has no such function."""
    return f.neg(max_pool2d(f.neg(x), kernel_size, stride, padding, dilation))


recording.entries(globals())
