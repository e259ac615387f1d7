"""Layers as functions, with PyTorch's names, arguments and defaults.

Images are [N, C, H, W], sequences [N, C, L]; a weight of a convolution is [out, in/groups, *kernel].
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.ir.dims import Dim, exact_divide
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.ir.types import dtype_of
from graphc.nn import init
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.functions import concatenate as cat  # noqa: F401
from graphc.tensor.functions import (  # noqa: F401  (functional has them too)
    log_softmax,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from graphc.tensor.functions import (
    pad as pad_axes,
)
from graphc.tensor.recording import here, open_trace, record

if TYPE_CHECKING:
    from graphc.tensor import Tensor

Sizes = int | tuple[int, ...]


def _spread(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """`3` and `(3, 3)` mean the same."""
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(numbers) == 1:
        numbers *= rank
    if len(numbers) != rank or not all(isinstance(n, (int, np.integer)) for n in numbers):
        raise ShapeError(
            f"{name}={value!r} is not one whole number, or one for each of {rank} axes", span=here()
        )
    return tuple(int(n) for n in numbers)


def linear(x: Tensor, weight: Any, bias: Any = None) -> Tensor:
    """y = x·wᵀ + b: x[..., in], weight[out, in], bias[out] -> y[..., out]."""
    return record(REGISTRY["linear"], x, weight, *(() if bias is None else (bias,)))


def bilinear(x1: Tensor, x2: Tensor, weight: Any) -> Tensor:
    """y[n, o] = Σᵢⱼ x1[n, i]·weight[o, i, j]·x2[n, j]."""
    left = f.matmul(f.unsqueeze(x1, -2), f.permute(weight, 1, 0, 2).reshape(weight.shape[1], -1))
    grouped = left.reshape(x1.shape[0], weight.shape[0], weight.shape[2])
    return f.squeeze(f.matmul(grouped, f.unsqueeze(x2, -1)), axis=-1)


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
        strides, dilations = _spread(stride, rank, "stride"), _spread(dilation, rank, "dilation")
        kernel: Any = f.as_tensor(weight).type.shape[2:]
        if padding == "same":
            if any(s != 1 for s in strides):
                raise UnsupportedError(
                    'padding="same" with a stride', span=here(), fix="give the padding in numbers"
                )
            both = [d * (k - 1) for k, d in zip(kernel, dilations)]
            pads = tuple((total // 2, total - total // 2) for total in both)
        else:
            pads = tuple((p, p) for p in _spread(0 if padding == "valid" else padding, rank, "padding"))
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
        strides, dilations = _spread(stride, rank, "stride"), _spread(dilation, rank, "dilation")
        pads, more = _spread(padding, rank, "padding"), _spread(output_padding, rank, "output_padding")
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


def _max_pooling(rank: int) -> Any:
    def pooling(
        x: Tensor,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        kernel = _spread(kernel_size, rank, "kernel_size")
        values, _ = record(
            REGISTRY["max_pool"],
            x,
            kernel=kernel,
            strides=kernel if stride is None else _spread(stride, rank, "stride"),
            padding=tuple((p, p) for p in _spread(padding, rank, "padding")),
            dilation=_spread(dilation, rank, "dilation"),
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
        kernel = _spread(kernel_size, rank, "kernel_size")
        return record(
            REGISTRY["avg_pool"],
            x,
            kernel=kernel,
            strides=kernel if stride is None else _spread(stride, rank, "stride"),
            padding=tuple((p, p) for p in _spread(padding, rank, "padding")),
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
    count = float(np.prod(_spread(kernel_size, 2, "kernel_size")))
    powers = f.square(x) if norm_type == 2 else f.pow(f.abs(x), float(norm_type))
    total = f.mul(avg_pool2d(powers, kernel_size, stride, ceil_mode=ceil_mode), count)
    return f.sqrt(total) if norm_type == 2 else f.pow(total, 1.0 / norm_type)


def min_pool2d(
    x: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1
) -> Tensor:
    """The minimum of each window, -max(-x); PyTorch has no such function."""
    return f.neg(max_pool2d(f.neg(x), kernel_size, stride, padding, dilation))


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Averages of about equal parts of each plane: row i of n covers rows floor(i·H/n) to ceil((i+1)·H/n)."""
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    sizes = x.type.shape[2:]
    counts = tuple(have if want is None else int(want) for have, want in zip(sizes, wanted, strict=True))
    if counts == (1, 1):
        return f.mean(x, (2, 3), keepdims=True)
    kernel = tuple(exact_divide(have, count) for have, count in zip(sizes, counts))
    if all(isinstance(k, int) for k in kernel):
        return avg_pool2d(x, kernel)
    rows, columns = (_parts(have, count) for have, count in zip(sizes, counts))
    dtype = x.dtype
    return f.matmul(f.matmul(rows.astype(dtype), x), columns.T.astype(dtype))


