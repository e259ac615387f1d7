"""Normalisation, and dropout.

Per-channel operands of batch normalisation have one element for each index of axis 1.
"""

import math

import numpy as np

from graphc.ir.dims import product
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import float32
from graphc.ops.elementwise import greater_equal, sqrt, stop_gradient, where, zeros_like
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.random import check_draw, uniform, uniform_numbers
from graphc.ops.reduction import spread, sum_
from graphc.ops.rules import same_float
from graphc.ops.statistics import count_of, divide, mean, variance

COMPOSITE = Kind.COMPOSITE
RUNNING = NoGradient("running statistics are kept, not trained")


def per_channel(v, x):
    """A value per channel, spread over x[N, C, ...]."""
    return broadcast_to(reshape(v, shape=(*v.shape, *(1,) * (x.type.rank - 2))), shape=x.shape)


def batch_axes(x):
    return (0, *range(2, x.type.rank))


def check_channels(x, *others):
    same_float(x, *(other.with_shape(x.shape) for other in others))
    if x.rank < 2:
        raise TypeRuleError(f"{{0}} needs a batch and a channel dimension, it is {x}")
    for position, other in enumerate(others, 1):
        if other.shape != (x.shape[1],):
            raise TypeRuleError(
                f"{{{position}}} must have one element for each of the {x.shape[1]} channels of {{0}}, it is {other}"
            )
    return x


def channel_samples(rng, smallest=0):
    for shape in ((4, 3), (2, 5, 7), (3, 2, 4, 5), (2, 1, 3, 2, 2), (1, 4, 3), (0, 3, 2)):
        if product((shape[0], *shape[2:])) >= smallest:
            c = shape[1]
            scale, shift, running = rng.normal(size=c), rng.normal(size=c), rng.normal(size=c)
            yield rng.normal(size=shape) * 2 + 1, scale, shift, running, rng.uniform(0.5, 2, c)


@op(
    COMPOSITE,
    formula="y = scale·(x − mean)/√(var + ε) + shift",
    symbol="BN",
    derivative={0: "scale/√(var + ε)", 1: "({x} − mean)/√(var + ε)", 2: "1"},
    onnx="BatchNormalization",
)
class batch_norm:
    """Batch normalisation with given statistics, as in inference: y = scale·(x - mean)/√(variance + epsilon) + shift.

    x[N, C, ...], the other four operands [C].
    """

    defaults = {"epsilon": 1e-5}

    def infer(x, scale, shift, mean, variance, *, epsilon):
        return check_channels(x, scale, shift, mean, variance)

    def samples():
        for arrays in channel_samples(np.random.default_rng(67)):
            yield arrays, {"epsilon": 1e-5}

    def reference(x, scale, shift, mean, variance, *, epsilon):
        each = (-1, *(1,) * (x.ndim - 2))  # one value per channel
        factor = scale / np.sqrt(variance + epsilon)
        return (x - mean.reshape(each)) * factor.reshape(each) + shift.reshape(each)

    def body(x, scale, shift, mean, variance, *, epsilon):
        factor = scale / sqrt(variance + epsilon)
        return (x - per_channel(mean, x)) * per_channel(factor, x) + per_channel(shift, x)


