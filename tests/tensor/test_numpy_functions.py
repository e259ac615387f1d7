"""NumPy's functions of elements and along axes equal NumPy's own, in value and dtype, traced and at a prompt."""

import inspect

import numpy as np
import pytest

import graphc
from graphc.interpret import interpret

rng = np.random.default_rng(8)
X, Y = rng.uniform(-3, 3, (2, 5)), rng.uniform(0.3, 2, (2, 5)) * rng.choice([-1, 1], (2, 5))
I, J = rng.integers(-9, 9, (2, 5)), rng.integers(1, 4, (2, 5))

CASES = {
    "floor": (lambda x: np.floor(x) + np.ceil(x * 2) - np.rint(x * 3) + np.trunc(x), X),
    "of whole numbers": (lambda i: np.floor(i) + np.trunc(i) - np.ceil(i), I),
    "//": (lambda x, y: x // y + 2.0 // y + x // 2, X, Y),
    "%": (lambda x, y: x % y + 2.0 % y + x % 2, X, Y),
    "// of whole numbers": (lambda i, j: i // j + i // -2 + 7 // j, I, J),
    "% of whole numbers": (lambda i, j: i % j + i % -3 + 7 % j, I, J),
    "divmod": (lambda x, y: sum(divmod(x, y)) + sum(np.divmod(x, 2.0)) + sum(divmod(5.0, y)), X, Y),
    "fmod": (lambda x, y: np.fmod(x, y) + np.remainder(x, y), X, Y),
    "angles": (lambda x: np.arctan(x) + np.arctan2(x, 2.0) + np.arcsin(x / 4) - np.arccos(x / 4) + np.tan(x), X),
    "hyperbolic": (lambda x: np.sinh(x) + np.cosh(x) + np.arcsinh(x) + np.arctanh(x / 4) + np.arccosh(x + 5), X),
    "powers of 2": (lambda x: np.exp2(x) + np.log2(np.abs(x)) + np.log10(np.abs(x)), X),
    "angles of whole numbers": (lambda i: np.arctan(i) + np.sinh(i), I),
    "bits": (lambda i, j: (i & j) + (i | 6) - (i ^ j) + ~i + (i << 2) + (j >> 1) + np.left_shift(i, j), I, J),
    "booleans": (lambda x, y: (x > 0) & (y > 0) | ~(x > 1) ^ (y < 1), X, Y),
    "xor of booleans": (lambda x, y: np.logical_xor(x > 0, y > 0), X, Y),
    "tests": (lambda x, y: np.isnan(x / 0 * y) | np.isinf(x) & np.isfinite(y), X * [np.inf, 0, 1, 1, 1], Y),
    "tests of whole numbers": (lambda i: np.isfinite(i) & ~np.isnan(i) & ~np.isinf(i), I),
    "in place": (lambda x, y: _in_place(x * 1, y), X, Y),
}  # fmt: skip


def _in_place(x, y):
    x //= y
    x %= 3
    return x


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_equal_to_numpy(case):
    function, *arrays = CASES[case]
    wanted = function(*arrays)
    names = inspect.signature(function).parameters
    graph = graphc.trace(function, **{n: f"{a.dtype}[2,N]" for n, a in zip(names, arrays)})
    for found in (interpret(graph, arrays)[0], function(*map(graphc.tensor, arrays)).numpy()):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)


ALONG = {
    "prod": lambda x: np.prod(x, axis=1) + x.prod() + np.multiply.reduce(x, axis=1),
    "running": lambda x: np.cumsum(x, axis=0) + np.cumprod(x, 1) + np.cumsum(x).reshape(x.shape),
    "sorting": lambda x: np.sort(x, axis=0) + np.sort(x) * np.argsort(x, axis=-1) + np.sort(x, None).reshape(x.shape),
    "triangles": lambda x: np.tril(x) - np.triu(x, 1) + np.tril(x, -1),
    "roll": lambda x: np.roll(x, 2, 1) + np.roll(x, -1) + np.roll(x, (1, 3), (0, 1)),
    "pad": lambda x: np.pad(x, ((0, 0), (2, 1)), mode="reflect") + np.pad(x, ((0, 0), (1, 2)), mode="wrap")
    + np.pad(x, ((0, 0), (3, 0)), mode="edge") + np.pad(x, ((0, 0), (0, 3)), mode="symmetric"),
    "einsum of one": lambda x: np.einsum("ij->ji", x).T + np.einsum("ij->i", x)[:, None] + np.einsum("ij->", x),
    "diagonal": lambda x: np.einsum("ii", x[:, :2]) + np.einsum("ii->i", x[:, 1:3]).sum(),
    "einsum of three": lambda x: np.einsum("ij,kj,kl->il", x, x, x),
    "einsum with dots": lambda x: np.einsum("...j,kj->...k", x[None], x) + np.einsum("i...,i...->...", x, x)[:2],
    "einsum alone": lambda x: np.einsum("ij,kj", x, x) + np.einsum("ij,jk", x, x.T),
}  # fmt: skip


@pytest.mark.parametrize("case", ALONG)
def test_along_axes(case):
    function = ALONG[case]
    wanted = function(X)
    graph = graphc.trace(function, x="float64[2,5]")
    for found in (interpret(graph, [X])[0], function(graphc.tensor(X)).numpy()):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)


def test_running_sums_and_products_of_whole_numbers_are_wide():
    small = np.array([[100, 100], [100, 3]], np.int8)
    function = lambda i: np.cumsum(i, 1) + np.cumprod(i, 0) + i.prod() + np.sort(i)
    found = interpret(graphc.trace(function, i="int8[2,2]"), [small])[0]
    np.testing.assert_array_equal(found, function(small))
    assert found.dtype == np.int64
