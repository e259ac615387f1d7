"""PyTorch's operators (ATen) as functions of graphc's tensors, by name; arguments are PyTorch's.

Most have the same name and arguments in graphc and stand in `SAME`; the others follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from graphc.errors import UnsupportedError
from graphc.ir.op import REGISTRY
from graphc.ir.types import DType, dtype_of
from graphc.nn import functional as F
from graphc.tensor import Tensor
from graphc.tensor import functions as f
from graphc.tensor.einsum import einsum as sum_of_products
from graphc.tensor.recording import record

Operator = Callable[..., Any]

IGNORED = {
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "_guards_fn",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
}
"""Checks that `torch.export` puts between the operators: graphc's shapes are checked already."""

SAME: dict[str, Operator] = {
    name: getattr(f, name)
    for name in (
        "abs acos acosh amax amin asin asinh atan atan2 atanh bitwise_and bitwise_or bitwise_xor broadcast_to ceil "
        "chunk cos cosh cumprod dot erf exp exp2 expand_as expm1 flatten flip floor floor_divide fmod gather "
        "index_add index_copy isfinite isinf isnan log log10 log1p log2 logical_and logical_not logical_or logical_xor "
        "masked_fill matmul maximum minimum mul neg norm outer prod relu remainder roll scatter_add sigmoid sign sin "
        "sinh sort split sqrt square squeeze tan tanh topk tril triu trunc type_as unbind unsqueeze"
    ).split()
}
LAYERS: dict[str, Operator] = {
    name: getattr(F, name)
    for name in (
        "adaptive_avg_pool1d adaptive_avg_pool2d avg_pool1d bilinear conv1d conv2d conv3d conv_transpose1d "
        "elu gelu group_norm hardtanh leaky_relu linear lp_pool2d max_pool1d max_pool2d one_hot relu6 silu"
    ).split()
}
OPERATORS: dict[str, Operator] = {**SAME, **LAYERS}

ALIASES = {
    "absolute": "abs",
    "arctan": "atan",
    "bitwise_not": "invert",
    "bmm": "matmul",
    "mm": "matmul",
    "mv": "matmul",
    "multiply": "mul",
    "negative": "neg",
    "hstack": "hstack",
    "split_with_sizes": "split",
}
OPERATORS.update({name: getattr(f, other) for name, other in ALIASES.items() if hasattr(f, other)})


