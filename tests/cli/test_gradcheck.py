"""`graphc gradcheck` and `graphc.gradcheck`: right gradients pass, each kind of wrong one is told by its name."""

import json

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.cli.main import main
from graphc.errors import UsageError

MODEL = """
from graphc import nn

model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
inputs = {"x": "float32[N,4]"}
"""
LAYERS = """
import numpy as np

inputs = {"x": "float64[4,3]", "w": "float64[3,3]", "b": "float64[3]"}


def affine_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_backward(dout, cache):
    x, w = cache
    return DX, DW, DB


class Tanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dout):
        return dout * (1 - self.y)
"""
RIGHT = {"DX": "dout @ w.T", "DW": "x.T @ dout", "DB": "dout.sum(axis=0)"}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def words(*arguments, status=0):
        assert main(list(arguments)) == status
        return capsys.readouterr()

    return words


def layers(tmp_path, **changes):
    text = LAYERS
    for name, formula in {**RIGHT, **changes}.items():
        text = text.replace(name, formula)
    (tmp_path / "my_layers.py").write_text(text)


def test_a_model(run, tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    said = run("gradcheck", "net.py")
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["x", "good"], ["0.weight", "good"], ["0.bias", "good"], ["2.weight", "good"], ["2.bias", "good"],
    ]  # fmt: skip
    data = json.loads(run("--json", "gradcheck", "net.py", "--loss", "cross_entropy", "--all").out)
    assert data["passed"] and data["gradients"]["0.weight"]["elements"] == 20


def test_a_wrong_rule_exits_with_3(run, tmp_path, monkeypatch):
    import dataclasses

    from graphc.ir.op import REGISTRY

    right = REGISTRY["tanh"]
    monkeypatch.setitem(
        REGISTRY, "tanh", dataclasses.replace(right, vjp=lambda ct, x, y: ct * (1.0 - y) * 1.0)
    )
    (tmp_path / "net.py").write_text(MODEL.replace("ReLU", "Tanh"))
    said = run("gradcheck", "net.py", status=3)
    assert "the gradient of 0.weight is wrong" in said.err
    data = json.loads(run("--json", "gradcheck", "net.py", status=3).out)
    assert not data["passed"] and data["gradients"]["2.weight"]["verdict"] == "good"


def test_a_right_layer(run, tmp_path):
    layers(tmp_path)
    out = run("gradcheck", "--layer", "my_layers.py:affine").out
    assert [line.split()[:2] for line in out.splitlines()] == [["dx", "good"], ["dw", "good"], ["db", "good"]]


WRONG = [
    ({"DX": "dout @ w"}, "dx is wrong in 12 of 12 elements"),
    ({"DW": "-x.T @ dout"}, "dw has the wrong sign"),
    ({"DW": "x.T @ dout / len(x)"}, "dw is 0.25 times what it should be: the size 4 of an axis of out"),
    ({"DW": "(x.T @ dout).T"}, "dw is transposed"),
    ({"DW": "0.7 * x.T @ dout"}, "dw is 0.7 times what it should be"),
    ({"DB": "dout"}, "db has shape [4, 3], b has [3]: the sum over axis 0 is missing"),
    ({"DB": "np.full(3, 4.0)"}, "db does not depend on dout"),
    ({"DB": "dout.sum(axis=1)"}, "db has shape [4], b has [3]"),
    ({"DB": "0 * dout[0]"}, "db is 0 everywhere"),
    ({"DB": "dout[0] / 0"}, "db has elements that are not finite"),
    (
        {"DX": "dout @ w.T + (np.arange(12).reshape(4, 3) == 5)"},
        "dx is wrong in 1 of 12 elements; at x[1, 2]",
    ),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change, message", WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_layer_and_what_is_wrong(run, tmp_path, change, message):
    layers(tmp_path, **change)
    said = run("gradcheck", "--layer", "my_layers.py:affine", status=3)
    assert message in " ".join(said.err.split())
    name = message.split()[0]
    assert [n for n in ("dx", "dw", "db") if f"error: GC0600: {n}" in said.err or f"{n} " in said.err] == [
        name
    ]


def test_a_layer_of_methods(run, tmp_path):
    layers(tmp_path)
    said = run("gradcheck", "--layer", "my_layers.py:Tanh", status=3)
    assert "dx is wrong in 12 of 12 elements" in " ".join(said.err.split())


def test_backward_of_too_few(run, tmp_path):
    layers(tmp_path, DB="None")
    assert "returns None for db" in run("gradcheck", "--layer", "my_layers.py:affine", status=3).err
    (tmp_path / "my_layers.py").write_text(LAYERS.replace("DX, DW, DB", "dout"))
    assert "returns 1 gradients, not 3" in run("gradcheck", "--layer", "my_layers.py:affine", status=3).err


def test_usage(run, tmp_path):
    layers(tmp_path)
    run("gradcheck", status=2)
    run("gradcheck", "--layer", "my_layers.py", status=2)
    assert "did you mean" in run("gradcheck", "--layer", "my_layers.py:afine", status=2).err


def test_the_function():
    check = graphc.gradcheck(nn.Linear(3, 2), [np.ones((2, 3), np.float32)])
    assert check.passed and set(check.by_name()) == {"x", "weight", "bias"}
    assert "good" in str(check)
    both = graphc.gradcheck(lambda x, y: (x * y, np.abs(x)), {"x": np.array([3e-6, 2.0]), "y": np.ones(2)})
    assert both.passed and [e.kink for e in both.by_name()["x"].entries] == [False, False, True, False]
    with pytest.raises(UsageError):
        graphc.gradcheck(np.tanh, np.ones(2))


def test_the_names_of_modules_do_not_hide_functions():
    import graphc.gradcheck
    import graphc.interpret

    assert callable(graphc.gradcheck) and callable(graphc.interpret)
