"""Dimensions are integers under every binding: each operation is compared with Python's own arithmetic."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir.dims import (
    SymbolicDim,
    bounds,
    exact_divide,
    linear_in,
    parse_dim,
    product,
    substitute,
    symbol,
    symbols_of,
)

NAMES = ("A", "H", "N")
N, H = symbol("N"), symbol("H")


def leaves():
    return st.one_of(st.integers(-6, 9), st.sampled_from(NAMES).map(symbol))


def combine(children):
    return st.one_of(
        st.tuples(children, children).map(lambda p: p[0] + p[1]),
        st.tuples(children, children).map(lambda p: p[0] - p[1]),
        st.tuples(children, children).map(lambda p: p[0] * p[1]),
        st.tuples(children, st.integers(1, 7)).map(lambda p: p[0] // p[1]),
        st.tuples(children, st.integers(1, 7)).map(lambda p: p[0] % p[1]),
    )


dims = st.recursive(leaves(), combine, max_leaves=6)
bindings = st.fixed_dictionaries({name: st.integers(0, 40) for name in NAMES})


@settings(max_examples=300, deadline=None)
@given(dims, dims, st.integers(1, 9), bindings)
def test_arithmetic_is_that_of_integers(a, b, divisor, sizes):
    x, y = substitute(a, sizes), substitute(b, sizes)
    assert substitute(a + b, sizes) == x + y
    assert substitute(a - b, sizes) == x - y
    assert substitute(a * b, sizes) == x * y
    assert substitute(-a, sizes) == -x
    assert substitute(a // divisor, sizes) == x // divisor
    assert substitute(a % divisor, sizes) == x % divisor
    assert substitute(product([a, b, a]), sizes) == x * y * x


@settings(max_examples=300, deadline=None)
@given(dims, bindings)
def test_text_and_back(a, sizes):
    again = parse_dim(str(a)) if len(str(a)) <= 200 else a
    assert again == a and hash(again) == hash(a)
    assert eval(str(a), {}, dict(sizes)) == substitute(a, sizes)


@settings(max_examples=200, deadline=None)
@given(dims, dims)
def test_equal_dimensions_are_equal_objects(a, b):
    assert (a + b) * (a - b) == a * a - b * b
    assert a + b - a == b
    assert (a * b) - (b * a) == 0


@settings(max_examples=200, deadline=None)
@given(dims, dims, bindings)
def test_exact_division(a, b, sizes):
    quotient = exact_divide(a, b)
    if quotient is not None:
        assert quotient * b == a
    if b != 0 and exact_divide(a * b, b) is not None:
        assert exact_divide(a * b, b) == a


@settings(max_examples=200, deadline=None)
@given(dims, bindings, st.dictionaries(st.sampled_from(NAMES), dims))
def test_substitution_in_steps(a, sizes, first):
    direct = substitute(a, {**sizes, **{k: substitute(v, sizes) for k, v in first.items()}})
    assert substitute(substitute(a, first), sizes) == direct
    assert set(symbols_of(a)) <= set(NAMES)


@settings(max_examples=300, deadline=None)
@given(dims, bindings)
def test_bounds_hold(a, sizes):
    low, high = bounds(a, dict.fromkeys(NAMES, (0, 40)))
    assert low <= substitute(a, sizes) <= high
    low, high = bounds(a, dict.fromkeys(NAMES, (0, None)))
    assert low <= substitute(a, sizes) <= high


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (N * 3 - 1, "3*N - 1"),
        (3 * ((H + 1) // 2), "3*((H + 1)//2)"),
        (symbol("A") * (H // 2), "A*(H//2)"),
        ((H // 2) * (H // 2), "(H//2)**2"),
        ((H + 1) // 2, "(H + 1)//2"),
        ((2 * H + 4) // 2, "H + 2"),
        ((H + 5) // 2, "(H + 1)//2 + 2"),
        (N * N * H, "H*N**2"),
        (-N, "-N"),
        (2 - N, "-N + 2"),
        (N - N, "0"),
    ],
)
def test_text(dim, text):
    assert str(dim) == text
    assert parse_dim(text) == dim


@pytest.mark.parametrize(
    "text",
    ["", "1.5", "N N", "N/2", "4//N", "N//0", "f(N)", "N**9", "N**-1", "'N'", "True", "N if N else 1", "x" * 201, "[N]",
     "N//-2"],
)  # fmt: skip
def test_what_is_no_dimension(text):
    with pytest.raises(ValueError):
        parse_dim(text)


@pytest.mark.parametrize("name", ["1N", "", "N-1", "lambda", "None", "nan", "inf", "f32", "float32", "bool"])
def test_what_is_no_symbol(name):
    with pytest.raises(ValueError):
        symbol(name)


def test_linear():
    assert linear_in(3 * N + 2, "N") == (3, 2)
    assert linear_in(7, "N") == (0, 7)
    assert linear_in(N * N, "N") is None
    assert linear_in(N // 2, "N") is None


def test_a_dimension_is_true_and_hashable():
    assert bool(N) and isinstance(N + 1, SymbolicDim) and len({N, symbol("N"), N + 0}) == 1


@pytest.mark.parametrize("divisor", [0, -2, H])
def test_division_by_what_is_no_divisor(divisor):
    with pytest.raises(ValueError, match="cannot divide"):
        _ = N // divisor
