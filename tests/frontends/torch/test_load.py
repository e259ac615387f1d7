"""PyTorch modules as models: names, lines, shared weights, open sizes, what is refused and where."""

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.cli.main import main
from graphc.errors import ModelError, NoInputsError, UnsupportedError, UsageError
from graphc.interpret import interpret

torch = pytest.importorskip("torch", reason="needs PyTorch")
nn = torch.nn

pytestmark = pytest.mark.torch

FILE = '''"""A PyTorch model file."""
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Linear(27, 4)

    def forward(self, image):
        image = F.max_pool2d(F.relu(self.first(image)), 2)
        return self.second(image.flatten(1))


model = Net().eval()
inputs = {"image": "float32[N,1,8,8]"}
'''


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.register_buffer("offset", torch.ones(3))

    def forward(self, x):
        return x * self.weight + self.offset


def load(module, inputs, **keywords):
    from graphc.frontends.torch import load as loaded

    return loaded(module, inputs, **keywords)


def test_names_kinds_and_an_open_size():
    graph = load(Scaled(), {"x": "float32[N,3]"})
    assert [v.name for v in graph.parameters] == ["weight"]
    assert [v.name for v in graph.constants] == ["offset"]
    assert str(graph.outputs[0].type) == "float32[N,3]"
    (y,) = interpret(graph, [np.ones((5, 3), np.float32)])
    np.testing.assert_array_equal(y, np.tile([1.0, 2.0, 3.0], (5, 1)))


def test_weights_share_memory():
    module = Scaled()
    graph = load(module, {"x": "float32[N,3]"})
    assert np.shares_memory(graph.data["weight"], module.weight.detach().numpy())


def test_an_operator_graphc_lacks_is_named_at_its_line():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(UnsupportedError, match="special_bessel_j0") as caught:
        load(Odd(), {"x": "float32[3]"})
    assert caught.value.span is not None
    assert Path(caught.value.span.file).name == "test_load.py"


def test_one_pytorch_can_decompose():
    class Decomposed(nn.Module):
        def forward(self, x):
            return torch.addcmul(x, x, x, value=2.0)

    (y,) = interpret(load(Decomposed(), {"x": "float32[3]"}), [np.array([1, 2, 3], np.float32)])
    np.testing.assert_allclose(y, [3, 10, 21])


def test_a_branch_on_data_is_refused():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match=r"torch\.export refuses Branch"):
        load(Branch(), {"x": "float32[3]"})


def test_inputs_that_do_not_fit():
    with pytest.raises(UsageError, match="no input y"):
        load(Scaled(), {"y": "float32[3]"})
    with pytest.raises(NoInputsError, match="type of input x"):
        load(Scaled(), {})


def test_compile_takes_a_module():
    module = Scaled()
    compiled = graphc.compile(module, inputs={"x": "float32[N,3]"}, backend="numpy")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(compiled(x), module(torch.tensor(x)).detach().numpy(), rtol=1e-6)


def test_an_exported_program():
    program = torch.export.export(Scaled(), (torch.zeros(2, 3),))
    (y,) = interpret(load(program, {"x": "float32[2,3]"}), [np.zeros((2, 3), np.float32)])
    np.testing.assert_array_equal(y, np.ones((2, 3)))


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FILE)
    assert main(["compile", "net.py", "--backend", "numpy"]) == 0
    artefact = graphc.load("net.graphc")
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    assert artefact(x).shape == (2, 4)


def test_verify_finds_the_first_node_that_differs(monkeypatch):
    from graphc import verification
    from graphc.frontends.torch.operators import OPERATORS

    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    inputs = {"input": "float32[N,3]"}
    assert verification.verify(net, inputs, against="torch").ok
    monkeypatch.setitem(OPERATORS, "tanh", lambda x: x.sin())
    found = verification.verify(net, inputs, against="torch")
    assert not found.ok and found.first is not None
    assert found.first.name == "1.sin"


def test_a_checkpoint_in_safetensors_loads_as_it_is(tmp_path):
    from safetensors.torch import save_file

    def layers(nn):
        return nn.ModuleDict(
            {
                "conv": nn.Conv2d(3, 4, 3), "up": nn.ConvTranspose2d(4, 2, 2), "norm": nn.BatchNorm2d(4),
                "group": nn.GroupNorm(2, 4), "layer": nn.LayerNorm(5), "linear": nn.Linear(5, 6),
                "embedding": nn.Embedding(7, 5), "lstm": nn.LSTM(5, 4, 2, bidirectional=True), "gru": nn.GRU(5, 4),
                "attention": nn.MultiheadAttention(6, 2), "block": nn.TransformerEncoderLayer(6, 2, 8),
            }
        )  # fmt: skip

    from graphc.weights import load_weights

    theirs, ours = layers(nn), layers(graphc.nn)
    save_file(theirs.state_dict(), tmp_path / "checkpoint.safetensors")
    ours.load_state_dict(load_weights(tmp_path / "checkpoint.safetensors"))
    wanted = theirs.state_dict()
    assert ours.state_dict().keys() == wanted.keys()
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(np.asarray(array), wanted[name].numpy(), err_msg=name)