@op(
    COMPOSITE,
    formula="y = scale·(x − mean x)/√(var x + ε) + shift",
    symbol="BN",
    derivative={0: "scale/√(var + ε)·(1 − 1/n − x̂²/n)", 1: "x̂", 2: "1"},
)
class batch_norm_train:
    """Batch normalisation with the statistics of the batch, as in training; three outputs.

    x[N, C, ...], the other four operands [C] ->
    y                       scale·(x - m)/√(v + epsilon) + shift with mean m and variance v of each channel
    new running mean        (1 - momentum)·running mean + momentum·m
    new running variance    (1 - momentum)·running variance + momentum·v·n/(n - 1), the unbiased estimate
    No gradient flows through the running statistics.  Ioffe and Szegedy, Batch normalization, 2015.
    """

    defaults = {"epsilon": 1e-5, "momentum": 0.1}

    def infer(x, scale, shift, running_mean, running_variance, *, epsilon, momentum):
        check_channels(x, scale, shift, running_mean, running_variance)
        if count_of(x, (0, *range(2, x.rank))) == 1:
            raise TypeRuleError(
                "{0} has one element per channel: the variance of one number is unknown", "use a larger batch"
            )
        return x, running_mean, running_variance

    def samples():
        for arrays in channel_samples(np.random.default_rng(71), smallest=2):
            yield arrays, {"epsilon": 1e-5, "momentum": 0.1}

    def reference(x, scale, shift, running_mean, running_variance, *, epsilon, momentum):
        axes, each = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        count = x.size // x.shape[1]
        mean = x.sum(axis=axes) / count
        deviation = x - mean.reshape(each)
        squares = (deviation * deviation).sum(axis=axes)
        factor = scale / np.sqrt(squares / count + epsilon)
        y = deviation * factor.reshape(each) + shift.reshape(each)
        new_mean = running_mean * (1.0 - momentum) + mean * momentum
        new_variance = running_variance * (1.0 - momentum) + squares / (count - 1) * momentum
        return y, new_mean, new_variance

    def body(x, scale, shift, running_mean, running_variance, *, epsilon, momentum):
        axes = batch_axes(x)
        count = count_of(x, axes)
        m = mean(x, axes=axes)
        deviation = x - per_channel(m, x)
        squares = sum_(deviation * deviation, axes=axes)
        factor = scale / sqrt(divide(squares, count) + epsilon)
        y = deviation * per_channel(factor, x) + per_channel(shift, x)
        new_mean = running_mean * (1.0 - momentum) + m * momentum
        new_variance = running_variance * (1.0 - momentum) + divide(squares, count - 1) * momentum
        return y, stop_gradient(new_mean), stop_gradient(new_variance)

    def vjp(
        cts, x, scale, shift, running_mean, running_variance, y, new_mean, new_variance, *, epsilon, momentum
    ):
        ct, axes = cts[0], batch_axes(x)
        inverse = 1.0 / sqrt(variance(x, axes=axes) + epsilon)
        normal = (x - per_channel(mean(x, axes=axes), x)) * per_channel(inverse, x)
        d_shift, d_scale = sum_(ct, axes=axes), sum_(ct * normal, axes=axes)
        count = count_of(x, axes)
        rest = per_channel(divide(d_shift, count), x) + normal * per_channel(divide(d_scale, count), x)
        return (ct - rest) * per_channel(scale * inverse, x), d_scale, d_shift, RUNNING, RUNNING


