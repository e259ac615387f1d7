"""Convolution and pooling against plain loops over every output element, for windows of every shape."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphc.interpret import interpret
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.ir.types import TensorType, dtype_of
from tests.ops.sampling import build


def run(name, *arrays, **attributes):
    types = [TensorType(dtype_of(a), a.shape) for a in arrays]
    return interpret(build(REGISTRY[name], types, attributes), list(arrays))


def counts(size, k, s, low, high, d, ceil):
    """Windows by trying every start: all taps inside the padded input, or, with ceil, the first one inside."""
    starts = []
    for start in range(-low, size + high, s):
        last = start + d * (k - 1)
        reaches = last < size + high
        # With ceil a last window may hang over, if it starts in the input or the padding before it.
        hangs = ceil and start < size and (not starts or starts[-1] + d * (k - 1) < size + high - 1)
        if (reaches and (not ceil or start < size)) or (not reaches and hangs and starts):
            starts.append(start)
    return starts


def elements(x, starts, kernel, dilation):
    """For each window the list of (tap, flat position, value) of its taps inside the input."""
    sizes = x.shape
    for place in itertools.product(*(range(len(s)) for s in starts)):
        inside = []
        for tap in itertools.product(*(range(k) for k in kernel)):
            position = [starts[a][place[a]] + tap[a] * dilation[a] for a in range(len(sizes))]
            if all(0 <= p < n for p, n in zip(position, sizes)):
                flat = int(np.ravel_multi_index(position, sizes))
                inside.append((tap, flat, x[tuple(position)]))
        yield place, inside


@st.composite
def layouts(draw, ceil=False):
    rank = draw(st.integers(1, 3))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    sizes, kernel, strides, dilation = axes(1, 6), axes(1, 3), axes(1, 3), axes(1, 2)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(rank))
    for size, k, (low, high), d in zip(sizes, kernel, padding, dilation):
        assume(low + size + high >= d * (k - 1) + 1)
    ceil = ceil and draw(st.booleans())
    if ceil:  # the rule of PyTorch and ONNX drops one window at most
        assume(all(high <= d * (k - 1) for k, (_, high), d in zip(kernel, padding, dilation)))
    return sizes, kernel, strides, padding, dilation, ceil


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2), st.randoms())
def test_convolution_is_the_sum_over_its_taps(layout, groups, share, outputs, n, random):
    sizes, kernel, strides, padding, dilation, _ = layout
    rng = np.random.default_rng(random.randrange(2**32))
    x = rng.normal(size=(n, groups * share, *sizes))
    w = rng.normal(size=(groups * outputs, share, *kernel))
    (y,) = run("conv", x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
    starts = [counts(*row, False) for row in zip(sizes, kernel, strides, *zip(*padding), dilation)]
    expected = np.zeros((n, groups * outputs, *(len(s) for s in starts)))
    for sample, o, c in itertools.product(range(n), range(groups * outputs), range(share)):
        plane = x[sample, o // outputs * share + c]
        for place, inside in elements(plane, starts, kernel, dilation):
            expected[(sample, o, *place)] += sum(w[(o, c, *tap)] * value for tap, _, value in inside)
    terms = share * math.prod(kernel)
    assert y.shape == expected.shape
    bound = (terms + 2) * 2.3e-16 * terms * 16  # k·eps·Σ|x||w| with elements below 4 in size
    assert np.abs(y - expected).max(initial=0) <= bound


@settings(max_examples=60, deadline=None)
@given(layouts(), st.randoms())
def test_the_three_convolutions_are_one_trilinear_form(layout, random):
    """Σ c·conv(x, w) = Σ x·conv_dx(c, w) = Σ w·conv_dw(x, c)."""
    sizes, kernel, strides, padding, dilation, _ = layout
    rng = np.random.default_rng(random.randrange(2**32))
    attributes = {"strides": strides, "padding": padding, "dilation": dilation, "groups": 2}
    x, w = rng.normal(size=(2, 4, *sizes)), rng.normal(size=(6, 2, *kernel))
    (y,) = run("conv", x, w, **attributes)
    c = rng.normal(size=y.shape)
    (dx,) = run("conv_dx", c, w, size=sizes, **attributes)
    (dw,) = run("conv_dw", x, c, kernel=kernel, **attributes)
    form = (c * y).sum()
    bound = 1e-13 * (np.abs(c).sum() * np.abs(w).sum() * 4 + 1)
    assert abs((x * dx).sum() - form) <= bound and abs((w * dw).sum() - form) <= bound


@settings(max_examples=100, deadline=None)
@given(layouts(ceil=True), st.sampled_from(["distinct", "ties", "nan", "int"]), st.randoms())
def test_max_pooling_takes_the_first_largest_element(layout, content, random):
    sizes, kernel, strides, padding, dilation, ceil = layout
    rng = np.random.default_rng(random.randrange(2**32))
    x = (
        rng.normal(size=(1, 2, *sizes))
        if content == "distinct"
        else rng.integers(-2, 2, (1, 2, *sizes)) * 1.0
    )
    if content == "nan":
        x = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    if content == "int":
        x = x.astype(np.int32)
    attributes = {
        "kernel": kernel,
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "ceil": ceil,
    }
    starts = [counts(*row, ceil) for row in zip(sizes, kernel, strides, *zip(*padding), dilation)]
    planes = [list(elements(x[0, c], starts, kernel, dilation)) for c in range(2)]
    if any(not inside for plane in planes for _, inside in plane):
        with pytest.raises(TypeRuleError, match="a window lies in the padding"):
            run("max_pool", x, **attributes)
        return
    values, positions = run("max_pool", x, **attributes)
    assert values.shape == (1, 2, *(len(s) for s in starts))
    for c, plane in enumerate(planes):
        for place, inside in plane:
            best = inside[0]
            for element in inside[1:]:
                if element[2] > best[2] or (np.isnan(element[2]) and not np.isnan(best[2])):
                    best = element
            assert positions[(0, c, *place)] == best[1]
            np.testing.assert_array_equal(values[(0, c, *place)], best[2])


@settings(max_examples=100, deadline=None)
@given(layouts(ceil=True), st.booleans(), st.randoms())
def test_average_pooling_counts_what_it_should(layout, count_include_pad, random):
    sizes, kernel, strides, padding, _, ceil = layout
    ones = (1,) * len(sizes)
    rng = np.random.default_rng(random.randrange(2**32))
    x = rng.normal(size=(1, 1, *sizes))
    starts = [counts(*row, ceil) for row in zip(sizes, kernel, strides, *zip(*padding), ones)]
    assume(all(starts))
    attributes = {"kernel": kernel, "strides": strides, "padding": padding, "ceil": ceil}
    (y,) = run("avg_pool", x, count_include_pad=count_include_pad, **attributes)
    assert y.shape == (1, 1, *(len(s) for s in starts))
    for place, inside in elements(x[0, 0], starts, kernel, ones):
        ends = [
            min(starts[a][place[a]] + k, size + high) - starts[a][place[a]]
            for a, (k, size, (_, high)) in enumerate(zip(kernel, sizes, padding))
        ]
        number = math.prod(ends) if count_include_pad else len(inside)
        expected = sum(value for _, _, value in inside) / number if number else 0.0
        assert y[(0, 0, *place)] == pytest.approx(expected, rel=1e-12, abs=1e-12)


# The worked examples of the lectures.


def test_1d_and_2d_examples():
    x, w = np.array([[[1.0, 1, 1, 0, 0]]]), np.array([[[1.0, 0, 1]]])
    (y,) = run("conv", x, w, strides=(1,), padding=((0, 0),), dilation=(1,), groups=1)
    assert y.tolist() == [[[2, 1, 1]]]
    image = np.array([[1.0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
    kernel = np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    plain = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    (y,) = run("conv", image[None, None], kernel[None, None], **plain)
    assert y[0, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


@pytest.mark.parametrize(
    ("image", "kernel", "expected"),
    [
        ([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]], 2, [[6, 8], [3, 4]]),
        (
            [[1, 3, 2, 7, 2], [5, 1, 3, 0, 5], [4, 8, 5, 0, 6], [3, 2, 6, 0, 8], [0, 7, 4, 6, 9]],
            3,
            [[8, 7], [8, 9]],
        ),
    ],
)
def test_max_pooling_examples(image, kernel, expected):
    x = np.array(image, float)[None, None]
    attributes = {"strides": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "ceil": False}
    assert run("max_pool", x, kernel=(kernel, kernel), **attributes)[0][0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [(7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (7, 3, 3, 0, 2), (7, 3, 1, 1, 7), (32, 5, 1, 0, 28), (28, 5, 1, 0, 24)]
    + [(9, f, 1, p, 9) for f, p in ((3, 1), (5, 2), (7, 3))],
)
def test_output_sizes(size, kernel, stride, pad, expected):
    x, w = np.zeros((1, 1, size)), np.zeros((1, 1, kernel))
    (y,) = run("conv", x, w, strides=(stride,), padding=((pad, pad),), dilation=(1,), groups=1)
    assert y.shape == (1, 1, expected)


def test_a_convolution_is_one_matrix_product():
    """The 4x9 matrix of a 2x2 kernel on a 3x3 image."""
    rng = np.random.default_rng(0)
    image, (k1, k2, k3, k4) = rng.normal(size=(3, 3)), rng.normal(size=4)
    matrix = np.array(
        [
            [k1, k2, 0, k3, k4, 0, 0, 0, 0],
            [0, k1, k2, 0, k3, k4, 0, 0, 0],
            [0, 0, 0, k1, k2, 0, k3, k4, 0],
            [0, 0, 0, 0, k1, k2, 0, k3, k4],
        ]
    )
    plain = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    (y,) = run("conv", image[None, None], np.array([[[[k1, k2], [k3, k4]]]]), **plain)
    np.testing.assert_allclose(y.ravel(), matrix @ image.ravel(), rtol=1e-14)
