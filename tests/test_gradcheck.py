"""The gradient check finds wrong gradients, and tells kinks from them."""

import dataclasses

import numpy as np
import pytest

from graphc import ops
from graphc.errors import UsageError
from graphc.gradcheck import Entry, GradientCheck, gradient_check, to_float64, verdict
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.op import REGISTRY
from graphc.ir.types import int32, parse_type
from graphc.ir.verifier import verify


def graph(body, **leaves):
    with Builder("g") as builder:
        values = [
            builder.leaf("parameter" if name.startswith("w") else "input", name, parse_type(text))
            for name, text in leaves.items()
        ]
        y = body(*values)
    return builder.finish([y], ["y"])


@pytest.fixture
def mlp():
    g = graph(
        lambda x, t, w, wb: ops.cross_entropy(ops.linear(ops.tanh(ops.linear(x, w, wb)), w), t),
        x="f32[N,4]", t="i64[N]", w="f32[4,4]", wb="f32[4]",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    data = {"w": rng.normal(size=(4, 4)).astype("f"), "wb": rng.normal(size=4).astype("f")}
    return g, [rng.normal(size=(5, 4)).astype("f"), np.array([0, 1, 2, 3, 0])], data


def test_a_right_gradient_is_good(mlp):
    g, inputs, data = mlp
    check = gradient_check(g, inputs, data=data)
    assert check.passed and check.worst.error < 1e-7 and verdict(check.worst.error) == "good"
    assert {n: len(c.entries) for n, c in check.by_name().items()} == {"w": 16, "wb": 4}


def test_inputs_can_be_checked_and_elements_chosen(mlp):
    g, inputs, data = mlp
    check = gradient_check(g, inputs, ["x", "w"], data=data, elements=3)
    assert [entry.name for entry in check.entries] == ["x"] * 3 + ["w"] * 3 and check.passed
    assert check == gradient_check(g, inputs, ["x", "w"], data=data, elements=3)


@pytest.mark.parametrize("factor", [1.01, 1.5, -1.0, 0.0])
def test_a_wrong_gradient_is_found(monkeypatch, factor):
    right = REGISTRY["tanh"]
    wrong = dataclasses.replace(right, vjp=lambda ct, x, y: ct * (1.0 - y * y) * factor)
    monkeypatch.setitem(REGISTRY, "tanh", wrong)
    g = graph(lambda x: wrong(x), x="f64[3]")
    check = gradient_check(g, [np.array([-1.0, 0.2, 2.0])])
    assert not check.passed
    assert check.worst.verdict == ("suspicious" if factor == 1.01 else "wrong")


@pytest.mark.parametrize(("at", "kinks"), [(0.0, 1), (3e-6, 1), (-3e-6, 1), (1e-3, 0), (-1.0, 0)])
def test_kinks_are_told_from_errors(at, kinks):
    g = graph(lambda x: ops.relu(x) * 3.0, x="f64[2]")
    check = gradient_check(g, [np.array([at, 0.7])])
    assert sum(entry.kink for entry in check.entries) == kinks
    assert check.passed


def test_strong_curvature_is_no_kink():
    check = gradient_check(graph(lambda x: ops.exp(x * 30.0), x="f64[2]"), [np.array([0.5, -0.4])])
    assert not any(entry.kink for entry in check.entries) and check.worst.error < 1e-6


def test_a_wrong_gradient_beside_a_kink_is_still_wrong(monkeypatch):
    wrong = dataclasses.replace(REGISTRY["relu"], vjp=lambda ct, x, y: ct)
    monkeypatch.setitem(REGISTRY, "relu", wrong)
    check = gradient_check(graph(lambda x: wrong(x), x="f64[1]"), [np.array([-0.5])])
    assert not check.passed and not check.entries[0].kink


def test_float64_graph_is_the_same_computation():
    def body(x, s):
        whole = ops.cast(ops.cast(x, dtype=int32), dtype=x.dtype)
        masked = ops.dropout(ops.softmax(whole, axis=1), s, p=0.5)
        return masked * ops.uniform(s, shape=(3, 5), dtype=x.dtype)

    g = graph(body, x="f32[3,5]", s="u64[]")
    double = verify(to_float64(g))
    assert [v.name for v in double.outputs] == [v.name for v in g.outputs]
    x, seed = np.arange(15, dtype="f").reshape(3, 5), np.asarray(3, np.uint64)
    (narrow,), (wide,) = interpret(g, [x, seed]), interpret(double, [x.astype(np.float64), seed])
    assert wide.dtype == np.float64
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)


def test_nan_is_wrong(monkeypatch):
    wrong = dataclasses.replace(REGISTRY["tanh"], vjp=lambda ct, x, y: ct * ops.log(x))
    monkeypatch.setitem(REGISTRY, "tanh", wrong)
    check = gradient_check(graph(lambda x: wrong(x), x="f64[2]"), [np.array([1.5, -1.0])])
    assert check.worst.verdict == "wrong" and np.isnan(check.worst.analytic)


def test_nothing_compared_is_not_passed():
    empty = gradient_check(graph(lambda x: ops.tanh(x), x="f64[0]"), [np.zeros(0)])
    assert empty.entries == () and not empty.passed
    only_kinks = GradientCheck((Entry("x", (), 1.0, 0.5, 0.3, True),))
    assert not only_kinks.passed


def test_an_inner_value_has_nothing_to_move():
    with pytest.raises(UsageError, match="neither an input nor a parameter"):
        gradient_check(graph(lambda x: ops.tanh(ops.exp(x)), x="f64[2]"), [np.ones(2)], ["exp"])