def _parts(size: Dim, count: Any) -> np.ndarray:
    """The matrix [count, size] that averages about equal parts of an axis."""
    if not isinstance(size, int):
        raise UnsupportedError(
            f"adaptive pooling of a size {size} that is left open", span=here(), fix="pool to (1, 1)"
        )
    matrix = np.zeros((count, size))
    for i in builtins.range(count):
        low, high = i * size // count, -(-(i + 1) * size // count)
        matrix[i, low:high] = 1 / (high - low)
    return matrix


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """PyTorch's padding: pairs (before, after), of the last axis first; constant, reflect, replicate or circular."""
    pairs = [(int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=True)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if mode == "constant":
        return pad_axes(x, widths, value)
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in modes:
        raise UnsupportedError(
            f"padding with mode={mode!r}", span=here(), fix=f"constant, {', '.join(modes)}"
        )
    return f.extend(x, widths, modes[mode])


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Tensor:
    """PyTorch's resizing of x[N, C, ...]: nearest, nearest-exact, linear, bilinear or bicubic."""
    rank = x.ndim - 2
    modes = {"nearest": 0, "nearest-exact": 0, "linear": 1, "bilinear": 2, "bicubic": 2}
    if mode not in modes or modes[mode] not in (0, rank) or (size is None) == (scale_factor is None):
        raise UnsupportedError(
            f"interpolate of {rank} spatial axes with mode={mode!r}, size={size}, scale_factor={scale_factor}",
            span=here(),
            fix='a size or a scale_factor; mode "nearest", "linear" for 1 axis, "bilinear" or "bicubic" for 2',
        )
    factors: tuple[Any, ...] = ()
    if size is None:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * rank
        size = [int(f.count((n,)) * s) for n, s in zip(x.shape[2:], factors, strict=True)]
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * rank
    if mode.startswith("nearest"):
        exact = mode == "nearest-exact"
        how = {"coordinates": "half_pixel" if exact else "asymmetric"}
        how["nearest"] = "round_prefer_ceil" if exact else "floor"
    else:
        how = {"mode": "cubic" if mode == "bicubic" else "linear"}
        how["coordinates"] = "align_corners" if align_corners else "half_pixel"
    scales = {} if align_corners or not factors else {"scales": tuple(float(s) for s in factors)}
    return f.resize(x, range(2, x.ndim), sizes, **how, **scales)


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return f.flatten(x, start_dim, end_dim)


# Activations -------------------------------------------------------------------------------------------------------


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else slope·x."""
    return record(REGISTRY["leaky_relu"], x, slope=float(negative_slope))


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(e^x - 1)."""
    return record(REGISTRY["elu"], x, alpha=float(alpha))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) with the normal distribution Φ."""
    return record(REGISTRY["gelu"], x, approximate=approximate)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish."""
    return record(REGISTRY["silu"], x)


def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x)"""
    return record(REGISTRY["softplus"], x)


def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)"""
    return f.minimum(relu(x), 6.0)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return f.clamp(x, min_val, max_val)


def maxout(x: Tensor, pieces: int, dim: int = -1) -> Tensor:
    """The maximum over groups of `pieces` neighbours along an axis."""
    return record(REGISTRY["maxout"], x, pieces=int(pieces), axis=f.axis_of(x, dim))


