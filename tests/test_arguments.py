"""Python's numbers as arguments of compiled models: they take the dtype of a single number, as in NumPy."""

import numpy as np
import pytest

import graphc
from graphc.errors import DTypeError, GraphcError
from graphc.interpret import interpret


def scaled(x, a):
    return x * a


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_a_number_takes_the_dtype(backend):
    x = np.arange(3, dtype=np.float32)
    f = graphc.compile(scaled, {"x": "float32[N]", "a": "float32[]"}, backend=backend)
    for a in (2, 2.5, True, np.float32(2.5), float("inf"), float("nan")):
        y = f(x + 1, a)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, (x + 1) * np.float32(a))
    np.testing.assert_array_equal(f(x, a=3), x * 3)
    for wrong in (np.float64(2.5), 1e300, "2", None, 1j):
        with pytest.raises(DTypeError):
            f(x, wrong)
    with pytest.raises(GraphcError):
        f(2.0, 2.0)  # an array with an axis is asked for


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_whole_numbers(backend):
    f = graphc.compile(lambda i, b: np.where(b, i + 1, i), {"i": "int8[]", "b": "bool[]"}, backend=backend)
    assert f(41, True) == 42 and f(-128, False) == -128
    for wrong in ((128, True), (1.0, True), (1, 1)):
        with pytest.raises(DTypeError):
            f(*wrong)


def test_the_interpreter_takes_the_same():
    graph = graphc.trace(scaled, x="float32[2]", a="float32[]")
    assert interpret(graph, {"x": np.ones(2, np.float32), "a": 3})[0].tolist() == [3, 3]
