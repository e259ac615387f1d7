"""Graphs as ONNX models: valid, and equal when read back by graphc and when run by ONNX Runtime."""

import numpy as np
import pytest

import graphc
from graphc.backends.onnx import export, to_onnx
from graphc.backends.onnx.files import write_model
from graphc.cli.main import main
from graphc.errors import UnsupportedError
from graphc.frontends.onnx import load
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret
from graphc.verification import verify
from tests.lectures.networks import NETWORKS, build
from tests.ops.sampling import cases

onnx = pytest.importorskip("onnx", reason="needs the onnx package")
pytestmark = pytest.mark.onnx

NOT_IN_ONNX = {"random_bits", "uniform", "linear_recurrence", "atan2", "shift_left", "shift_right"}
PLAIN = [c for c in cases() if not c.id.endswith(("i8", "i16", "i32", "u8", "u16", "u32", "u64"))]


def arrays_of(graph, x, cotangent):
    return {v.name: x if v.name == "x" else cotangent for v in graph.inputs}


def traced(name):
    net, x = build(name)
    x = x.astype(np.float32)
    return trace_graph(net.float(), {"x": f"float32[N,{','.join(map(str, x.shape[1:]))}]"}), x


def backward(graph):
    wrt = ["x", *(leaf.name for leaf in graph.parameters)]
    return graphc.differentiate(graph, wrt=wrt, of=graph.output_names[0])


def close(got, wanted, what=""):
    """Within what two orders of summation make of float32 networks."""
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * scale, err_msg=what)


@pytest.mark.parametrize("name", NETWORKS)
def test_read_back(name):
    graph, x = traced(name)
    (y,) = interpret(graph, [x])[:1]
    joint = backward(graph)
    for made in (graph, joint):
        model = to_onnx(made)
        onnx.checker.check_model(model, full_check=True)
        arrays = arrays_of(made, x, np.random.default_rng(0).normal(size=y.shape).astype(np.float32))
        again = load(model)
        assert again.output_names == made.output_names
        for output, a, b in zip(
            made.output_names, interpret(again, arrays), interpret(made, arrays), strict=True
        ):
            close(a, b, output)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_gives_the_same(name):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    graph, x = traced(name)
    (y,) = interpret(graph, [x])[:1]
    for made in (graph, backward(graph)):
        arrays = arrays_of(made, x, np.random.default_rng(0).normal(size=y.shape).astype(np.float32))
        session = runtime.InferenceSession(
            to_onnx(made).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for output, a, b in zip(
            made.output_names, session.run(None, arrays), interpret(made, arrays), strict=True
        ):
            close(a, b, output)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in PLAIN])
def test_every_op_is_written_and_read_back(case):
    """Every sample of every op: the model is valid, and graphc reads the same function back."""
    if case.op.name in NOT_IN_ONNX:
        with pytest.raises(UnsupportedError):
            to_onnx(case.graph)
        return
    try:
        model = to_onnx(case.graph)
    except UnsupportedError as error:
        pytest.skip(error.message)
    wanted = interpret(case.graph, case.arrays)
    for got, array in zip(interpret(load(model), case.arrays), wanted, strict=True):
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        if array.dtype.kind == "f":
            scale = float(np.abs(array[np.isfinite(array)]).max(initial=1.0))
            np.testing.assert_allclose(got, array, rtol=1e-5, atol=1e-6 * scale)


def test_large_arrays_stand_beside_the_model(tmp_path):
    graph, x = traced("LeNet-5")
    write_model(to_onnx(graph), tmp_path / "net.onnx", inside=1000)
    assert (tmp_path / "net.onnx.data").stat().st_size > 10_000
    close(interpret(load(tmp_path / "net.onnx"), [x])[0], interpret(graph, [x])[0])


def test_the_same_bytes(tmp_path):
    graph, _ = traced("LeNet-5")
    for name in ("a.onnx", "b.onnx"):
        export(graph, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_opset_and_ir_version():
    model = to_onnx(traced("2-layer MLP")[0])
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
    assert model.ir_version == 8


def test_verify_finds_the_first_node_that_differs(monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    graph, _ = traced("2-layer MLP")
    assert verify(graph).ok
    from graphc.backends.onnx import operators

    monkeypatch.setitem(operators.SAME, "tanh", "Sin")
    monkeypatch.setitem(operators.OPERATORS, "relu", lambda w, node, x: w.add("Sin", x, node.name))
    found = verify(graph)
    assert not found.ok
    assert found.first is not None
    assert "differs from onnxruntime" in str(found)


def test_the_command_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import graphc.nn as nn\nmodel = nn.Sequential(nn.Linear(3, 4), nn.ReLU())\ninputs = {'x': 'float32[N,3]'}\n"
    )
    assert main(["export", "net.py", "--backward", "-o", "joint.onnx"]) == 0
    assert main(["export", "net.py"]) == 0
    assert main(["compile", "net.onnx", "--backend", "numpy"]) == 0
    assert (tmp_path / "joint.onnx").exists()
