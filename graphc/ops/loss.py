"""Losses and penalties.

`reduction` says what becomes of the losses of the single elements or samples: their "mean" (the default),
their "sum", or "none" to keep them.
Labels are whole numbers from 0 to C - 1; any other is an error when the graph runs.
"""

import numpy as np

from graphc.ir.dims import product
from graphc.ir.op import Kind, NoGradient, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.activation import softplus
from graphc.ops.creation import dim_size
from graphc.ops.elementwise import (
    cast,
    exp,
    greater,
    less,
    log,
    maximum,
    relu,
    sigmoid,
    stop_gradient,
    where,
    zeros_like,
)
from graphc.ops.indexing import check_positions, gather_elements, label_mask, one_hot
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.reduction import max_, spread, sum_
from graphc.ops.reference import log_of_one_plus
from graphc.ops.rules import same_float
from graphc.ops.statistics import divide, softmax

COMPOSITE = Kind.COMPOSITE
LABELS = NoGradient("labels are whole numbers")
REDUCTIONS = ("mean", "sum", "none")
every = {"reduction": "mean"}


def reduced_type(losses, reduction):
    if reduction not in REDUCTIONS:
        raise TypeRuleError(f'reduction is "mean", "sum" or "none", not {reduction!r}')
    return losses if reduction == "none" else losses.with_shape(())


def reduce(losses, reduction):
    if reduction == "none":
        return losses
    total = sum_(losses, axes=tuple(range(losses.type.rank)))
    return divide(total, product(losses.shape)) if reduction == "mean" else total


def reduced_loss(losses, reduction):
    if reduction == "none":
        return losses
    return losses.sum() / losses.size if reduction == "mean" else losses.sum()


def score_of_label(x, labels):
    """x[n, label] for each sample.  Raises IndexError for a label that is no class."""
    wrong = (labels < 0) | (labels >= x.shape[1])
    if wrong.any():
        raise IndexError(f"label {labels[wrong].flat[0]} is out of range for {x.shape[1]} classes")
    return np.take_along_axis(x, np.expand_dims(labels.astype(np.int64), 1), axis=1).squeeze(1)


def unreduce(ct, shape, reduction):
    """The cotangent of each single loss."""
    if reduction == "none":
        return ct
    return broadcast_to(divide(ct, product(shape)) if reduction == "mean" else ct, shape=shape)


def pair(x, target, *, reduction):
    return reduced_type(same_float(x, target), reduction)


def pairs(low, high):
    def draw():
        rng = np.random.default_rng(83)
        for shape in ((), (7,), (3, 17), (2, 1, 5)):
            for reduction in REDUCTIONS:
                x, target = rng.uniform(low, high, shape), rng.uniform(0.05, 0.95, shape)
                yield (np.asarray(x), np.asarray(target)), {"reduction": reduction}

    return draw


def labelled(x, labels, *, reduction, **_):
    """The type of a loss of scores x[N, C, ...] for int labels [N, ...]."""
    same_float(x)
    check_positions(labels)
    if x.rank < 2 or labels.shape != (x.shape[0], *x.shape[2:]):
        raise TypeRuleError("scores {0} must be [N, C, ...] and labels {1} [N, ...] of the same sizes")
    if x.shape[1] == 0:
        raise TypeRuleError("{0} has no classes")
    return reduced_type(x.with_shape(labels.shape), reduction)


def label_samples():
    rng = np.random.default_rng(89)
    for shape, dtype in (
        ((5, 3), "int64"),
        ((1, 10), "int32"),
        ((3, 1), "uint8"),
        ((2, 4, 3), "int64"),
        ((2, 3, 2, 2), "int32"),
    ):
        for reduction in REDUCTIONS:
            labels = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(dtype)
            yield (rng.normal(size=shape) * 2, labels), {"reduction": reduction}
    yield (np.zeros((0, 3)), np.zeros((0,), np.int64)), {"reduction": "sum"}


def picked(x, labels):
    """The score of each sample's label; a negative label is out of range, not counted from the end."""
    positions = labels if labels.dtype == int64 else cast(labels, dtype=int64)
    classes = x.shape[1]
    size = classes if isinstance(classes, int) else dim_size(dim=classes, dtype=int64)
    positions = where(less(positions, 0), positions - size, positions)
    one = (labels.shape[0], 1, *labels.shape[1:])
    return reshape(gather_elements(x, reshape(positions, shape=one), axis=1), shape=labels.shape)