def aten(*names: str) -> Callable[[Operator], Operator]:
    """Declare the function of operators."""

    def declare(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return declare


def dtype(kind: torch.dtype) -> DType:
    """graphc's dtype.  Raises UnsupportedError when there is none."""
    try:
        return dtype_of(str(kind).removeprefix("torch."))
    except ValueError as error:
        raise UnsupportedError(str(error)) from None


def array(value: Any) -> Any:
    return f.as_tensor(value) if not isinstance(value, Tensor) else value


# --- one number each


@aten(
    "alias", "clone", "contiguous", "detach_", "lift_fresh_copy", "dropout_", "positive", "view_as_real_copy"
)
def same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


@aten("detach")
def detach(x: Tensor) -> Tensor:
    return f.stop_gradient(x)


@aten("add")
def add(x: Any, y: Any, *, alpha: float = 1) -> Any:
    return f.add(x, y if alpha == 1 else f.mul(y, alpha))


@aten("sub", "subtract")
def sub(x: Any, y: Any, *, alpha: float = 1) -> Any:
    return f.sub(x, y if alpha == 1 else f.mul(y, alpha))


@aten("rsub")
def rsub(x: Any, y: Any, alpha: float = 1) -> Any:
    return f.sub(y, x if alpha == 1 else f.mul(x, alpha))


@aten("div", "divide", "true_divide")
def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return f.floor_divide(x, y)
    x = x.astype("float32") if isinstance(x, Tensor) and not x.type.dtype.is_float else x
    quotient = f.div(x, y)
    return f.trunc(quotient) if rounding_mode == "trunc" else quotient


@aten("pow")
def power(x: Any, y: Any) -> Any:
    return f.pow(x, y)


@aten("reciprocal")
def reciprocal(x: Tensor) -> Tensor:
    return f.div(1.0, x)


@aten("rsqrt")
def rsqrt(x: Tensor) -> Tensor:
    return f.div(1.0, f.sqrt(x))


@aten("round")
def rounded(x: Tensor, *, decimals: int = 0) -> Tensor:
    if decimals:
        raise UnsupportedError(f"round with decimals={decimals}")
    return f.round(x)


@aten("clamp", "clip")
def clamp(x: Tensor, min: Any = None, max: Any = None) -> Any:
    return f.clamp(x, min, max)


@aten("clamp_min")
def clamp_min(x: Tensor, low: Any) -> Any:
    return f.clamp(x, low)


@aten("clamp_max")
def clamp_max(x: Tensor, high: Any) -> Any:
    return f.clamp(x, None, high)


@aten("hardswish")
def hardswish(x: Tensor) -> Tensor:
    return f.mul(x, hardsigmoid(x))


@aten("hardsigmoid")
def hardsigmoid(x: Tensor) -> Tensor:
    return f.clamp(f.add(f.div(x, 6.0), 0.5), 0.0, 1.0)


@aten("mish")
def mish(x: Tensor) -> Tensor:
    return f.mul(x, f.tanh(F.softplus(x)))


@aten("log_sigmoid")
def log_sigmoid(x: Tensor) -> Tensor:
    return f.neg(F.softplus(f.neg(x)))


@aten("selu")
def selu(x: Tensor) -> Tensor:
    return f.mul(F.elu(x, 1.6732632423543772), 1.0507009873554805)


@aten("celu")
def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return f.add(f.maximum(x, 0.0), f.minimum(f.mul(f.expm1(f.div(x, alpha)), alpha), 0.0))


@aten("softplus")
def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    scaled = x if beta == 1 else f.mul(x, beta)
    smooth = F.softplus(scaled)
    smooth = smooth if beta == 1 else f.div(smooth, beta)
    return f.where(f.mul(x, beta) > threshold, x, smooth)


@aten("prelu")
def prelu(x: Tensor, weight: Tensor) -> Tensor:
    slope = weight.reshape(-1, *(1,) * (x.ndim - 2)) if weight.numel() != 1 and x.ndim > 1 else weight
    return f.where(x > 0, x, f.mul(x, slope))


@aten("where")
def where(condition: Tensor, x: Any, y: Any) -> Any:
    return f.where(condition, x, y)


COMPARISONS: dict[str, Operator] = {
    "eq": lambda x, y: array(x) == y,
    "ne": lambda x, y: array(x) != y,
    "lt": lambda x, y: array(x) < y,
    "le": lambda x, y: array(x) <= y,
    "gt": lambda x, y: array(x) > y,
    "ge": lambda x, y: array(x) >= y,
}
OPERATORS.update(COMPARISONS)


@aten("to", "_to_copy")
def to(x: Tensor, *arguments: Any, dtype: Any = None, **_: Any) -> Tensor:
    kinds = [a for a in (*arguments, dtype) if isinstance(a, torch.dtype)]
    others = [a for a in arguments if isinstance(a, Tensor)]
    target = _dtype(kinds[0]) if kinds else others[0].type.dtype if others else x.type.dtype
    return x if target == x.type.dtype else x.astype(target)


_dtype = dtype

for _name, _kind in (
    ("float", "float32"),
    ("double", "float64"),
    ("long", "int64"),
    ("int", "int32"),
    ("bool", "bool"),
):
    OPERATORS[_name] = f.conversion(_kind)


# --- shapes


@aten("view", "reshape", "_unsafe_view", "_reshape_alias")
def reshape(x: Tensor, shape: Any, *_: Any) -> Tensor:
    return x.reshape(*shape)


@aten("unflatten")
def unflatten(x: Tensor, dim: int, sizes: Any) -> Tensor:
    dim = dim % x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


@aten("permute")
def permute(x: Tensor, order: list[int]) -> Tensor:
    return x.permute(*order)


@aten("transpose", "swapaxes")
def transpose(x: Tensor, a: int, b: int) -> Tensor:
    return x.swapaxes(a, b)


@aten("t", "numpy_T")
def transposed(x: Tensor) -> Tensor:
    return x if x.ndim < 2 else x.swapaxes(0, 1)


@aten("expand")
def expand(x: Tensor, sizes: Any, *, implicit: bool = False) -> Tensor:
    return f.expand(x, *sizes)


@aten("repeat", "tile")
def repeat(x: Tensor, times: Any) -> Tensor:
    return f.tile(x, *times)


@aten("cat", "concat")
def cat(tensors: Any, dim: int = 0) -> Tensor:
    return f.concatenate([t for t in tensors if t.type.shape != (0,)], dim)


@aten("stack")
def stack(tensors: Any, dim: int = 0) -> Tensor:
    return f.stack(tensors, dim)


def _along(x: Tensor, dim: int, index: Any) -> Tensor:
    dim = dim % x.ndim
    return x[(slice(None),) * dim + (index,)]


@aten("select")
def select(x: Tensor, dim: int, index: int) -> Tensor:
    return _along(x, dim, index)


@aten("slice")
def slice_(x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    end = None if isinstance(end, int) and end >= 2**62 else end
    return _along(x, dim, slice(start, end, step))


@aten("narrow")
def narrow(x: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    return _along(x, dim, slice(start, start + length))


@aten("index_select")
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    return f.take(x, index, dim)


@aten("index")
def index(x: Tensor, indices: list[Any]) -> Tensor:
    return x[tuple(slice(None) if i is None else i for i in indices)]


@aten("pad")
def pad(x: Tensor, widths: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    return F.pad(x, widths, mode, value or 0.0)


@aten("constant_pad_nd")
def constant_pad(x: Tensor, widths: Any, value: float = 0.0) -> Tensor:
    return F.pad(x, widths, "constant", value)


@aten("pixel_shuffle")
def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c // factor**2, factor, factor, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // factor**2, h * factor, w * factor)


@aten("sym_size")
def sym_size(x: Tensor, dim: int) -> Any:
    return x.shape[dim]


@aten("sym_numel")
def sym_numel(x: Tensor) -> Any:
    return x.numel()


# --- made from nothing


@aten("full")
def full(shape: Any, value: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    kind = _dtype(dtype) if dtype is not None else "float32" if isinstance(value, float) else None
    return f.full(tuple(shape), value, kind)


@aten("zeros", "empty", "new_zeros")
def zeros(*arguments: Any, dtype: Any = None, **_: Any) -> Tensor:
    return f.full(tuple(arguments[-1]), 0.0, _dtype(dtype) if dtype is not None else "float32")


@aten("ones")
def ones(shape: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return f.full(tuple(shape), 1.0, _dtype(dtype) if dtype is not None else "float32")


def _filled_like(x: Tensor, value: float, kind: Any) -> Tensor:
    return f.full(tuple(x.shape), value, _dtype(kind) if kind is not None else x.type.dtype)


@aten("zeros_like", "empty_like")
def zeros_like(x: Tensor, *, dtype: Any = None, **_: Any) -> Tensor:
    return _filled_like(x, 0.0, dtype)


@aten("ones_like")
def ones_like(x: Tensor, *, dtype: Any = None, **_: Any) -> Tensor:
    return _filled_like(x, 1.0, dtype)


@aten("full_like")
def full_like(x: Tensor, value: float, *, dtype: Any = None, **_: Any) -> Tensor:
    return _filled_like(x, value, dtype)


@aten("scalar_tensor")
def scalar_tensor(value: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return f.full((), value, _dtype(dtype) if dtype is not None else None)


@aten("arange")
def arange(*bounds: Any, dtype: Any = None, **_: Any) -> Tensor:
    start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    numbers = (start, stop, step)
    if all(isinstance(n, (int, float)) for n in numbers):
        kind = np.dtype(_dtype(dtype).name) if dtype is not None else None
        return f.as_tensor(np.arange(start, stop, step, dtype=kind))
    if step != 1:
        raise UnsupportedError("arange of an open size with a step")
    ramp = f.iota((stop - start,), 0)
    ramp = ramp if isinstance(start, int) and start == 0 else ramp + start
    return ramp if dtype is None else ramp.astype(_dtype(dtype))


# --- reductions


def _axes(x: Tensor, dim: Any) -> Any:
    return None if dim is None or dim == [] else tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _converted(x: Tensor, kind: Any) -> Tensor:
    return x if kind is None else x.astype(_dtype(kind))


@aten("sum")
def sum_(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return f.sum(_converted(x, dtype), _axes(x, dim), keepdim)


@aten("mean")
def mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return f.mean(_converted(x, dtype), _axes(x, dim), keepdim)


def _spread(function: Operator) -> Operator:
    def reduced(
        x: Tensor, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
    ) -> Tensor:
        freedom = int(unbiased) if correction is None else int(correction)
        return function(x, _axes(x, dim), keepdim, ddof=freedom)

    return reduced


OPERATORS["var"], OPERATORS["std"] = _spread(f.var), _spread(f.std)


def _extreme(whole: Operator, pairwise: Operator) -> Operator:
    def extreme(x: Tensor, other: Any = None, keepdim: bool = False) -> Any:
        if isinstance(other, Tensor):
            return pairwise(x, other)
        return whole(x) if other is None else whole(x, dim=other, keepdim=keepdim)

    return extreme


OPERATORS["max"], OPERATORS["min"] = _extreme(f.max, f.maximum), _extreme(f.min, f.minimum)


@aten("argmax")
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return f.argmax(x, dim, keepdim)


@aten("argmin")
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return f.argmin(x, dim, keepdim)


@aten("any")
def any_(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return f.any(x, _axes(x, dim), keepdim)


@aten("all")
def all_(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return f.all(x, _axes(x, dim), keepdim)


@aten("cumsum")
def cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return f.cumsum(_converted(x, dtype), dim)


@aten("softmax", "_softmax")
def softmax(x: Tensor, dim: int, kind: Any = None) -> Tensor:
    return f.softmax(_converted(x, kind if isinstance(kind, torch.dtype) else None), dim)


@aten("log_softmax", "_log_softmax")
def log_softmax(x: Tensor, dim: int, kind: Any = None) -> Tensor:
    return f.log_softmax(_converted(x, kind if isinstance(kind, torch.dtype) else None), dim)


@aten("logsumexp")
def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    largest = f.stop_gradient(f.amax(x, _axes(x, dim), True))
    total = f.add(f.log(f.sum(f.exp(f.sub(x, largest)), _axes(x, dim), True)), largest)
    return total if keepdim else f.squeeze(total, _axes(x, dim))


@aten("linalg_vector_norm")
def vector_norm(
    x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    axes = _axes(x, dim)
    if order == 2:
        return f.sqrt(f.sum(f.mul(x, x), axes, keepdim))
    if order == 1:
        return f.sum(f.abs(x), axes, keepdim)
    if order == math.inf:
        return f.amax(f.abs(x), axes, keepdim)
    return f.pow(f.sum(f.pow(f.abs(x), float(order)), axes, keepdim), 1 / float(order))


# --- products and layers


@aten("addmm", "baddbmm")
def addmm(c: Tensor, x: Tensor, w: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = f.matmul(x, w)
    product = product if alpha == 1 else f.mul(product, alpha)
    return f.add(product, c if beta == 1 else f.mul(c, beta))


@aten("einsum")
def einsum(equation: str, operands: Any, *, path: Any = None) -> Tensor:
    result: Tensor = sum_of_products(equation, *operands)
    return result


@aten("conv_transpose2d", "conv_transpose3d")
def conv_transpose(x: Tensor, w: Tensor, *rest: Any) -> Tensor:
    return (F.conv_transpose2d if x.ndim == 4 else F.conv_transpose3d)(x, w, *rest)


@aten("convolution", "_convolution")
def convolution(
    x: Tensor, w: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, more: Any, groups: int,
    *_: Any,
) -> Tensor:  # fmt: skip
    rank = x.ndim - 2
    if transposed:
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        return function(x, w, bias, tuple(stride), tuple(padding), tuple(more), groups, tuple(dilation))
    plain = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return plain(x, w, bias, tuple(stride), tuple(padding), tuple(dilation), groups)


@aten("batch_norm")
def batch_norm(
    x: Tensor, w: Any, b: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Tensor:
    return F.batch_norm(x, mean, var, w, b, training, momentum, eps)


@aten("_native_batch_norm_legit_functional")
def batch_norm_with_statistics(
    x: Tensor, w: Any, b: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> tuple[Any, ...]:
    """In training; the new running statistics are results, and nothing is written."""
    channels: Any = x.type.shape[1]
    scale = f.full((channels,), 1.0, x.dtype) if w is None else w
    shift = f.full((channels,), 0.0, x.dtype) if b is None else b
    y, new_mean, new_var = record(
        REGISTRY["batch_norm_train"], x, scale, shift, mean, var, epsilon=eps, momentum=momentum
    )
    return y, None, None, new_mean, new_var


@aten("instance_norm")
def instance_norm(
    x: Tensor, w: Any, b: Any, mean: Any, var: Any, own: bool, momentum: float, eps: float, *_: Any
) -> Tensor:
    if not own:
        raise UnsupportedError("instance_norm with running statistics")
    channels: Any = x.shape[1]
    return F.group_norm(x, channels, w, b, eps)


@aten("layer_norm")
def layer_norm(x: Tensor, shape: Any, w: Any = None, b: Any = None, eps: float = 1e-5, *_: Any) -> Tensor:
    return F.layer_norm(x, tuple(shape), w, b, eps)


@aten("rms_norm")
def rms_norm(x: Tensor, shape: Any, w: Any = None, eps: float | None = None) -> Tensor:
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    least = eps if eps is not None else float(np.finfo(x.type.dtype.numpy).eps)
    y = f.div(x, f.sqrt(f.add(f.mean(f.mul(x, x), axes, True), least)))
    return y if w is None else f.mul(y, w)


@aten("dropout", "feature_dropout", "alpha_dropout")
def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    return F.dropout(x, p, training)


@aten("embedding")
def embedding(weight: Tensor, indices: Tensor, *_: Any, **__: Any) -> Tensor:
    return F.embedding(indices, weight)


@aten("avg_pool2d")
def avg_pool2d(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, include: bool = True,
    divisor: Any = None,
) -> Tensor:  # fmt: skip
    if divisor is not None:
        raise UnsupportedError("avg_pool2d with divisor_override")
    return F.avg_pool2d(x, kernel, stride or kernel, padding, ceil_mode, include)


@aten("avg_pool3d")
def avg_pool3d(
    x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, include: bool = True,
    divisor: Any = None,
) -> Tensor:  # fmt: skip
    if divisor is not None:
        raise UnsupportedError("avg_pool3d with divisor_override")
    sizes, steps = F.spread(kernel, 3, "kernel"), F.spread(stride or kernel, 3, "stride")
    pads = tuple((p, p) for p in F.spread(padding, 3, "padding"))
    result: Tensor = record(
        REGISTRY["avg_pool"],
        x,
        kernel=sizes,
        strides=steps,
        padding=pads,
        ceil=ceil_mode,
        count_include_pad=include,
    )
    return result


@aten("adaptive_max_pool2d")
def adaptive_max_pool2d(x: Tensor, size: Any) -> tuple[Tensor, None]:
    return F.adaptive_max_pool2d(x, size), None


@aten("scaled_dot_product_attention")
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if enable_gqa:
        raise UnsupportedError("scaled_dot_product_attention with enable_gqa")
    if scale is not None:
        depth: Any = q.type.shape[-1]
        q = f.mul(q, scale * math.sqrt(depth))
    return F.scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)


def _interpolation(mode: str) -> Operator:
    def resized(x: Tensor, size: Any = None, *rest: Any) -> Tensor:
        corners = bool(rest[0]) if mode in ("linear", "bilinear", "bicubic") and rest else False
        scales = next((r for r in rest if isinstance(r, (list, tuple))), None)
        if size is not None:
            return F.interpolate(x, tuple(size), None, mode, corners)
        return F.interpolate(x, None, tuple(scales or ()), mode, corners)

    return resized


for _name, _mode in (
    ("upsample_nearest1d", "nearest"),
    ("upsample_nearest2d", "nearest"),
    ("upsample_linear1d", "linear"),
    ("upsample_bilinear2d", "bilinear"),
    ("upsample_bicubic2d", "bicubic"),
):
    OPERATORS[_name] = _interpolation(_mode)


# --- losses

_REDUCTIONS = ("none", "mean", "sum")


@aten("cross_entropy_loss")
def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Any = None,
    reduction: int = 1,
    ignore_index: int = -100,
    smoothing: float = 0.0,
) -> Tensor:
    if weight is not None:
        raise UnsupportedError("cross_entropy with weights of classes")
    return F.cross_entropy(x, target, reduction=_REDUCTIONS[reduction], label_smoothing=smoothing)


@aten("nll_loss_nd", "nll_loss")
def nll_loss(
    x: Tensor, target: Tensor, weight: Any = None, reduction: int = 1, ignore_index: int = -100
) -> Tensor:
    if weight is not None:
        raise UnsupportedError("nll_loss with weights of classes")
    return F.nll_loss(x, target, reduction=_REDUCTIONS[reduction])


@aten("mse_loss")
def mse_loss(x: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    return F.mse_loss(x, target, _REDUCTIONS[reduction])


@aten("l1_loss")
def l1_loss(x: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    return F.l1_loss(x, target, _REDUCTIONS[reduction])


@aten("binary_cross_entropy")
def binary_cross_entropy(x: Tensor, target: Tensor, weight: Any = None, reduction: int = 1) -> Tensor:
    if weight is not None:
        raise UnsupportedError("binary_cross_entropy with weights")
    return F.binary_cross_entropy(x, target, _REDUCTIONS[reduction])


@aten("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    x: Tensor, target: Tensor, weight: Any = None, positive: Any = None, reduction: int = 1
) -> Tensor:
    if weight is not None or positive is not None:
        raise UnsupportedError("binary_cross_entropy_with_logits with weights")
    return F.binary_cross_entropy_with_logits(x, target, _REDUCTIONS[reduction])
