"""Convolution and its transpose."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ops.windows import span

Pairs = tuple[tuple[int, int], ...]


def spatial(call: Call, name: str, rank: int, default: int) -> tuple[int, ...]:
    """One number for each spatial axis.  Raises OnnxError for another count or a number below 1."""
    found = tuple(call.attribute(name) or (default,) * rank)
    if len(found) != rank or any(n < 1 for n in found):
        raise OnnxError(f"{call.name}: {name} {list(found)} must be {rank} numbers >= 1")
    return found


def padding_of(
    call: Call,
    sizes: tuple[Dim, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> Pairs:
    """Padding (before, after) of each spatial axis; by `auto_pad` it is worked out from the sizes."""
    mode, rank = call.attribute("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        pads = call.attribute("pads") or [0] * (2 * rank)
        if len(pads) != 2 * rank:
            raise OnnxError(f"{call.name}: pads {list(pads)} must be {2 * rank} numbers")
        return tuple(zip(pads[:rank], pads[rank:], strict=True))
    if mode == "VALID":
        return ((0, 0),) * rank
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise OnnxError(f"{call.name}: there is no auto_pad {mode!r}")
    pairs = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        if isinstance(size, int):
            total = max((-(-size // s) - 1) * s + span(k, d) - size, 0)
        elif s == 1:
            total = span(k, d) - 1
        else:
            raise call.unsupported(f"auto_pad {mode} with stride {s} along an open size")
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return tuple(pairs)


def cropped(x: Value, padding: Pairs) -> tuple[Value, Pairs]:
    """Padding below 0 cuts off; what remains is padding."""
    if all(n >= 0 for pair in padding for n in pair):
        return x, padding
    starts = tuple(max(-low, 0) for low, _ in padding)
    stops = tuple(size - max(-high, 0) for size, (_, high) in zip(x.shape[2:], padding, strict=True))
    x = ops.slice(x, starts=(0, 0, *starts), stops=(*x.shape[:2], *stops), steps=(1,) * x.type.rank)
    return x, tuple((max(low, 0), max(high, 0)) for low, high in padding)


def check_kernel(call: Call, shape: tuple[Dim, ...]) -> tuple[int, ...]:
    kernel = tuple(n for n in shape if isinstance(n, int))
    declared = call.attribute("kernel_shape")
    if len(kernel) != len(shape) or declared and tuple(declared) != kernel:
        raise OnnxError(f"{call.name}: kernel_shape {declared} does not fit the weight's {list(shape)}")
    return kernel


@onnx_operator("Conv")
def conv(call: Call) -> Value:
    return convolved(call, call[0], call[1], call.get(2))


def convolved(call: Call, x: Value, w: Value, bias: Value | None = None) -> Value:
    """The convolution of these operands by the call's attributes."""
    rank = x.type.rank - 2
    if rank < 1 or w.type.rank != x.type.rank:
        raise OnnxError(f"Conv of {x.type} by {w.type}: both need batch, channels and the same spatial axes")
    kernel = check_kernel(call, w.shape[2:])
    strides, dilations = spatial(call, "strides", rank, 1), spatial(call, "dilations", rank, 1)
    padding = padding_of(call, x.shape[2:], kernel, strides, dilations)
    x, padding = cropped(x, padding)
    y = ops.conv(
        x, w, strides=strides, padding=padding, dilation=dilations, groups=call.attribute("group", 1)
    )
    return with_bias(y, bias)


def with_bias(y: Value, bias: Value | None) -> Value:
    if bias is None:
        return y
    return y + ops.reshape(bias, shape=(*bias.shape, *(1,) * (y.type.rank - 2)))


@onnx_operator("ConvTranspose")
def conv_transpose(call: Call) -> Value:
    """The gradient of a convolution by its input."""
    x, w = call[0], call[1]
    rank, groups = x.type.rank - 2, call.attribute("group", 1)
    if rank < 1 or w.type.rank != x.type.rank:
        raise OnnxError(f"ConvTranspose of {x.type} by {w.type}: both need the same spatial axes")
    kernel = check_kernel(call, w.shape[2:])
    strides, dilations = spatial(call, "strides", rank, 1), spatial(call, "dilations", rank, 1)
    extra = tuple(call.attribute("output_padding") or (0,) * rank)
    spans = tuple(span(k, d) for k, d in zip(kernel, dilations, strict=True))
    full = tuple((n - 1) * s + length for n, s, length in zip(x.shape[2:], strides, spans, strict=True))
    wanted = call.attribute("output_shape")
    mode = call.attribute("auto_pad", "NOTSET")
    if wanted or mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = tuple(wanted or (n * s for n, s in zip(x.shape[2:], strides, strict=True)))[-rank:]
        pairs = []
        for n, more, size in zip(full, extra, sizes, strict=True):
            total = n + more - size
            if not isinstance(total, int):
                raise call.unsupported("a given output shape with an open size")
            first = total - total // 2 if mode != "SAME_UPPER" else total // 2
            pairs.append((first, total - first))
        padding: Pairs = tuple(pairs)
    else:
        padding = padding_of(call, x.shape[2:], kernel, strides, dilations)
    sizes = tuple(n + e - low - high for n, e, (low, high) in zip(full, extra, padding, strict=True))
    inner, crop = padding, padding
    if any(n < 0 for pair in padding for n in pair) or any(
        e >= s for e, s in zip(extra, strides, strict=True)
    ):
        inner = ((0, 0),) * rank
    y = ops.conv_dx(
        x,
        w,
        size=sizes if inner is crop else full,
        strides=strides,
        padding=inner,
        dilation=dilations,
        groups=groups,
    )
    if inner is not crop:
        y = widened(y, tuple((-low, e - high) for (low, high), e in zip(crop, extra, strict=True)))
    return with_bias(y, call.get(2))


def widened(y: Value, widths: Pairs) -> Value:
    """Zeros added around the spatial axes, or elements cut off where a width is below 0."""
    y, widths = cropped(y, widths)
    if not any(n for pair in widths for n in pair):
        return y
    zero = (0, 0)
    low, high = (tuple(pair[i] for pair in widths) for i in (0, 1))
    return ops.pad(y, low=(*zero, *low), high=(*zero, *high), interior=(0,) * y.type.rank)
