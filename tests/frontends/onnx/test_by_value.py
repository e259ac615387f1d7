"""Models whose shapes depend on values: compiled at the call, kept, or given beforehand."""

import json

import numpy as np
import pytest

import graphc
from graphc.by_value import ByValue
from graphc.cli.main import main
from graphc.errors import GraphcError, UsageError
from graphc.frontends.onnx.errors import NeedsValue, OnnxError

onnx = pytest.importorskip("onnx", reason="needs the onnx package")

pytestmark = pytest.mark.onnx


def model():
    """y = reshape(x, shape) repeated `repeats` times."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Mul", ["r", "w"], ["m"]),
        helper.make_node("Tile", ["m", "repeats"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [6]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        helper.make_tensor_value_info("repeats", TensorProto.INT64, [2]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = onnx.numpy_helper.from_array(np.array([2.0], np.float32), "w")
    graph = helper.make_graph(nodes, "shaped", inputs, [output], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


X = np.arange(6, dtype=np.float32)


def wanted(shape, repeats):
    return np.tile(2 * X.reshape(shape), repeats)


def test_a_call_compiles_for_its_values_and_keeps_that():
    compiled = graphc.compile(model(), backend="numpy")
    assert isinstance(compiled, ByValue)
    assert compiled.depends == ("shape",)
    assert "compiled for each value of shape" in repr(compiled)
    made = []
    special = compiled._special
    compiled._special = lambda values: (made.append(dict(values)), special(values))[1]
    for shape, repeats in (((2, 3), (1, 2)), ((3, 2), (2, 1)), ((2, 3), (1, 2))):
        arrays = np.array(shape), np.array(repeats)
        np.testing.assert_array_equal(compiled(X, *arrays), wanted(shape, repeats))
        np.testing.assert_array_equal(
            compiled(repeats=arrays[1], x=X, shape=arrays[0]), wanted(shape, repeats)
        )
    assert compiled.depends == ("shape", "repeats")
    assert [m["shape"].tolist() for m in made if len(m) == 2] == [[2, 3], [3, 2]]
    compiled.kept = 1
    compiled(X, np.array([6, 1]), np.array([1, 1]))
    compiled(X, np.array([2, 3]), np.array([1, 2]))
    assert len(made) == 5
    assert compiled.outputs[0].name == "y"


def test_given_beforehand():
    compiled = graphc.compile(model(), backend="numpy", values={"shape": [2, 3], "repeats": [2, 2]})
    np.testing.assert_array_equal(compiled(X), wanted((2, 3), (2, 2)))
    again = graphc.compile(model(), backend="numpy", values={"shape": [2, 3]})
    assert [port.name for port in again.inputs] == ["x", "repeats"]
    np.testing.assert_array_equal(again.specialized(repeats=[1, 2])(X), wanted((2, 3), (1, 2)))
    assert (
        str(graphc.api.graph_of(model(), values={"shape": [1, 6], "repeats": [2, 1]}).outputs[0].type)
        == "float32[2,6]"
    )


def test_what_is_wrong_is_told():
    compiled = graphc.compile(model(), backend="numpy")
    with pytest.raises(UsageError, match="before the values of shape are known"):
        compiled.save("nowhere.graphc")
    with pytest.raises(GraphcError):
        compiled(X, np.array([4, 2]), np.array([1, 1]))
    with pytest.raises(OnnxError, match=r"input 'shape' is int64\[2\]; int64\[3\] is given"):
        compiled(X, np.array([1, 2, 3]), np.array([1, 1]))
    with pytest.raises(UsageError, match="takes 3 arrays"):
        compiled(X, X, X, X)
    with pytest.raises(NeedsValue) as caught:
        graphc.frontends.onnx.load(model(), values={"shape": (2, 3)})
    assert caught.value.inputs == ("repeats",)
    assert "repeats  int64[2]" in str(caught.value)


def test_the_command_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    onnx.save(model(), "shaped.onnx")
    np.save("x.npy", X)
    np.save("shape.npy", np.array([2, 3]))
    np.save("repeats.npy", np.array([1, 2]))
    assert main(["compile", "shaped.onnx", "--backend", "numpy"]) == 1
    told = capsys.readouterr().err
    assert "--value shape=..." in told and "int64[2]" in told
    given = ["--value", "shape=2,3", "--value", "repeats=repeats.npy"]
    assert main(["compile", "shaped.onnx", "--backend", "numpy", *given]) == 0
    np.testing.assert_array_equal(graphc.load("shaped.graphc")(X), wanted((2, 3), (1, 2)))
    capsys.readouterr()
    assert main(["inspect", "shaped.graphc"]) == 0
    assert "shape = [2, 3], repeats = [1, 2]" in capsys.readouterr().out
    arrays = ["-x", "x=x.npy", "-x", "shape=shape.npy", "-x", "repeats=repeats.npy"]
    assert main(["run", "shaped.onnx", *arrays, "-o", "y.npy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["y"]
    np.testing.assert_array_equal(np.load("y.npy"), wanted((2, 3), (1, 2)))
    assert main(["compile", "shaped.onnx", "--value", "shape=two"]) == 2
