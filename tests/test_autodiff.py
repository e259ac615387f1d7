"""Gradients of graphs: worked numbers, where paths meet and end, names, provenance, higher orders."""

import numpy as np
import pytest

from graphc import ops
from graphc.autodiff import NotDifferentiable, differentiate
from graphc.errors import UsageError
from graphc.interpret import evaluate, interpret
from graphc.ir.builder import Builder
from graphc.ir.dims import symbol
from graphc.ir.graph import Provenance
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.types import float32, int32, parse_type
from graphc.ir.verifier import verify


def graph(body, names=("y",), **leaves):
    with Builder("g") as builder:
        values = [
            builder.leaf("parameter" if name[0] in "wWb" else "input", name, parse_type(text))
            for name, text in leaves.items()
        ]
        result = body(*values)
    outputs = result if isinstance(result, tuple) else (result,)
    return verify(builder.finish(outputs, list(names)))


def gradients(g, inputs, wrt=None, data=None, **options):
    joint = verify(differentiate(g, wrt, **options))
    results = dict(zip(joint.output_names, interpret(joint, inputs, data), strict=True))
    return {name.removeprefix("grad."): a for name, a in results.items() if name.startswith("grad.")}


def scalars(*numbers):
    return [np.asarray(float(n)) for n in numbers]


# ---- worked numbers of the lectures


def test_product_and_sum():
    g = graph(lambda x, y, z: x * y + z, x="f64[]", y="f64[]", z="f64[]")
    assert gradients(g, scalars(-3, 5, 2)) == {"x": 5, "y": -3, "z": 1}


def test_the_circuit():
    with Builder("circuit") as builder:
        x, y, z = (builder.leaf("input", name, parse_type("f64[]")) for name in "xyz")
        with builder.at(Provenance(variable="q")):
            q = x + y
        f = q * z
    g = builder.finish([f], ["f"])
    assert interpret(g, scalars(-2, 5, -4)) == (-12,)
    assert gradients(g, scalars(-2, 5, -4), ["x", "y", "z", "q"]) == {"x": -4, "y": -4, "z": 3, "q": -4}


def test_squared_norm_of_a_product_and_one_step():
    g = graph(lambda W, x: ops.sum_squares(ops.matmul(W, x)), W="f64[2,2]", x="f64[2,1]")
    W, x = np.array([[0.4, 0.6], [0.7, -0.2]]), np.array([[0.5], [0.3]])
    found = gradients(g, [x], ["W", "x"], {"W": W})
    np.testing.assert_allclose(found["W"], [[0.38, 0.228], [0.29, 0.174]], rtol=1e-12)
    np.testing.assert_allclose(found["x"], [[0.71], [0.34]], rtol=1e-12)
    np.testing.assert_allclose(W - 0.1 * found["W"], [[0.362, 0.5772], [0.671, -0.2174]], rtol=1e-12)
    np.testing.assert_allclose(x - 0.1 * found["x"], [[0.429], [0.266]], rtol=1e-12)


