"""Convolution and transposed convolution: x[N, C, *spatial], weight[out, in/groups, *kernel]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import ShapeError, UnsupportedError
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.nn.functional.sizes import Sizes, spread
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here, record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def _convolution(rank: int) -> Any:
    def convolution(
        x: Tensor,
        weight: Any,
        bias: Any = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        strides, dilations = spread(stride, rank, "stride"), spread(dilation, rank, "dilation")
        kernel: Any = f.as_tensor(weight).type.shape[2:]
        if padding == "same":
            if any(s != 1 for s in strides):
                raise UnsupportedError(
                    'padding="same" with a stride', span=here(), fix="give the padding in numbers"
                )
            both = [d * (k - 1) for k, d in zip(kernel, dilations)]
            pads = tuple((total // 2, total - total // 2) for total in both)
        else:
            pads = tuple((p, p) for p in spread(0 if padding == "valid" else padding, rank, "padding"))
        operands = (x, weight) if bias is None else (x, weight, bias)
        return record(
            _with_bias, *operands, strides=strides, padding=pads, dilation=dilations, groups=int(groups)
        )

    convolution.__name__ = convolution.__qualname__ = f"conv{rank}d"
    convolution.__doc__ = (
        f'Convolution over {rank} spatial axes; `padding` is a number for both sides, or "same".'
    )
    return convolution


def _with_bias(x: Any, weight: Any, *bias: Any, **attributes: Any) -> Any:
    y = REGISTRY["conv"](x, weight, **attributes)
    if not bias:
        return y
    if bias[0].type.shape != (weight.type.shape[0],):
        raise TypeRuleError(
            f"the bias must have the {weight.type.shape[0]} channels of the output, it is {bias[0].type}"
        )
    return y + REGISTRY["reshape"](bias[0], shape=(weight.type.shape[0],) + (1,) * (y.type.rank - 2))


conv1d, conv2d, conv3d = _convolution(1), _convolution(2), _convolution(3)


def _transposed(rank: int) -> Any:
    def transposed(
        x: Tensor,
        weight: Any,
        bias: Any = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        strides, dilations = spread(stride, rank, "stride"), spread(dilation, rank, "dilation")
        pads, more = spread(padding, rank, "padding"), spread(output_padding, rank, "output_padding")
        kernel: Any = f.as_tensor(weight).type.shape[2:]
        for extra, s in zip(more, strides):
            if not 0 <= extra < s:
                raise ShapeError(f"output_padding {extra} must be less than the stride {s}", span=here())
        sizes: Any = x.type.shape[2:]
        size = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
            for n, s, p, d, k, extra in zip(sizes, strides, pads, dilations, kernel, more)
        )
        y = record(
            REGISTRY["conv_dx"], x, weight, size=size, strides=strides,
            padding=tuple((p, p) for p in pads), dilation=dilations, groups=int(groups),
        )  # fmt: skip
        return y if bias is None else f.add(y, f.reshape(f.as_tensor(bias), -1, *(1,) * rank))

    transposed.__name__ = transposed.__qualname__ = f"conv_transpose{rank}d"
    transposed.__doc__ = (
        f"Transposed convolution over {rank} spatial axes, weight[in, out/groups, *kernel]: the derivative of "
        "convolution by its input.  T = (S - 1)·stride - 2·padding + dilation·(K - 1) + output_padding + 1."
    )
    return transposed


conv_transpose1d, conv_transpose2d, conv_transpose3d = _transposed(1), _transposed(2), _transposed(3)

recording.entries(globals())
