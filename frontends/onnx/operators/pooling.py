"""Pooling: windows by maximum, average or norm, whole planes, and the way back from a maximum."""

from __future__ import annotations

import numpy as np

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.convolution import Pairs, padding_of, spatial
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import product
from graphc.ir.graph import Value
from graphc.ir.types import int64
from graphc.ops.pooling import laid_out
from graphc.ops.windows import taps


def _windows(call: Call, x: Value) -> dict:
    rank = x.type.rank - 2
    if rank < 1:
        raise OnnxError(f"{call.name} needs batch, channels and spatial axes, not {x.type}")
    kernel = spatial(call, "kernel_shape", rank, 1)
    strides, dilations = spatial(call, "strides", rank, 1), spatial(call, "dilations", rank, 1)
    padding = padding_of(call, x.shape[2:], kernel, strides, dilations)
    if any(n < 0 for pair in padding for n in pair):
        raise OnnxError(f"{call.name}: padding {padding} is below 0")
    return {
        "kernel": kernel,
        "strides": strides,
        "padding": padding,
        "dilation": dilations,
        "ceil": bool(call.attribute("ceil_mode", 0)),
    }


@onnx_operator("MaxPool")
def max_pool(call: Call) -> list[Value]:
    x = call[0]
    attributes = _windows(call, x)
    y, index = ops.max_pool(x, **attributes)
    if not call.wants(1):
        return [y]
    plane = product(x.shape[2:])
    if call.attribute("storage_order", 0):
        if x.type.rank != 4:
            raise call.unsupported("indices in column-major order of other than images")
        row, column = ops.floor_divide(index, x.shape[3]), ops.remainder(index, x.shape[3])
        index = column * x.shape[2] + row
    rank = index.type.rank
    batch = ops.iota(shape=index.shape, axis=0, dtype=int64)
    channel = ops.iota(shape=index.shape, axis=1, dtype=int64)
    assert rank >= 3
    return [y, (batch * x.shape[1] + channel) * plane + index]


@onnx_operator("AveragePool")
def average_pool(call: Call) -> Value:
    x = call[0]
    attributes = _windows(call, x)
    dilation = attributes.pop("dilation")
    include = bool(call.attribute("count_include_pad", 0))
    if set(dilation) == {1}:
        return ops.avg_pool(x, **attributes, count_include_pad=include)
    total, count = _sums(call, x, attributes, dilation, include)
    return total / count


def _sums(
    call: Call, x: Value, attributes: dict, dilation: tuple[int, ...], include: bool
) -> tuple[Value, Value]:
    """The sum of each window, as a convolution of each channel with ones, and how many elements count."""
    sizes = x.shape[2:]
    if not all(isinstance(n, int) for n in (*sizes, x.shape[1])):
        raise call.unsupported("dilated windows over an open size")
    kernel, strides, padding, ceil = (attributes[k] for k in ("kernel", "strides", "padding", "ceil"))
    counts, widths = laid_out(sizes, kernel, strides, padding, dilation, ceil)
    ones = np.ones((1, 1, *sizes), np.int64)
    inside = np.pad(ones, ((0, 0), (0, 0), *padding), constant_values=int(include))
    inside = np.pad(
        inside, [(0, w - p) for (_, w), (_, p) in zip(widths, ((0, 0), (0, 0), *padding), strict=True)]
    )
    number = sum(inside[met] for _, met in taps(kernel, strides, dilation, counts))
    channels = x.shape[1]
    assert isinstance(channels, int)
    weight = call.importer.constant(np.ones((channels, 1, *kernel), x.dtype.numpy))
    total = ops.conv(
        x, weight, strides=strides, padding=tuple(widths[2:]), dilation=dilation, groups=channels
    )
    return total, call.importer.constant(np.maximum(number, 1).astype(x.dtype.numpy))


@onnx_operator("LpPool")
def norm_pool(call: Call) -> Value:
    """(Σ |x|^p)^(1/p) of each window."""
    x, p = call[0], call.attribute("p", 2)
    attributes = _windows(call, x)
    dilation = attributes.pop("dilation")
    total, _ = _sums(call, _to_power(x, p), attributes, dilation, True)
    return _root(total, p)


def _to_power(x: Value, p: float) -> Value:
    if p == 1:
        return ops.abs(x)
    return x * x if p == 2 else ops.pow(ops.abs(x), float(p))


def _root(x: Value, p: float) -> Value:
    if p == 1:
        return x
    return ops.sqrt(x) if p == 2 else ops.pow(x, 1.0 / float(p))


@onnx_operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def whole_plane(call: Call) -> Value:
    x = call[0]
    axes = tuple(range(2, x.type.rank))
    if call.name == "GlobalAveragePool":
        y = ops.mean(x, axes=axes)
    elif call.name == "GlobalMaxPool":
        y = ops.max(x, axes=axes)
    else:
        p = call.attribute("p", 2)
        y = _root(ops.sum(_to_power(x, p), axes=axes), p)
    return ops.reshape(y, shape=(*x.shape[:2], *(1,) * len(axes)))


@onnx_operator("MaxUnpool")
def max_unpool(call: Call) -> Value:
    """Elements go back to the places the maxima came from; zeros elsewhere."""
    x, index = call[0], call[1]
    rank = x.type.rank - 2
    kernel, strides = spatial(call, "kernel_shape", rank, 1), spatial(call, "strides", rank, 1)
    pads: Pairs = padding_of(call, x.shape[2:], kernel, strides, (1,) * rank)
    natural = tuple(
        (n - 1) * s + k - low - high
        for n, s, k, (low, high) in zip(x.shape[2:], strides, kernel, pads, strict=True)
    )
    shape = call.sizes(2) if call.has(2) else (*x.shape[:2], *natural)
    count = product((*x.shape[:2], *natural))
    flat = ops.scatter_elements(
        ops.reshape(x, shape=(x.type.size,)), ops.reshape(index, shape=(x.type.size,)), axis=0, size=count
    )
    y = ops.reshape(flat, shape=(*x.shape[:2], *natural))
    grown = tuple(b - a for a, b in zip(y.shape, shape, strict=True))
    if not any(grown):
        return y
    if any(not isinstance(n, int) or n < 0 for n in grown):
        raise call.unsupported(f"the output shape {list(shape)}")
    return ops.pad(y, low=(0,) * len(grown), high=grown, interior=(0,) * len(grown))