@op(COMPOSITE, formula="y = Σ x²", symbol="Σ·²", derivative={0: "2{x}"}, onnx="ReduceSumSquare")
class sum_squares:
    """Sum of the squares of all elements, a number.  dy/dx = 2x."""

    def infer(x):
        return same_float(x).with_shape(())

    def samples():
        rng = np.random.default_rng(97)
        for shape in ((), (7,), (3, 17), (2, 1, 5), (0, 3)):
            yield (np.asarray(rng.normal(size=shape)),), {}

    def reference(x):
        return (x * x).sum()

    def body(x):
        return sum_(x * x, axes=tuple(range(x.type.rank)))

    def vjp(ct, x, y):
        return broadcast_to(ct * 2.0, shape=x.shape) * x


@op(COMPOSITE, formula="y = λ Σ w²", symbol="λ‖·‖²", derivative={0: "2λ{w}"})
class l2_penalty:
    """L2 regularisation of one or several weights: y = strength·Σ w², a number.  dy/dw = 2·strength·w."""

    def infer(*weights, strength):
        return same_float(*(w.with_shape(()) for w in weights))

    def samples():
        rng = np.random.default_rng(101)
        yield (rng.normal(size=(3, 4)),), {"strength": 0.1}
        yield (rng.normal(size=(3, 4)), rng.normal(size=(5,)), np.asarray(0.7)), {"strength": 1e-3}

    def reference(*weights, strength):
        total = (weights[0] * weights[0]).sum()
        for w in weights[1:]:
            total = total + (w * w).sum()
        return total * strength

    def body(*weights, strength):
        total = sum_squares(weights[0])
        for w in weights[1:]:
            total = total + sum_squares(w)
        return total * strength

    def vjp(ct, *operands, strength):
        *weights, _ = operands
        return tuple(broadcast_to(ct * (2.0 * strength), shape=w.shape) * w for w in weights)


@op(
    COMPOSITE,
    formula="y = mean (x − t)²",
    symbol="MSE",
    derivative={0: "2({x} − {target})/n", 1: "2({target} − {x})/n"},
)
class mse_loss:
    """Squared difference: (x - target)²."""

    defaults = every
    infer = pair
    samples = pairs(-2, 2)

    def reference(x, target, *, reduction):
        return reduced_loss((x - target) * (x - target), reduction)

    def body(x, target, *, reduction):
        difference = x - target
        return reduce(difference * difference, reduction)

    def vjp(ct, x, target, y, *, reduction):
        down = unreduce(ct * 2.0, x.shape, reduction) * (x - target)
        return down, -down


@op(
    COMPOSITE,
    formula="y = −t ln p − (1 − t) ln(1 − p)",
    symbol="BCE",
    derivative={0: "({p} − {target})/({p}(1 − {p}))"},
)
class binary_cross_entropy:
    """Binary cross-entropy of probabilities p in [0, 1] and targets t: -t·ln p - (1 - t)·ln(1 - p).

    Logarithms are taken as at least -100, and p(1 - p) in the gradient as at least 1e-12, as PyTorch does, so that a
    certain but wrong answer has a large, finite loss.  From scores, `binary_cross_entropy_with_logits` is exact.
    """

    defaults = every
    infer = pair
    samples = pairs(0.05, 0.95)

    def reference(p, target, *, reduction):
        yes, no = np.maximum(np.log(p), -100), np.maximum(np.log(1.0 - p), -100)
        return reduced_loss(-(target * yes + (1.0 - target) * no), reduction)

    def body(p, target, *, reduction):
        yes, no = maximum(log(p), -100.0), maximum(log(1.0 - p), -100.0)
        return reduce(-(target * yes + (1.0 - target) * no), reduction)

    def vjp(ct, p, target, y, *, reduction):
        down = unreduce(ct, p.shape, reduction)
        yes, no = maximum(log(p), -100.0), maximum(log(1.0 - p), -100.0)
        return down * (p - target) / maximum(p * (1.0 - p), 1e-12), down * (no - yes)


@op(
    COMPOSITE, formula="y = ln(1 + e^x) − t·x", symbol="BCE σ", derivative={0: "σ({x}) − {target}", 1: "−{x}"}
)
class binary_cross_entropy_with_logits:
    """Binary cross-entropy of scores x and targets t in [0, 1]: ln(1 + e^x) - t·x; dy/dx = σ(x) - t."""

    defaults = every
    infer = pair
    samples = pairs(-3, 3)

    def reference(x, target, *, reduction):
        softplus = np.maximum(x, 0) + log_of_one_plus(np.exp(-np.abs(x)))
        return reduced_loss(softplus - target * x, reduction)

    def body(x, target, *, reduction):
        return reduce(softplus(x) - target * x, reduction)

    def vjp(ct, x, target, y, *, reduction):
        down = unreduce(ct, x.shape, reduction)
        return down * (sigmoid(x) - target), -(down * x)


