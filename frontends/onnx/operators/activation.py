"""Activation functions."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import product
from graphc.ir.graph import Value
from graphc.ir.types import float64

SIMPLE = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus"}


@onnx_operator(*SIMPLE)
def simple(call: Call) -> Value:
    return getattr(ops, SIMPLE[call.name])(call[0])


@onnx_operator("LeakyRelu")
def leaky_relu(call: Call) -> Value:
    return ops.leaky_relu(call[0], slope=call.attribute("alpha"))


@onnx_operator("Elu")
def elu(call: Call) -> Value:
    return ops.elu(call[0], alpha=call.attribute("alpha"))


@onnx_operator("Selu")
def selu(call: Call) -> Value:
    return ops.elu(call[0], alpha=call.attribute("alpha")) * call.attribute("gamma")


@onnx_operator("Celu")
def celu(call: Call) -> Value:
    x, alpha = call[0], call.attribute("alpha")
    return ops.maximum(x, 0.0) + ops.minimum(ops.expm1(x / alpha) * alpha, 0.0)


@onnx_operator("ThresholdedRelu")
def thresholded_relu(call: Call) -> Value:
    x = call[0]
    return ops.where(ops.greater(x, call.attribute("alpha")), x, 0.0)


@onnx_operator("Shrink")
def shrink(call: Call) -> Value:
    """Nothing within ±lambd; beyond it, x moved by the bias towards 0."""
    x, bound, bias = call[0], call.attribute("lambd"), call.attribute("bias")
    wide = x if x.dtype.is_float else ops.cast(x, dtype=float64)
    low, high = (
        ops.where(ops.less(wide, -bound), wide + bias, 0.0),
        ops.where(ops.greater(wide, bound), wide - bias, 0.0),
    )
    y = low + high
    return y if y.dtype == x.dtype else ops.cast(y, dtype=x.dtype)


@onnx_operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Value:
    return clamped(call[0] * call.attribute("alpha") + call.attribute("beta"))


@onnx_operator("HardSwish")
def hard_swish(call: Call) -> Value:
    return call[0] * clamped(call[0] * (1 / 6) + 0.5)


def clamped(x: Value) -> Value:
    return ops.minimum(ops.maximum(x, 0.0), 1.0)


@onnx_operator("Softsign")
def softsign(call: Call) -> Value:
    return call[0] / (ops.abs(call[0]) + 1.0)


@onnx_operator("Mish")
def mish(call: Call) -> Value:
    return call[0] * ops.tanh(ops.softplus(call[0]))


@onnx_operator("Swish")
def swish(call: Call) -> Value:
    x, alpha = call[0], call.attribute("alpha", 1.0)
    return ops.silu(x) if alpha == 1 else x * ops.sigmoid(x * alpha)


@onnx_operator("Gelu")
def gelu(call: Call) -> Value:
    approximate = call.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise OnnxError(f"Gelu has no approximation {approximate!r}")
    return ops.gelu(call[0], approximate=approximate)


@onnx_operator("PRelu")
def prelu(call: Call) -> Value:
    x, slope = call[0], call[1]
    if call.version < 7 and slope.type.rank == 1 and x.type.rank > 1 and slope.shape[0] == x.shape[1]:
        slope = ops.reshape(slope, shape=(*slope.shape, *(1,) * (x.type.rank - 2)))
    return ops.where(ops.less(x, 0), x * slope, x)


@onnx_operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(call: Call) -> Value:
    """Along one axis; before opset 13 over all axes from that one on, taken as one."""
    x = call[0]
    axis = call.axis(x.type.rank, default=-1 if call.version >= 13 else 1) if x.type.rank else 0
    shape = x.shape
    if call.version < 13:
        x = ops.reshape(x, shape=(product(shape[:axis]), product(shape[axis:])))
        axis = 1
    if call.name == "Hardmax":
        best = ops.argmax(x, axis=axis)
        y = ops.one_hot(best, classes=x.shape[axis], dtype=x.dtype, axis=axis)
    else:
        y = (ops.softmax if call.name == "Softmax" else ops.log_softmax)(x, axis=axis)
    return y if y.shape == shape else ops.reshape(y, shape=shape)
