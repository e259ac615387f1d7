"""Normalisation: batch, instance, layer, group, by norm, across channels."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call, normal_axis
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.dims import exact_divide
from graphc.ir.graph import Value
from graphc.ir.types import DType


@onnx_operator("BatchNormalization")
def batch_normalization(call: Call) -> list[Value]:
    x, scale, shift, mean, variance = (call[i] for i in range(5))
    epsilon, momentum = call.attribute("epsilon"), call.attribute("momentum", 0.9)
    training = bool(call.attribute("training_mode", 0))
    if call.version < 7 and not call.attribute("is_test", 0) and call.wants(1):
        raise call.unsupported("training")
    if not training:
        if x.dtype != scale.dtype or x.dtype != mean.dtype:
            scale, shift, mean, variance = (
                ops.cast(v, dtype=x.dtype) for v in (scale, shift, mean, variance)
            )
        return [ops.batch_norm(x, scale, shift, mean, variance, epsilon=epsilon)]
    axes = (0, *range(2, x.type.rank))
    m, v = ops.mean(x, axes=axes), ops.variance(x, axes=axes)
    y = ops.batch_norm(x, scale, shift, m, v, epsilon=epsilon)
    return [y, mean * momentum + m * (1 - momentum), variance * momentum + v * (1 - momentum)]


def per_channel(v: Value, x: Value) -> Value:
    return ops.reshape(v, shape=(*v.shape, *(1,) * (x.type.rank - 2)))


def standardized(x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value, Value]:
    """(x - mean)/√(variance + ε), with mean and 1/√(variance + ε) in the sizes of x with 1 along the axes."""
    keep = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    mean = ops.reshape(ops.mean(x, axes=axes), shape=keep)
    deviation = x - mean
    variance = ops.reshape(ops.mean(deviation * deviation, axes=axes), shape=keep)
    inverse = 1.0 / ops.sqrt(variance + epsilon)
    return deviation * inverse, mean, inverse


@onnx_operator("InstanceNormalization")
def instance_normalization(call: Call) -> Value:
    x = call[0]
    y, _, _ = standardized(x, tuple(range(2, x.type.rank)), call.attribute("epsilon"))
    return y * per_channel(call[1], x) + per_channel(call[2], x)


@onnx_operator("LayerNormalization")
def layer_normalization(call: Call) -> list[Value | None]:
    x = call[0]
    axis = normal_axis(call.attribute("axis", -1), x.type.rank, call.name)
    epsilon = call.attribute("epsilon")
    plain = call[1].shape == x.shape[axis:] and (not call.has(2) or call[2].shape == x.shape[axis:])
    if plain and not call.wants(1) and not call.wants(2) and x.dtype == call[1].dtype:
        operands = [x, call[1], *([call[2]] if call.has(2) else [])]
        return [ops.layer_norm(*operands, axis=axis, epsilon=epsilon)]
    stash = call.dtype("stash_type") if call.attribute("stash_type", 1) != 1 else None
    inner: DType = stash or x.dtype
    wide = x if x.dtype == inner else ops.cast(x, dtype=inner)
    y, mean, inverse = standardized(wide, tuple(range(axis, x.type.rank)), epsilon)
    y = (y if y.dtype == x.dtype else ops.cast(y, dtype=x.dtype)) * call[1]
    return [y + call[2] if call.has(2) else y, mean, inverse]


@onnx_operator("GroupNormalization")
def group_normalization(call: Call) -> Value:
    """Channels are taken in groups; from opset 21 on scale and shift are one for each channel."""
    x, groups = call[0], call.attribute("num_groups")
    share = exact_divide(x.shape[1], groups) if groups >= 1 else None
    if share is None:
        raise OnnxError(f"GroupNormalization: {x.shape[1]} channels do not make {groups} groups")
    split = ops.reshape(x, shape=(x.shape[0], groups, share, *x.shape[2:]))
    y, _, _ = standardized(split, tuple(range(2, split.type.rank)), call.attribute("epsilon"))
    if call.version >= 21:
        y = ops.reshape(y, shape=x.shape)
        return y * per_channel(call[1], x) + per_channel(call[2], x)
    y = y * per_channel(call[1], split) + per_channel(call[2], split)
    return ops.reshape(y, shape=x.shape)


@onnx_operator("LRN")
def local_response(call: Call) -> Value:
    """x / (bias + alpha/size · Σ x²)^beta, the sum over `size` neighbouring channels."""
    x, size = call[0], call.attribute("size")
    if size < 1 or x.type.rank < 2:
        raise OnnxError(f"LRN of {x.type} over {size} channels")
    low = (size - 1) // 2
    squares = x * x
    planes = (squares.shape[0], 1, squares.shape[1], *squares.shape[2:])
    rest = len(planes) - 3
    if rest > 1:  # all but the channels as one axis, so that there are two spatial axes
        from graphc.ir.dims import product

        planes = (planes[0], 1, planes[2], product(planes[3:]))
    elif rest == 0:
        planes = (*planes, 1)
    mean = ops.avg_pool(
        ops.reshape(squares, shape=planes),
        kernel=(size, 1),
        strides=(1, 1),
        padding=((low, size - 1 - low), (0, 0)),
        ceil=False,
        count_include_pad=True,
    )
    scale = ops.reshape(mean, shape=x.shape) * call.attribute("alpha") + call.attribute("bias")
    return x / ops.pow(scale, call.attribute("beta"))


@onnx_operator("LpNormalization")
def norm_normalization(call: Call) -> Value:
    x, p = call[0], call.attribute("p", 2)
    axis = call.axis(x.type.rank, default=-1)
    if p not in (1, 2):
        raise OnnxError(f"LpNormalization of order {p}; 1 and 2 are defined")
    keep = tuple(1 if i == axis else d for i, d in enumerate(x.shape))
    total = ops.sum(ops.abs(x) if p == 1 else x * x, axes=(axis,))
    norm = ops.reshape(total if p == 1 else ops.sqrt(total), shape=keep)
    return x / ops.where(ops.equal(norm, 0.0), 1.0, norm)


@onnx_operator("MeanVarianceNormalization")
def mean_variance(call: Call) -> Value:
    x = call[0]
    axes = tuple(sorted(normal_axis(a, x.type.rank, call.name) for a in call.attribute("axes", (0, 2, 3))))
    keep = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    deviation = x - ops.reshape(ops.mean(x, axes=axes), shape=keep)
    spread = ops.sqrt(ops.reshape(ops.mean(deviation * deviation, axes=axes), shape=keep))
    return deviation / (spread + 1e-9)
