"""Transposed convolution as a layer; weight layouts and initial values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.functional import Sizes
from graphc.nn.layers import _check_convolution, _empty
from graphc.nn.module import Module
from graphc.tensor import Tensor


class ConvTranspose2d(Module):
    """Transposed convolution of x[N, C, H, W], weight[in, out/groups, kH, kW]; makes images larger by its stride."""

    rank = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
    ):
        super().__init__()
        _check_convolution(in_channels, out_channels, groups, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = F.spread(kernel_size, self.rank, "kernel_size")
        self.stride = F.spread(stride, self.rank, "stride")
        self.padding = F.spread(padding, self.rank, "padding")
        self.output_padding = F.spread(output_padding, self.rank, "output_padding")
        self.dilation = F.spread(dilation, self.rank, "dilation")
        self.weight = _empty((in_channels, out_channels // groups, *self.kernel_size), dtype)
        self.bias = _empty((out_channels,), dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        function = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[self.rank]
        result: Tensor = function(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return result

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )


class ConvTranspose1d(ConvTranspose2d):
    """Transposed convolution of x[N, C, L], weight[in, out/groups, k]."""

    rank = 1
