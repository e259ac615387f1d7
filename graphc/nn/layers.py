"""Layers with parameters, pooling and shapes.  Weight layouts and initial values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import UnsupportedError, UsageError
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.functional import Sizes
from graphc.nn.module import Module
from graphc.nn.parameter import Parameter
from graphc.source import user_span
from graphc.tensor import Tensor


def _empty(shape: tuple[int, ...], dtype: Any) -> Parameter:
    return Parameter(np.zeros(shape, np.dtype(dtype or np.float32)))


def _check_convolution(in_channels: int, out_channels: int, groups: int, padding_mode: str) -> None:
    """What convolutions and transposed ones ask of their channels and padding."""
    _positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
    if padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode={padding_mode!r}", span=user_span(), fix='padding_mode="zeros"')
    if in_channels % groups or out_channels % groups:
        raise UsageError(
            f"{in_channels} and {out_channels} channels do not divide into {groups} groups", span=user_span()
        )


def _positive(**sizes: Any) -> None:
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise UsageError(f"{name} must be a whole number >= 1, not {size!r}", span=user_span())


class Identity(Module):
    """Its input."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class Linear(Module):
    """y = x·wᵀ + b, weight[out_features, in_features].  Initial values: U(-1/√in, 1/√in)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = None):
        super().__init__()
        _positive(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = _empty((out_features, in_features), dtype)
        self.bias = _empty((out_features,), dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class _Conv(Module):
    rank = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
    ):
        super().__init__()
        _check_convolution(in_channels, out_channels, groups, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = F.spread(kernel_size, self.rank, "kernel_size")
        self.stride = F.spread(stride, self.rank, "stride")
        self.padding = padding if isinstance(padding, str) else F.spread(padding, self.rank, "padding")
        self.dilation = F.spread(dilation, self.rank, "dilation")
        self.weight = _empty((out_channels, in_channels // groups, *self.kernel_size), dtype)
        self.bias = _empty((out_channels,), dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[self.rank]
        result: Tensor = function(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return result

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        text += f", padding={self.padding}" if self.padding != (0,) * self.rank else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class Conv1d(_Conv):
    """Convolution of x[N, C, L]."""

    rank = 1


class Conv2d(_Conv):
    """Convolution of x[N, C, H, W], weight[out, in/groups, kH, kW].  Initial: U(-1/√n, 1/√n), n = in/groups·kH·kW."""


class MaxPool2d(Module):
    """The maximum of each window."""

    function = staticmethod(F.max_pool2d)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        if return_indices:
            raise UnsupportedError("return_indices=True", span=user_span())
        self.kernel_size, self.stride, self.padding = (
            kernel_size,
            kernel_size if stride is None else stride,
            padding,
        )
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(MaxPool2d):
    """The maximum of each window of a sequence."""

    function = staticmethod(F.max_pool1d)


class AvgPool2d(Module):
    """The average of each window."""

    function = staticmethod(F.avg_pool2d)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = (
            kernel_size,
            kernel_size if stride is None else stride,
            padding,
        )
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return self.function(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AvgPool2d):
    """The average of each window of a sequence."""

    function = staticmethod(F.avg_pool1d)


class LPPool2d(Module):
    """The p-norm of each window, (Σ |x|^p)^(1/p)."""

    def __init__(
        self, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
    ):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = (
            norm_type,
            kernel_size,
            stride,
            ceil_mode,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}"


class AdaptiveAvgPool2d(Module):
    """Averages of about equal parts, as many as `output_size` says."""

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` as one; the batch stays."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_dim, self.end_dim)


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


class Embedding(Module):
    """A table of vectors, weight[num_embeddings, embedding_dim], read by whole numbers.  Initial values: N(0, 1)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: Any = None):
        super().__init__()
        _positive(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = init.normal_(_empty((num_embeddings, embedding_dim), dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)