@op(
    COMPOSITE,
    formula="y = scale·(x − mean x)/√(var x + ε) + shift",
    symbol="LN",
    derivative={0: "scale/√(var + ε)·(1 − 1/n − x̂²/n)", 1: "x̂", 2: "1"},
    onnx="LayerNormalization",
)
class layer_norm:
    """Normalisation of each sample over its axes from `axis` on: y = scale·(x - m)/√(v + epsilon) + shift.

    x[A..., B...] with B from `axis` on; scale[B...] and shift[B...] may be left out, from the right.
    Ba, Kiros and Hinton, Layer normalization, 2016.
    """

    defaults = {"epsilon": 1e-5}

    def infer(x, *affine, axis, epsilon):
        same_float(x, *(other.with_shape(x.shape) for other in affine))
        if not 0 <= axis < x.rank:
            raise TypeRuleError(f"axis {axis} does not fit {{0}} of {x.rank} dimensions")
        for position, other in enumerate(affine, 1):
            if other.shape != x.shape[axis:]:
                raise TypeRuleError(
                    f"{{{position}}} must have the sizes {list(x.shape[axis:])} of {{0}} from axis "
                    f"{axis}, it is {other}"
                )
        return x

    def samples():
        rng = np.random.default_rng(73)
        for shape, axis, operands in (
            ((3, 7), 1, 3),
            ((2, 3, 5), 2, 3),
            ((2, 3, 5), 1, 2),
            ((4, 6), 1, 1),
            ((5,), 0, 3),
            ((0, 3), 1, 3),
        ):
            affine = tuple(rng.normal(size=shape[axis:]) for _ in range(operands - 1))
            yield (rng.normal(size=shape) * 2 + 1, *affine), {"axis": axis, "epsilon": 1e-5}

    def reference(x, scale=None, shift=None, *, axis, epsilon):
        axes, count = tuple(range(axis, x.ndim)), math.prod(x.shape[axis:])
        deviation = x - x.sum(axis=axes, keepdims=True) / count
        variance = (deviation * deviation).sum(axis=axes, keepdims=True) / count
        y = deviation / np.sqrt(variance + epsilon)
        y = y if scale is None else y * scale
        return y if shift is None else y + shift

    def body(x, scale=None, shift=None, *, axis, epsilon):
        axes = tuple(range(axis, x.type.rank))
        deviation = x - spread(mean(x, axes=axes), x, axes)
        v = mean(deviation * deviation, axes=axes)
        y = deviation / spread(sqrt(v + epsilon), x, axes)
        y = y if scale is None else y * broadcast_to(scale, shape=x.shape)
        return y if shift is None else y + broadcast_to(shift, shape=x.shape)

    def vjp(ct, *operands, axis, epsilon):
        x, *affine, _ = operands
        axes, lead = tuple(range(axis, x.type.rank)), tuple(range(axis))
        inverse = spread(1.0 / sqrt(variance(x, axes=axes) + epsilon), x, axes)
        normal = (x - spread(mean(x, axes=axes), x, axes)) * inverse
        d_affine = [sum_(ct * normal, axes=lead), sum_(ct, axes=lead)][: len(affine)]
        inner = ct * broadcast_to(affine[0], shape=x.shape) if affine else ct
        rest = spread(mean(inner, axes=axes), x, axes) + normal * spread(
            mean(inner * normal, axes=axes), x, axes
        )
        return (inner - rest) * inverse, *d_affine


@op(COMPOSITE, formula="y = x·mask/(1 − p)", symbol="dropout", derivative={0: "mask/(1 − p)"}, onnx="Dropout")
class dropout:
    """Each element is 0 with probability p, else x/(1 - p).  The gradient passes the same mask.

    seed uint64[].  The mask is `uniform(seed, stream=stream) >= p` with float32 numbers: the same for every
    dtype and backend, another for each seed and each `stream`.  Srivastava, Hinton, Krizhevsky, Sutskever
    and Salakhutdinov, Dropout, 2014.
    """

    defaults = {"stream": 0}

    def infer(x, seed, *, p, stream):
        same_float(x)
        if not 0 <= p <= 1:
            raise TypeRuleError(f"the probability p = {p} must lie in [0, 1]")
        try:
            check_draw(seed, x.shape, stream)
        except TypeRuleError as error:
            raise TypeRuleError(error.message.replace("{0}", "{1}"), error.fix, error.kind) from None
        return x

    def samples():
        rng = np.random.default_rng(79)
        for shape, p, seed in (
            ((7,), 0.5, 0),
            ((3, 17), 0.1, 2**63 + 5),
            ((), 0.5, 1),
            ((4, 3), 0.0, 2),
            ((2, 3), 1.0, 3),
            ((0, 2), 0.5, 4),
        ):
            yield (np.asarray(rng.normal(size=shape)), np.asarray(seed, np.uint64)), {"p": p, "stream": 7}

    def reference(x, seed, *, p, stream):
        kept = uniform_numbers(seed, x.shape, stream, np.float32) >= p
        return np.where(kept, x * (1 / (1 - p) if p < 1 else 0.0), 0.0).astype(x.dtype)

    def body(x, seed, *, p, stream):
        if p == 1:
            return zeros_like(x)
        kept = greater_equal(uniform(seed, shape=x.shape, stream=stream, dtype=float32), p)
        return where(kept, x * (1 / (1 - p)), 0.0)

    def vjp(ct, x, seed, y, *, p, stream):
        return dropout(ct, seed, p=p, stream=stream), NoGradient("a seed has no gradient")
