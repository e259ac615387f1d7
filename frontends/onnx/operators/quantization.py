"""Whole numbers for real ones: quantised operators, as the real computation they stand for."""

from __future__ import annotations

import numpy as np

from graphc import ops
from graphc.frontends.onnx.call import Call, normal_axis
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.convolution import convolved
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import exact_divide
from graphc.ir.graph import Value
from graphc.ir.types import DType, float32, float64, int32, uint8
from graphc.ops.linalg import product


def spread_along(v: Value, x: Value, axis: int, block: int = 0) -> Value:
    """A scale or zero point in the sizes of x: one number, one for each index of an axis, or one for each block."""
    if v.type.rank == 0 or v.shape == (1,):
        return ops.reshape(v, shape=())
    if block:
        sizes = tuple(n for i, d in enumerate(v.shape) for n in ((d, 1) if i == axis else (d,)))
        wide = tuple(n for i, d in enumerate(v.shape) for n in ((d, block) if i == axis else (d,)))
        return ops.reshape(ops.broadcast_to(ops.reshape(v, shape=sizes), shape=wide), shape=x.shape)
    if v.type.rank != 1:
        raise OnnxError(f"a scale {v.type} does not fit {x.type}")
    return ops.reshape(v, shape=tuple(v.shape[0] if i == axis else 1 for i in range(x.type.rank)))


def quantized(x: Value, scale: Value, zero: Value | None, dtype: DType) -> Value:
    """round(x / scale) + zero, kept in the range of the dtype; halves go to the even number."""
    number = ops.round(x / scale)
    if zero is not None:
        number = number + ops.cast(zero, dtype=x.dtype)
    limits = np.iinfo(dtype.numpy)
    return ops.cast(ops.minimum(ops.maximum(number, float(limits.min)), float(limits.max)), dtype=dtype)


@onnx_operator("QuantizeLinear")
def quantize(call: Call) -> Value:
    x, scale = call[0], call[1]
    axis = normal_axis(call.attribute("axis", 1), max(x.type.rank, 2), call.name)
    block = call.attribute("block_size", 0)
    zero = call.get(2)
    dtype = (
        zero.dtype
        if zero is not None
        else call.dtype("output_dtype")
        if call.attribute("output_dtype")
        else uint8
    )
    if dtype.kind not in ("int", "uint"):
        raise call.unsupported(f"results of {dtype}")
    wide = x if x.dtype.is_float else ops.cast(x, dtype=float32)
    scale = scale if scale.dtype == wide.dtype else ops.cast(scale, dtype=wide.dtype)
    zero = None if zero is None else spread_along(zero, x, axis, block)
    return quantized(wide, spread_along(scale, x, axis, block), zero, dtype)


@onnx_operator("DequantizeLinear")
def dequantize(call: Call) -> Value:
    x, scale = call[0], call[1]
    axis = normal_axis(call.attribute("axis", 1), max(x.type.rank, 2), call.name)
    return dequantized(call, x, scale, call.get(2), axis, call.attribute("block_size", 0))


def dequantized(call: Call, x: Value, scale: Value, zero: Value | None, axis: int, block: int = 0) -> Value:
    """(x - zero)·scale; the difference is exact, in whole numbers of 32 bits."""
    number = ops.cast(x, dtype=int32)
    if zero is not None:
        number = number - spread_along(ops.cast(zero, dtype=int32), x, axis, block)
    if block and exact_divide(x.shape[axis], block) is None:
        raise call.unsupported(f"blocks of {block} along a size of {x.shape[axis]}")
    return ops.cast(number, dtype=scale.dtype) * spread_along(scale, x, axis, block)


@onnx_operator("MatMulInteger")
def matmul_integer(call: Call) -> Value:
    x, w = _centred(call, 0, 2), _centred(call, 1, 3)
    return ops.cast(product(x, w), dtype=int32)


def _centred(call: Call, index: int, zero_index: int) -> Value:
    """x - zero in float64, which holds every product of 8-bit numbers and their sums exactly."""
    x = ops.cast(call[index], dtype=float64)
    if not call.has(zero_index):
        return x
    zero = ops.cast(call[zero_index], dtype=float64)
    if zero.type.rank == 1 and zero.shape[0] != 1 and index == 0:
        zero = ops.reshape(zero, shape=(*zero.shape, 1))
    elif zero.type.rank == 1 and zero.shape[0] == 1:
        zero = ops.reshape(zero, shape=())
    return x - zero


@onnx_operator("QLinearMatMul")
def quantized_matmul(call: Call) -> Value:
    x = dequantized(call, call[0], call[1], call[2], max(call[0].type.rank - 2, 0))
    w = dequantized(call, call[3], call[4], call[5], call[3].type.rank - 1)
    y = product(x, w)
    return quantized(y, spread_along(call[6], y, y.type.rank - 2), call[7], call[7].dtype)


@onnx_operator("ConvInteger")
def conv_integer(call: Call) -> Value:
    w = ops.cast(call[1], dtype=float64)
    if call.has(3):
        w = w - spread_along(ops.cast(call[3], dtype=float64), w, 0)
    y = convolved(call, _centred(call, 0, 2), w)
    return ops.cast(y, dtype=int32)


@onnx_operator("QLinearConv")
def quantized_conv(call: Call) -> Value:
    x = dequantized(call, call[0], call[1], call[2], 1)
    w = dequantized(call, call[3], call[4], call[5], 0)
    bias = None
    if call.has(8):
        unit = ops.reshape(call[1], shape=()) * call[4]
        bias = ops.cast(call[8], dtype=float32) * unit
    y = convolved(call, x, w, bias)
    return quantized(y, ops.reshape(call[6], shape=()), call[7], call[7].dtype)