def test_logistic_output_with_cross_entropy():
    g = graph(ops.binary_cross_entropy_with_logits, z="f64[4]", t="f64[4]")
    z, t = np.array([-2.0, 0.0, 0.5, 3.0]), np.array([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(gradients(g, [z, t], ["z"])["z"], (1 / (1 + np.exp(-z)) - t) / 4, rtol=1e-12)


def test_the_delta_recursion_of_a_sigmoid_network():
    def loss(x, t, w1, w2):
        a = ops.sigmoid(ops.matmul(x, w1))
        return ops.sum_squares(ops.matmul(a, w2) - t) * 0.5

    g = graph(loss, x="f64[N,3]", t="f64[N,2]", w1="f64[3,4]", w2="f64[4,2]")
    rng = np.random.default_rng(1)
    x, t, w1, w2 = (rng.normal(size=s) for s in ((5, 3), (5, 2), (3, 4), (4, 2)))
    a = 1 / (1 + np.exp(-x @ w1))
    delta = a @ w2 - t
    hidden = a * (1 - a) * (delta @ w2.T)
    found = gradients(g, [x, t], None, {"w1": w1, "w2": w2})
    np.testing.assert_allclose(found["w2"], a.T @ delta, rtol=1e-12)
    np.testing.assert_allclose(found["w1"], x.T @ hidden, rtol=1e-12)


# ---- paths


def test_where_paths_meet_they_add_up_in_one_visible_node():
    g = graph(lambda x: ops.exp(x) + ops.sin(x) + x * x + x, x="f64[]")
    joint = differentiate(g)
    assert [n.op.name for n in joint.nodes].count("add_n") == 1
    x = 0.7
    assert gradients(g, scalars(x))["x"] == pytest.approx(np.exp(x) + np.cos(x) + 2 * x + 1, rel=1e-12)


def test_a_value_used_twice_by_one_node():
    g = graph(lambda x: x * x, x="f64[]")
    assert gradients(g, scalars(3))["x"] == 6


def test_only_what_is_needed_is_computed():
    g = graph(
        lambda x, w1, w2: ops.sum_(ops.tanh(x * w1) * w2, axes=(0,)), x="f64[3]", w1="f64[3]", w2="f64[3]"
    )
    assert [v.name for v in differentiate(g, ["w2"], keep_outputs=False).outputs]
    ops_used = [n.op.name for n in differentiate(g, ["w2"], keep_outputs=False).nodes]
    assert "sum" not in ops_used and ops_used.count("tanh") == 1


def test_an_input_without_a_path_has_gradient_0():
    g = graph(lambda x, z: (x * 2.0, z), ("y", "z"), x="f64[]", z="f64[N,3]")
    joint = differentiate(g, ["x", "z"], of="y")
    results = interpret(joint, [np.asarray(1.0), np.ones((2, 3))])
    assert results[2] == 2 and results[3].tolist() == np.zeros((2, 3)).tolist()


def test_stopped_gradients_are_0():
    g = graph(lambda x: x * ops.stop_gradient(x), x="f64[]")
    assert gradients(g, scalars(3))["x"] == 3
    g = graph(lambda x: ops.stop_gradient(x * x), x="f64[]")
    assert gradients(g, scalars(3))["x"] == 0


STEPS = {
    "comparison": (lambda x: ops.cast(ops.greater(x, 0.0), dtype=x.dtype), "a comparison is a step"),
    "rounding": (lambda x: ops.cast(ops.cast(x, dtype=int32), dtype=x.dtype), "whole numbers is a step"),
    "behind other ops": (
        lambda x: ops.exp(ops.cast(ops.logical_not(ops.less(ops.tanh(x), 0.5)), dtype=x.dtype)),
        "a comparison is a step",
    ),
    "position": (lambda x: ops.cast(ops.argmax(x, axis=0), dtype=x.dtype), "a position is a step"),
    "condition": (
        lambda x: ops.where(ops.less(x, 0.0), 1.0, ops.stop_gradient(x)),
        "a comparison is a step",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_gradient_that_does_not_exist_is_an_error(name):
    body, reason = STEPS[name]
    g = graph(body, x="f64[3]")
    with pytest.raises(NotDifferentiable, match=f"no gradient with respect to x: .*{reason}"):
        differentiate(g)


def test_one_path_with_a_gradient_is_enough():
    g = graph(lambda x: ops.where(ops.greater(x, 0.0), x * 3.0, 0.0), x="f64[3]")
    joint = differentiate(g)
    found = interpret(joint, [np.array([-1.0, 0.5, 2.0]), np.ones(3)])[1]
    assert found.tolist() == [0, 3, 3]


def test_kinks_have_second_derivative_0_beside_them():
    g = graph(lambda x: ops.sum_(ops.relu(x), axes=(0,)), x="f64[3]")
    first = differentiate(g, keep_outputs=False)
    second = differentiate(first, ["x"], of="grad.x", keep_outputs=False)
    assert interpret(second, [np.array([-1.0, 0.5, 2.0]), np.ones(3)])[0].tolist() == [0, 0, 0]


# ---- outputs, names, provenance


def test_a_tensor_takes_a_cotangent():
    g = graph(lambda x: ops.exp(x), x="f64[3]")
    joint = differentiate(g)
    assert [v.name for v in joint.inputs] == ["x", "cotangent.y"]
    x, ct = np.arange(3.0), np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(interpret(joint, [x, ct])[1], ct * np.exp(x), rtol=1e-12)


def test_the_default_is_all_parameters_or_all_float_inputs():
    with_parameters = graph(lambda x, w, b: ops.sum_squares(x * w + b), x="f32[3]", w="f32[3]", b="f32[3]")
    assert differentiate(with_parameters).output_names == ("y", "grad.w", "grad.b")
    without = graph(lambda x, i: ops.sum_squares(ops.gather(x, i, axis=0)), x="f32[3]", i="i64[2]")
    assert differentiate(without).output_names == ("y", "grad.x")


def test_gradients_have_the_type_of_their_value():
    g = graph(lambda x, w: ops.sum_squares(ops.linear(x, w)), x="f32[N,3]", w="f32[5,3]")
    joint = differentiate(g, ["x", "w"])
    assert [v.type for v in joint.outputs[1:]] == [parse_type("f32[N,3]"), parse_type("f32[5,3]")]
    assert all(joint.gradients[name] in joint.by_name for name in ("x", "w"))


def test_faults():
    g = graph(lambda x, i: (ops.exp(x), ops.tanh(x), i + 1), ("a", "b", "c"), x="f32[3]", i="i32[3]")
    for wrt, of, message in (
        (["x"], None, "has 3 outputs; which one"),
        (["x"], "d", "has no output 'd'"),
        (["z"], "a", "no value 'z'"),
        (["i"], "a", "i is int32: only floating-point values have a gradient"),
        (["x"], "c", "output c is int32: only floating-point values have a gradient"),
    ):
        with pytest.raises(UsageError, match=message):
            differentiate(g, wrt, of=of)


def test_backward_nodes_know_their_forward_node():
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type("f64[3]"))
        with builder.at(Provenance(module="layer1", variable="h")):
            h = ops.tanh(x)
        y = ops.sum_(h, axes=(0,))
    joint = differentiate(builder.finish([y], ["y"]))
    forward = {n.name for n in joint.nodes if n.provenance.role == "forward"}
    assert forward == {"h", "sum"}
    for node in joint.nodes:
        if node.provenance.role == "backward":
            assert node.provenance.forward in forward and node.provenance.made_by == "autodiff"
    derivative = [n for n in joint.nodes if n.provenance.forward == "h"]
    assert derivative and all(n.provenance.module == "layer1" for n in derivative)


def test_the_joint_graph_is_text_and_the_forward_part_is_shared():
    g = graph(
        lambda x, w: ops.cross_entropy(ops.linear(ops.relu(x), w), ops.argmax(x, axis=1)),
        x="f32[N,3]",
        w="f32[3,3]",
    )
    joint = verify(differentiate(g))
    text = print_graph(joint, provenance=True)
    assert print_graph(parse_graph(text), provenance=True) == text
    assert all(node in joint.nodes for node in g.nodes)
    assert text == print_graph(differentiate(g), provenance=True)


def test_constants_keep_their_arrays():
    g = graph(lambda x, w: ops.sum_squares(x * w), x="f64[3]", w="f64[3]").with_(data={"w": np.arange(3.0)})
    assert differentiate(g).data["w"] is g.data["w"]


# ---- higher orders and sizes


def test_third_derivative():
    g = graph(lambda x: ops.tanh(x), x="f64[]")
    for _ in range(3):
        g = differentiate(g, ["x"], keep_outputs=False)
        g = g.with_(output_names=("y",))
    x = 0.3
    t = np.tanh(x)
    assert interpret(g, scalars(x))[0] == pytest.approx(-2 * (1 - t * t) * (1 - 3 * t * t), rel=1e-12)


def test_a_batch_of_any_size_has_one_gradient_graph():
    g = graph(
        lambda x, t, w, b: ops.cross_entropy(ops.linear(ops.tanh(x), w, b), t),
        x="f64[N,4]", t="i64[N]", w="f64[3,4]", b="f64[3]",
    )  # fmt: skip
    joint = verify(differentiate(g, ["x", "w", "b"]))
    rng = np.random.default_rng(2)
    data = {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=3)}
    x, t = rng.normal(size=(6, 4)), np.array([0, 1, 2, 2, 1, 0])
    whole = interpret(joint, [x, t], data)
    halves = [interpret(joint, [x[i : i + 3], t[i : i + 3]], data) for i in (0, 3)]
    for index in (0, 2, 3):  # the loss is a mean, so it and its gradient are means of the halves
        np.testing.assert_allclose(whole[index], (halves[0][index] + halves[1][index]) / 2, rtol=1e-12)
    assert symbol("N") in joint.value("x").type.shape


def test_a_deep_graph_needs_no_deep_stack():
    with Builder("deep") as builder:
        y = builder.leaf("input", "x", parse_type("f64[]"))
        for _ in range(3000):
            y = ops.sin(y)
    joint = differentiate(builder.finish([y], ["y"]))
    assert 0 < interpret(joint, scalars(1.0))[1] < 1


def test_a_composite_with_a_body_only_is_differentiated_through_it():
    g = graph(lambda x: ops.sum_squares(ops.maxout(x, pieces=2, axis=0)), x="f64[4]")
    joint = differentiate(g)
    assert "maxout" in [n.op.name for n in joint.nodes]
    x = np.array([1.0, 3.0, -2.0, -5.0])
    assert interpret(joint, [x])[1].tolist() == [0, 6, -4, 0]
    values = evaluate(joint, [x])
    assert all(a.dtype == v.dtype.numpy for v, a in values.items()) and float32.itemsize == 4