# Normalisation and dropout -----------------------------------------------------------------------------------------


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


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any = None, dropout_p: float = 0.0) -> Any:
    """(softmax(q·kᵀ/√d + mask)·v, the softmax): q[..., L, d], k[..., S, d], v[..., S, e] -> [..., L, e]."""
    depth: Any = q.type.shape[-1]
    scores = f.matmul(f.mul(q, float(depth) ** -0.5), f.swapaxes(k, -1, -2))
    weights = softmax(scores if mask is None else f.add(scores, mask), -1)
    weights = dropout(weights, dropout_p)
    return f.matmul(weights, v), weights


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q·kᵀ/√d)·v.  A mask of booleans is True where something may be read, one of numbers is added."""
    mask = None if attn_mask is None else f.as_tensor(attn_mask)
    if is_causal:
        if mask is not None:
            raise UsageError("is_causal and attn_mask exclude each other", span=here())
        shape = (query.type.shape[-2], key.type.shape[-2])
        kind = dtype_of("int64")
        rows, columns = (record(REGISTRY["iota"], shape=shape, axis=axis, dtype=kind) for axis in (0, 1))
        mask = columns <= rows
    if mask is not None and mask.type.dtype.kind == "bool":
        mask = f.where(mask, f.full((), 0.0, query.dtype), f.full((), -np.inf, query.dtype))
    result: Tensor = attention(query, key, value, mask, dropout_p)[0]
    return result


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


# Losses ------------------------------------------------------------------------------------------------------------


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)², its mean by default."""
    return record(REGISTRY["mse_loss"], input, target, reduction=reduction)


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|, its mean by default."""
    return _reduced(f.abs(f.sub(input, target)), reduction)


def cross_entropy(
    input: Tensor,
    target: Any,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of scores [N, C, ...] and class labels [N, ...], or probabilities [N, C, ...] in their place."""
    labels = f.as_tensor(target)
    if not labels.type.dtype.is_float and label_smoothing == 0:
        return record(REGISTRY["cross_entropy"], input, labels, reduction=reduction)
    if not labels.type.dtype.is_float:
        raise UnsupportedError(
            "label_smoothing of class labels", span=here(), fix="give smoothed probabilities"
        )
    classes = input.type.shape[1]
    if label_smoothing:
        labels = f.add(
            f.mul(labels, 1.0 - label_smoothing),
            f.div(label_smoothing, f.size_number(classes, labels.type.dtype)),
        )
    return _reduced(f.neg(f.sum(f.mul(labels, log_softmax(input, 1)), 1)), reduction)


def nll_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Minus the log-probability [N, C, ...] of each label [N, ...]."""
    return record(REGISTRY["nll_loss"], input, target, reduction=reduction)


def binary_cross_entropy(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """-t·ln p - (1 - t)·ln(1 - p) of probabilities p."""
    return record(REGISTRY["binary_cross_entropy"], input, target, reduction=reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of scores, computed without the sigmoid."""
    return record(REGISTRY["binary_cross_entropy_with_logits"], input, target, reduction=reduction)


def hinge_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """max(0, 1 - t·x) of scores x and targets t of -1 or 1; PyTorch has no such function."""
    return record(REGISTRY["hinge_loss"], input, target, reduction=reduction)


def multi_margin_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """Σ max(0, x_j - x_label + margin) over the other classes of scores [N, C], divided by C as PyTorch does."""
    losses = record(
        REGISTRY["multiclass_hinge_loss"], input, target, reduction=reduction, margin=float(margin)
    )
    return f.div(losses, f.size_number(input.type.shape[1], losses.type.dtype))


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction not in ("mean", "sum", "none"):
        raise UnsupportedError(f"reduction={reduction!r}", span=here(), fix='"mean", "sum" or "none"')
    return losses if reduction == "none" else f.mean(losses) if reduction == "mean" else f.sum(losses)


def one_hot(x: Tensor, num_classes: int) -> Tensor:
    """1 at each label, else 0: [...] -> [..., num_classes], whole numbers."""
    wide = f.unsqueeze(x, -1)
    return f.astype(wide == np.arange(num_classes).astype(x.dtype), x.dtype)


def embedding(x: Tensor, weight: Any) -> Tensor:
    """Row x of a table: x[...] whole numbers, weight[words, features] -> [..., features]."""
    return record(REGISTRY["gather"], weight, x, axis=0)


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its length along an axis."""
    if p != 2:
        raise UnsupportedError(f"normalize with p={p}", span=here())
    return f.div(x, f.maximum(f.norm(x, dim, keepdims=True), eps))


recording.entries(globals())
