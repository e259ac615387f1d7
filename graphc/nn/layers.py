"""Linear maps, convolutions, tables and shapes as layers.  Weight layouts and initial values are PyTorch's."""

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

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _empty(shape: tuple[int, ...], dtype: Any) -> Parameter:
    return Parameter(np.zeros(shape, np.dtype(dtype or np.float32)))


def _check_convolution(
    in_channels: int, out_channels: int, groups: int, padding_mode: str, modes: tuple[str, ...] = ("zeros",)
) -> None:
    """What convolutions and transposed ones ask of their channels and padding."""
    _positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
    if padding_mode not in modes:
        names = ", ".join(map(repr, modes))
        raise UnsupportedError(
            f"padding_mode={padding_mode!r}", span=user_span(), fix=f"padding_mode={names}"
        )
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
        _check_convolution(in_channels, out_channels, groups, padding_mode, PADDING_MODES)
        self.padding_mode = padding_mode
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
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._around(), mode=self.padding_mode), 0
        result: Tensor = function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return result

    def _around(self) -> list[int]:
        """How many elements before and after each axis, of the last one first."""
        padding: Any = self.padding
        match padding:
            case "same":
                if any(s != 1 for s in self.stride):
                    raise UnsupportedError(
                        'padding="same" with a stride', span=user_span(), fix="give the padding in numbers"
                    )
                both = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation)]
            case "valid":
                both = [0] * self.rank
            case _:
                both = [2 * p for p in padding]
        return [n for total in reversed(both) for n in (total // 2, total - total // 2)]

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        text += f", padding={self.padding}" if self.padding != (0,) * self.rank else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += f", padding_mode={self.padding_mode!r}" if self.padding_mode != "zeros" else ""
        return text + ("" if self.bias is not None else ", bias=False")


class Conv1d(_Conv):
    """Convolution of x[N, C, L]."""

    rank = 1


class Conv2d(_Conv):
    """Convolution of x[N, C, H, W], weight[out, in/groups, kH, kW].  Initial: U(-1/√n, 1/√n), n = in/groups·kH·kW.

    `padding_mode` "reflect", "replicate" and "circular" pad with the image's own pixels; see `functional.pad`.
    """


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` as one; the batch stays."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return F.flatten(x, self.start_dim, self.end_dim)


class Embedding(Module):
    """A table of vectors, weight[num_embeddings, embedding_dim], read by whole numbers.  Initial values: N(0, 1)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: Any = None):
        super().__init__()
        _positive(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = init.normal_(_empty((num_embeddings, embedding_dim), dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)
