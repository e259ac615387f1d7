"""Loops of ONNX: one node where the turns are alike, written out where they are not, refused where nobody can know."""

import numpy as np
import pytest

import graphc
from graphc.by_value import ByValue
from graphc.errors import UnsupportedError
from graphc.frontends.onnx import load
from graphc.interpret import interpret

pytest.importorskip("onnx", reason="needs the onnx package")

import onnx
from onnx import TensorProto, helper

pytestmark = pytest.mark.onnx
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def info(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(array), name)
    )


def loop(body, outputs, turns, inputs=(), nodes=()):
    """Loop(turns, true, s) with x[N, 3] around it; gives the last s and all y."""
    graph = helper.make_graph(
        body, "body", [info("i", INT, []), info("go", BOOL, []), info("s", FLOAT, None)],
        [info(name, BOOL if k == 0 else FLOAT, None) for k, name in enumerate(outputs)],
    )  # fmt: skip
    made = [
        *nodes,
        constant("start", np.ones(3, np.float32)),
        helper.make_node("Loop", [turns, "", "start"], ["last", "all"][: len(outputs) - 1], body=graph),
    ]
    results = [info(name, FLOAT, None) for name in ["last", "all"][: len(outputs) - 1]]
    graph = helper.make_graph(made, "loops", [info("x", FLOAT, ["N", 3]), *inputs], results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


ROW = [  # s + x[i] * w, where w = 2 * 2 stays the same in every turn
    constant("two", np.full(3, 2, np.float32)),
    helper.make_node("Mul", ["two", "two"], ["w"]),
    helper.make_node("Gather", ["x", "i"], ["row"], axis=0),
    helper.make_node("Mul", ["row", "w"], ["scaled"]),
    helper.make_node("Add", ["s", "scaled"], ["next"]),
    helper.make_node("Identity", ["go"], ["on"]),
]
OPEN = [
    helper.make_node("Shape", ["x"], ["shape"]),
    constant("zero", np.array(0)),
    helper.make_node("Gather", ["shape", "zero"], ["turns"], axis=0),
]
X = np.arange(12, dtype=np.float32).reshape(4, 3)


def scans(graph):
    return [node for node in graph.nodes if node.op.name == "scan"]


@pytest.mark.parametrize("nodes", [[constant("turns", np.array(4))], OPEN], ids=["a number", "an open size"])
def test_turns_that_are_alike_are_one_node(nodes):
    graph = load(loop(ROW, ["on", "next", "next"], "turns", nodes=nodes))
    (scan,) = scans(graph)
    assert {n.op.name for n in scan.attributes["body"].nodes} >= {"gather", "add"}
    assert sum(n.op.name == "mul" for n in scan.attributes["body"].nodes) == 1  # w is made before the loop
    sums = 1 + np.cumsum(4 * X, axis=0)
    for results in (interpret(graph, [X]), graphc.compile(graph)(X)):
        np.testing.assert_array_equal(results[0], sums[-1])
        np.testing.assert_array_equal(results[1], sums)


def test_a_state_that_grows_is_written_out():
    body = [
        helper.make_node("Concat", ["s", "s"], ["next"], axis=0),
        helper.make_node("Identity", ["go"], ["on"]),
    ]
    graph = load(loop(body, ["on", "next"], "turns", nodes=[constant("turns", np.array(3))]))
    assert not scans(graph)
    np.testing.assert_array_equal(interpret(graph, [X])[0], np.ones(24))
    with pytest.raises(UnsupportedError, match="an open number of turns, N, that differ"):
        load(loop(body, ["on", "next"], "turns", nodes=OPEN))


def test_a_number_of_turns_that_is_an_input_is_taken_at_the_call():
    compiled = graphc.compile(loop(ROW, ["on", "next"], "m", [info("m", INT, [])]), backend="numpy")
    assert isinstance(compiled, ByValue)
    for turns in (2, 3, 0):
        np.testing.assert_array_equal(compiled(X, np.array(turns)), 1 + 4 * X[:turns].sum(axis=0))


def test_an_end_that_depends_on_numbers_is_refused_or_taken_at_the_call():
    body = [
        *ROW[:-1],
        helper.make_node("ReduceSum", ["next"], ["total"], keepdims=0),
        constant("most", np.array(50, np.float32)),
        helper.make_node("Less", ["total", "most"], ["on"]),
    ]
    model = loop(body, ["on", "next"], "turns", nodes=[constant("turns", np.array(4))])
    with pytest.raises(UnsupportedError, match="condition of Loop must be known, and depends on .* 'x'"):
        load(model)
    np.testing.assert_array_equal(graphc.compile(model, backend="numpy")(X), 1 + 4 * X[:2].sum(axis=0))


def test_layers_of_pytorch_in_onnx_have_open_lengths():
    rng = np.random.default_rng(0)
    w, r = (rng.normal(size=(1, 8, n)).astype(np.float32) for n in (3, 2))
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y", "", "c"], hidden_size=2)
    arrays = [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(r, "r")]
    outputs = [info("y", FLOAT, None), info("c", FLOAT, None)]
    graph = helper.make_graph([node], "lstm", [info("x", FLOAT, ["T", "N", 3])], outputs, arrays)
    graph = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert len(scans(graph)) == 1
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    h, c = np.zeros((2, 2)), np.zeros((2, 2))
    for t in range(5):
        i, o, f, g = np.split(x[t] @ w[0].T + h @ r[0].T, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    y, last = graphc.compile(graph)(x)
    np.testing.assert_allclose(y[-1, 0], h, rtol=1e-5)
    np.testing.assert_allclose(last[0], c, rtol=1e-5)
