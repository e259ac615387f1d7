"""Convolution and its two derivatives.

Σ c·conv(x, w) is linear in each of x, w and c.  The three ops here are its partial derivatives by c, x and w, so
that the gradient of each is made of the other two, at any order.

    x[N, C, *S]   w[O, C/groups, *K]   y, c[N, O, *T]   with 1 to 3 spatial axes
    T = (S + before + after - dilation·(K - 1) - 1) // stride + 1

As everywhere in this field, "convolution" is the cross-correlation: the kernel is not flipped.
"""

import numpy as np

from graphc.ir.dims import exact_divide, product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ops.rules import same_float
from graphc.ops.windows import add_windows, check_windows, window_counts, windows

CONVOLUTION = Kind.CONVOLUTION


def floats(*types):
    same_float(*(t.with_shape(()) for t in types))
    for position, t in enumerate(types):
        if t.rank != types[0].rank:
            raise TypeRuleError(
                f"{{0}} has {types[0].rank} dimensions and {{{position}}} has {t.rank}; they must agree"
            )


def channels_per_group(channels, groups, position):
    if not (isinstance(groups, int) and groups >= 1):
        raise TypeRuleError(f"groups {groups} must be a whole number >= 1")
    share = exact_divide(channels, groups)
    if share is None:
        raise TypeRuleError(f"the {channels} channels of {{{position}}} do not divide into {groups} groups")
    return share


def check_counts(c, sizes, kernel, strides, padding, dilation):
    counts = window_counts(sizes, kernel, strides, padding, dilation)
    if c.shape[2:] != counts:
        raise TypeRuleError(
            f"{{0}} has spatial sizes {list(c.shape[2:])}, the convolution gives {list(counts)}"
        )


def cases():
    """(N, C, S, O, K, strides, padding, dilation, groups), sizes that do not divide and paddings that differ."""
    yield 2, 3, (7,), 4, (3,), (1,), ((1, 1),), (1,), 1
    yield 1, 1, (5, 5), 1, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1
    yield (
        2,
        3,
        (7, 6),
        5,
        (3, 2),
        (2, 3),
        ((1, 0), (2, 1)),
        (1, 1),
        1,
    )  # stride does not divide, one-sided padding
    yield 2, 4, (5, 5), 6, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1  # 1x1
    yield 1, 4, (9, 8), 6, (3, 3), (1, 2), ((2, 2), (1, 3)), (2, 1), 2  # dilation, groups
    yield 2, 3, (6, 5), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3  # depthwise
    yield 1, 2, (5, 4), 6, (2, 2), (2, 2), ((0, 1), (1, 0)), (1, 1), 2  # depthwise, 3 outputs a channel
    yield 1, 2, (11,), 3, (3,), (1,), ((4, 0),), (2,), 1  # causal
    yield 1, 2, (4, 3, 5), 3, (2, 3, 2), (1, 1, 2), ((0, 1), (1, 1), (0, 0)), (1, 1, 1), 1
    yield 0, 3, (5, 5), 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1  # empty batch
    yield 1, 1, (2, 2), 1, (3, 3), (3, 3), ((2, 2), (2, 2)), (1, 1), 1  # more padding than image


