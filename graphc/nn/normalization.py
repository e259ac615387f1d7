"""Normalisation and dropout as layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import UnsupportedError, UsageError
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.layers import _empty, _positive
from graphc.nn.module import Module
from graphc.source import user_span
from graphc.tensor import Tensor


class _BatchNorm(Module):
    ranks: tuple[int, ...] = (4,)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        _positive(num_features=num_features)
        if momentum is None:
            raise UnsupportedError(
                "momentum=None, a cumulative average", span=user_span(), fix="momentum=0.1"
            )
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = _empty((num_features,), dtype) if affine else None
        self.bias = _empty((num_features,), dtype) if affine else None
        if self.weight is not None:
            init.ones_(self.weight)
        kind = np.dtype(dtype or np.float32)
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self.ranks:
            raise UsageError(
                f"{type(self).__name__} of {x.ndim} dimensions", span=user_span(), facts=[("x", str(x.type))]
            )
        if self.training and self.num_batches_tracked is not None:
            F.move(self.num_batches_tracked, self.num_batches_tracked + 1)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of x[N, C, H, W]; in training with the batch's statistics."""


class BatchNorm1d(_BatchNorm):
    """Normalise each channel of x[N, C] or x[N, C, L]; in training with the batch's statistics."""

    ranks = (2, 3)


class LayerNorm(Module):
    """Normalise each sample over its last axes."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        sizes = (
            tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        )
        self.normalized_shape, self.eps = sizes, eps
        self.weight = _empty(sizes, dtype) if elementwise_affine else None
        self.bias = _empty(sizes, dtype) if elementwise_affine and bias else None
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class LocalResponseNorm(Module):
    """Divide by a power of the mean square of neighbouring channels; see `functional.local_response_norm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        _positive(size=size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class GroupNorm(Module):
    """Normalise each sample over groups of channels: x[N, C, ...].  Wu and He, Group normalization, 2018."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: Any = None
    ):
        super().__init__()
        _positive(num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise UsageError(
                f"{num_channels} channels do not divide into {num_groups} groups", span=user_span()
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = init.ones_(_empty((num_channels,), dtype)) if affine else None
        self.bias = _empty((num_channels,), dtype) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class Dropout(Module):
    """In training each element is 0 with probability p, else x/(1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise UsageError(f"the probability p={p} must lie in [0, 1]", span=user_span())
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
