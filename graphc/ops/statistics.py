"""Mean and variance over axes, and exponentials normalised over an axis."""

import numpy as np

from graphc.ir.dims import product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ops.creation import dim_size
from graphc.ops.elementwise import exp, less, log, stop_gradient, where
from graphc.ops.reduction import max_, nonempty, reduced, spread, sum_
from graphc.ops.rules import same_float

COMPOSITE = Kind.COMPOSITE


def reduced_float(x, *, axes):
    same_float(x)
    return reduced(x, axes=axes)


def divide(x, count):
    """x / count for a dimension, fixed or symbolic."""
    return x / (float(count) if isinstance(count, int) else dim_size(dim=count, dtype=x.dtype))


def count_of(x, axes):
    return product(x.shape[axis] for axis in axes)


def axes_samples():
    rng = np.random.default_rng(59)
    for shape, axes in (
        ((7,), (0,)),
        ((3, 17), (1,)),
        ((3, 17), (0,)),
        ((2, 5, 4), (0, 2)),
        ((2, 3), (0, 1)),
        ((4, 3), ()),
        ((0, 3), (1,)),
    ):
        yield (rng.normal(size=shape),), {"axes": axes}


def axis_samples():
    rng = np.random.default_rng(61)
    for shape, axis in (((7,), 0), ((3, 17), 1), ((3, 17), 0), ((2, 5, 4), 1), ((1, 1), 1), ((0, 3), 1)):
        yield (rng.normal(size=shape) * 3,), {"axis": axis}


@op(COMPOSITE, formula="y = Σ x / n", symbol="mean", derivative={0: "1/n"}, onnx="ReduceMean")
class mean:
    """Mean over axes.  dy/dx = 1/n.  The mean of nothing is NaN."""

    infer = reduced_float
    samples = axes_samples

    def body(x, *, axes):
        return divide(sum_(x, axes=axes), count_of(x, axes))

    def vjp(ct, x, y, *, axes):
        return spread(divide(ct, count_of(x, axes)), x, axes)


@op(COMPOSITE, formula="y = Σ (x − mean)² / (n − c)", symbol="var", derivative={0: "2({x} − mean)/(n − c)"})
class variance:
    """Variance over axes: the squared deviations from the mean, divided by n - correction.

    The mean is subtracted first, so that a large offset costs no accuracy.  `correction` 0 is the variance
    of the numbers themselves, 1 the unbiased estimate for what they were drawn from.
    """

    defaults = {"correction": 0}

    def infer(x, *, axes, correction):
        if correction not in (0, 1):
            raise TypeRuleError(f"correction is 0 or 1, not {correction}")
        return reduced_float(x, axes=axes)

    def samples():
        for arrays, attributes in axes_samples():
            yield arrays, {**attributes, "correction": 0}
            if count_of(arrays[0], attributes["axes"]) > 1:
                yield arrays, {**attributes, "correction": 1}

    def body(x, *, axes, correction):
        deviation = x - spread(mean(x, axes=axes), x, axes)
        return divide(sum_(deviation * deviation, axes=axes), count_of(x, axes) - correction)

    def vjp(ct, x, y, *, axes, correction):
        deviation = x - spread(mean(x, axes=axes), x, axes)
        return spread(divide(ct * 2.0, count_of(x, axes) - correction), x, axes) * deviation


@op(COMPOSITE, formula="y = ln Σ e^x", symbol="lse", derivative={0: "e^({x} − {y})"}, onnx="ReduceLogSumExp")
class logsumexp:
    """Logarithm of the sum of exponentials over axes.  dy/dx = e^(x - y).

    The largest is taken out first, so nothing overflows.
    """

    def infer(x, *, axes):
        same_float(x)
        return nonempty(x, axes=axes)

    samples = axes_samples

    def reference(x, *, axes):
        largest = x.max(axis=axes, keepdims=True)
        largest = np.where(np.abs(largest) < np.inf, largest, 0.0)
        return np.log(np.exp(x - largest).sum(axis=axes)) + largest.squeeze(axes)

    def body(x, *, axes):
        largest = finite(stop_gradient(max_(x, axes=axes)))
        return log(sum_(exp(x - spread(largest, x, axes)), axes=axes)) + largest

    def vjp(ct, x, y, *, axes):
        return spread(ct, x, axes) * exp(x - spread(finite(y), x, axes))


def finite(x):
    """x, with 0 in place of infinities and NaN."""
    return where(less(abs(x), float("inf")), x, 0.0)


def along_axis(x, *, axis):
    """The type of a float tensor with at least one element along the axis."""
    same_float(x)
    if not 0 <= axis < x.rank:
        raise TypeRuleError(f"axis {axis} does not fit {{0}} of {x.rank} dimensions")
    nonempty(x, axes=(axis,))
    return x


@op(
    COMPOSITE,
    formula="y = e^x / Σ e^x",
    symbol="softmax",
    derivative={0: "{y}(1 − {y}), −{y}{y}′"},
    onnx="Softmax",
)
class softmax:
    """Exponentials divided by their sum along an axis: y_i = e^x_i / Σ_j e^x_j, ∂y_i/∂x_j = y_i·([i = j] - y_j).

    The largest is subtracted first, so nothing overflows.
    """

    infer = along_axis
    samples = axis_samples

    def reference(x, *, axis):
        shifted = np.exp(x - x.max(axis=axis, keepdims=True))
        return shifted / shifted.sum(axis=axis, keepdims=True)

    def body(x, *, axis):
        shifted = exp(x - spread(stop_gradient(max_(x, axes=(axis,))), x, (axis,)))
        return shifted / spread(sum_(shifted, axes=(axis,)), x, (axis,))

    def vjp(ct, x, y, *, axis):
        return (ct - spread(sum_(ct * y, axes=(axis,)), x, (axis,))) * y


@op(
    COMPOSITE,
    formula="y = x − ln Σ e^x",
    symbol="log softmax",
    derivative={0: "[i = j] − e^{y}"},
    onnx="LogSoftmax",
)
class log_softmax:
    """Logarithm of softmax along an axis, without ever taking the logarithm of 0: ∂y_i/∂x_j = [i = j] - e^y_j."""

    infer = along_axis
    samples = axis_samples

    def reference(x, *, axis):
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def body(x, *, axis):
        shifted = x - spread(stop_gradient(max_(x, axes=(axis,))), x, (axis,))
        return shifted - spread(log(sum_(exp(shifted), axes=(axis,))), x, (axis,))

    def vjp(ct, x, y, *, axis):
        return ct - exp(y) * spread(sum_(ct, axes=(axis,)), x, (axis,))