@op(COMPOSITE, formula="y = −ln softmax(x)[label]", symbol="CE", derivative={0: "softmax({x}) − [{labels}]"})
class cross_entropy:
    """Cross-entropy of scores and class labels: ln Σ_c e^x_c - x_label; dy/dx = softmax(x) - one_hot(label).

    x[N, C, ...], int labels[N, ...] -> a number, or [N, ...] with reduction="none".
    """

    defaults = every
    infer = labelled
    samples = label_samples

    def reference(x, labels, *, reduction):
        largest = x.max(axis=1)
        total = np.exp(x - np.expand_dims(largest, 1)).sum(axis=1)
        return reduced_loss(np.log(total) - (score_of_label(x, labels) - largest), reduction)

    def body(x, labels, *, reduction):
        largest = stop_gradient(max_(x, axes=(1,)))
        total = sum_(exp(x - spread(largest, x, (1,))), axes=(1,))
        return reduce(log(total) - (picked(x, labels) - largest), reduction)

    def vjp(ct, x, labels, y, *, reduction):
        down = spread(unreduce(ct, labels.shape, reduction), x, (1,))
        return down * (
            softmax(x, axis=1) - one_hot(labels, classes=x.shape[1], dtype=x.dtype, axis=1)
        ), LABELS


@op(COMPOSITE, formula="y = −x[label]", symbol="NLL", derivative={0: "−[{labels}]"})
class nll_loss:
    """Negative log-likelihood: minus the log-probability of each label.

    x[N, C, ...] log-probabilities, int labels[N, ...] -> a number, or [N, ...] with reduction="none".
    """

    defaults = every
    infer = labelled
    samples = label_samples

    def reference(x, labels, *, reduction):
        return reduced_loss(-score_of_label(x, labels), reduction)

    def body(x, labels, *, reduction):
        return reduce(-picked(x, labels), reduction)

    def vjp(ct, x, labels, y, *, reduction):
        down = spread(-unreduce(ct, labels.shape, reduction), x, (1,))
        return down * one_hot(labels, classes=x.shape[1], dtype=x.dtype, axis=1), LABELS


@op(COMPOSITE, formula="y = max(0, 1 − t·x)", symbol="hinge", derivative={0: "−{target}[{target}·{x} < 1]"})
class hinge_loss:
    """Hinge loss of scores x for targets t of -1 or 1: max(0, 1 - t·x)."""

    defaults = every
    kinks = "t·x = 1: the derivative is 0"
    infer = pair

    def samples():
        for (x, target), attributes in pairs(-3, 3)():
            yield (x, np.where(target < 0.5, -1.0, 1.0)), attributes

    def reference(x, target, *, reduction):
        return reduced_loss(np.maximum(1.0 - target * x, 0), reduction)

    def body(x, target, *, reduction):
        return reduce(relu(1.0 - target * x), reduction)

    def vjp(ct, x, target, y, *, reduction):
        down = unreduce(ct, x.shape, reduction)
        inside = where(less(target * x, 1.0), -down, zeros_like(down))
        return inside * target, inside * x


@op(
    COMPOSITE,
    formula="y = Σ max(0, x_j − x[label] + Δ)",
    symbol="SVM",
    derivative={0: "[inside] or −Σ[inside]"},
)
class multiclass_hinge_loss:
    """Support vector machine loss: Σ over j other than the label of max(0, x_j - x_label + margin).

    x[N, C, ...], int labels[N, ...] -> a number, or [N, ...] with reduction="none".
    Weston and Watkins, Support vector machines for multi-class pattern recognition, 1999.
    """

    defaults = {**every, "margin": 1.0}
    kinks = "x_j - x_label + margin = 0: the derivative is 0"

    def infer(x, labels, *, reduction, margin):
        return labelled(x, labels, reduction=reduction)

    def samples():
        for arrays, attributes in label_samples():
            yield arrays, {**attributes, "margin": 1.0}

    def reference(x, labels, *, reduction, margin):
        above = np.maximum(x - np.expand_dims(score_of_label(x, labels), 1) + margin, 0)
        classes = np.arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))
        above = np.where(np.expand_dims(labels, 1) == classes, 0.0, above)
        return reduced_loss(above.sum(axis=1), reduction)

    def body(x, labels, *, reduction, margin):
        above = x - spread(picked(x, labels), x, (1,)) + margin
        others = where(label_mask(labels, x.shape, 1), zeros_like(x), relu(above))
        return reduce(sum_(others, axes=(1,)), reduction)

    def vjp(ct, x, labels, y, *, reduction, margin):
        down = spread(unreduce(ct, labels.shape, reduction), x, (1,))
        mask = label_mask(labels, x.shape, 1)
        score = sum_(where(mask, x, zeros_like(x)), axes=(1,))
        inside = greater(x - spread(score, x, (1,)) + margin, 0.0)
        share = where(mask, zeros_like(down), where(inside, down, zeros_like(down)))
        return where(mask, -spread(sum_(share, axes=(1,)), x, (1,)), share), LABELS