def draw():
    rng = np.random.default_rng(17)
    for n, c, s, o, k, strides, padding, dilation, groups in cases():
        t = window_counts(s, k, strides, padding, dilation)
        x, w, y = (
            rng.normal(size=(n, c, *s)),
            rng.normal(size=(o, c // groups, *k)),
            rng.normal(size=(n, o, *t)),
        )
        yield x, w, y, {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}


def conv_flops(x, w, **attributes):
    return conv.infer(x, w, **attributes).size * product(w.shape[1:]) * 2


def conv_dx_flops(c, w, **attributes):
    return c.size * product(w.shape[1:]) * 2


def conv_dw_flops(x, c, *, kernel, groups, **attributes):
    return c.size * (exact_divide(x.shape[1], groups) * product(kernel)) * 2


@op(
    CONVOLUTION,
    formula="y = x ∗ w",
    symbol="∗",
    derivative={0: "∗ᵀ {w}", 1: "∗ᵀ {x}"},
    onnx="Conv",
    flops=conv_flops,
)
class conv:
    """Convolution: y[n,o,t] = Σ_c,k w[o,c,k]·x[n, c, t·stride + k·dilation - before], zeros outside of x.

    x[N, C, *S], w[O, C/groups, *K] -> y[N, O, *T]; output channel o reads the C/groups input channels of its group.
    `padding` is a pair (before, after) for each spatial axis.
    """

    def infer(x, w, *, strides, padding, dilation, groups):
        floats(x, w)
        check_windows(x.rank - 2, w.shape[2:], strides, padding, dilation)
        share = channels_per_group(x.shape[1], groups, 0)
        channels_per_group(w.shape[0], groups, 1)
        if w.shape[1] != share:
            raise TypeRuleError(
                f"{{0}} has {x.shape[1]} channels"
                + (f" in {groups} groups of {share}" if groups != 1 else "")
                + f", the kernel {{1}} reads {w.shape[1]}"
            )
        return x.with_shape(
            (x.shape[0], w.shape[0], *window_counts(x.shape[2:], w.shape[2:], strides, padding, dilation))
        )

    def samples():
        for x, w, _, attributes in draw():
            yield (x, w), attributes

    def reference(x, w, *, strides, padding, dilation, groups):
        view = windows(x, w.shape[2:], strides, padding, dilation)
        axes = (1, *range(x.ndim, view.ndim)), tuple(range(1, w.ndim))
        parts = [
            np.tensordot(part, kernels, axes=axes)
            for part, kernels in zip(np.split(view, groups, axis=1), np.split(w, groups))
        ]
        return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)

    def vjp(ct, x, w, y, **attributes):
        return conv_dx(ct, w, size=x.shape[2:], **attributes), conv_dw(
            x, ct, kernel=w.shape[2:], **attributes
        )


@op(CONVOLUTION, formula="x = c ∗ᵀ w", symbol="∗ᵀ", derivative={0: "∗ {w}", 1: "∗ᵀ {c}"}, flops=conv_dx_flops)
class conv_dx:
    """Derivative of convolution by its input, the transposed convolution.

    c[N, O, *T], w[O, C/groups, *K] -> x[N, C, *size]: x[n, c, t·stride + k·dilation - before] += w[o,c,k]·c[n,o,t].
    `size` are the spatial sizes of x, which a stride leaves open.
    """

    def infer(c, w, *, size, strides, padding, dilation, groups):
        floats(c, w)
        check_windows(c.rank - 2, w.shape[2:], strides, padding, dilation)
        channels_per_group(c.shape[1], groups, 0)
        if c.shape[1] != w.shape[0]:
            raise TypeRuleError(f"{{0}} has {c.shape[1]} channels, the kernel {{1}} gives {w.shape[0]}")
        if len(size) != c.rank - 2:
            raise TypeRuleError(f"size {list(size)} does not fit {{0}} of {c.rank - 2} spatial dimensions")
        check_counts(c, size, w.shape[2:], strides, padding, dilation)
        return c.with_shape((c.shape[0], w.shape[1] * groups, *size))

    def samples():
        for x, w, c, attributes in draw():
            yield (c, w), {"size": x.shape[2:], **attributes}

    def reference(c, w, *, size, strides, padding, dilation, groups):
        parts = [
            np.tensordot(part, kernels, axes=(1, 0))
            for part, kernels in zip(np.split(c, groups, axis=1), np.split(w, groups))
        ]
        view = np.moveaxis(np.concatenate(parts, axis=c.ndim - 1), c.ndim - 1, 1)
        return add_windows(view, size, strides, padding, dilation)

    def vjp(ct, c, w, x, *, size, **attributes):
        return conv(ct, w, **attributes), conv_dw(ct, c, kernel=w.shape[2:], **attributes)


@op(CONVOLUTION, formula="w = x ∗ᵀ c", symbol="∗ᵀ", derivative={0: "∗ᵀ {c}", 1: "∗ {x}"}, flops=conv_dw_flops)
class conv_dw:
    """Derivative of convolution by its kernel.

    x[N, C, *S], c[N, O, *T] -> w[O, C/groups, *kernel]: w[o,c,k] = Σ_n,t c[n,o,t]·x[n, c, t·stride +
    k·dilation - before].
    """

    def infer(x, c, *, kernel, strides, padding, dilation, groups):
        floats(x, c)
        check_windows(x.rank - 2, kernel, strides, padding, dilation)
        share = channels_per_group(x.shape[1], groups, 0)
        channels_per_group(c.shape[1], groups, 1)
        if x.shape[0] != c.shape[0]:
            raise TypeRuleError(f"batch sizes differ: {x.shape[0]} ({{0}}) and {c.shape[0]} ({{1}})")
        counts = window_counts(x.shape[2:], kernel, strides, padding, dilation)
        if c.shape[2:] != counts:
            raise TypeRuleError(
                f"{{1}} has spatial sizes {list(c.shape[2:])}, the convolution gives {list(counts)}"
            )
        return x.with_shape((c.shape[1], share, *kernel))

    def samples():
        for x, w, c, attributes in draw():
            yield (x, c), {"kernel": w.shape[2:], **attributes}

    def reference(x, c, *, kernel, strides, padding, dilation, groups):
        view = windows(x, kernel, strides, padding, dilation)
        places = (0, *range(2, x.ndim))
        parts = [
            np.tensordot(cotangents, part, axes=(places, places))
            for cotangents, part in zip(np.split(c, groups, axis=1), np.split(view, groups, axis=1))
        ]
        return np.concatenate(parts)

    def vjp(ct, x, c, w, *, kernel, **attributes):
        return conv_dx(c, ct, size=x.shape[2:], **attributes), conv(x, ct, **attributes)
