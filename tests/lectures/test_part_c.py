"""The programs of the lectures, C1 to C4: files of examples/programs, traced as they stand."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.backends.numpy_source import numpy_source
from graphc.frontends.python.model_file import load_model_file
from graphc.frontends.python.tracer import trace_graph
from tests.lectures.running import close, everywhere, types_of

PROGRAMS = Path(__file__).resolve().parents[2] / "examples" / "programs"


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])


def program(name, text=None, folder=None):
    """A program as a module; with `text`, of another text."""
    file = PROGRAMS / f"{name}.py"
    if text is not None:
        file = folder / f"{name}.py"
        file.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(f"lectures_{name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_graph(name):
    found = load_model_file(str(PROGRAMS / f"{name}.py"))
    return trace_graph(found.model, found.inputs, name=found.name)


# C1 and C4 ----------------------------------------------------------------------------------------------------------


def test_c1_forward_pass():
    original = program("forward_pass")
    graph = model_graph("forward_pass")
    assert {leaf.name for leaf in graph.parameters} == {"W1", "W2", "W3", "b1", "b2", "b3"}
    assert [str(value.type) for value in graph.outputs] == ["float64[1,1]"]
    x = np.array([[0.5], [-1.0], [2.0]])
    close(everywhere(graph, {"x": x})[graph.output_names[0]], original.forward(x))


def test_c4_neuron():
    graph = model_graph("neuron")
    original = program("neuron").Neuron([2.0, -3.0], bias=-3.0)
    assert original.neuron_tick(np.array([-1.0, -2.0])) == 1 / (1 + math.exp(-1))
    inputs = np.array([-1.0, -2.0])
    close(everywhere(graph, {"inputs": inputs})[graph.output_names[0]], original.neuron_tick(inputs))
    # CS231n's circuit: w0 = 2, x0 = -1, w1 = -3, x1 = -2, w2 = -3 gives 0.73, and gradients 0.39 and -0.59.
    gradient = everywhere(graphc.differentiate(graph, wrt=["inputs"]), {"inputs": inputs})["grad.inputs"]
    slope = original.neuron_tick(inputs) * (1 - original.neuron_tick(inputs))
    close(gradient, [2 * slope, -3 * slope])
    assert gradient.round(2).tolist() == [0.39, -0.59]


# C2 -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(64, 1000, 100, 10), (3, 4, 5, 2)], ids=["whole", "small"])
def data(request):
    N, D_in, H, D_out = request.param
    rng = np.random.default_rng(1)
    sizes = {"x": (N, D_in), "y": (N, D_out), "w1": (D_in, H), "w2": (H, D_out)}
    return {name: rng.normal(size=size) for name, size in sizes.items()}


def test_c2_derived_gradient_equals_the_hand_written_one(data):
    original = program("two_layer_net")
    graph = trace_graph(lambda x, y, w1, w2: original.forward(x, y, w1, w2)[0], types_of(data))
    terms = max(array.size for array in data.values())
    found = everywhere(graphc.differentiate(graph, wrt=["w1", "w2"]), data, terms)
    loss, h, y_pred = original.forward(**data)
    close(found["loss"], loss, terms)
    for name, by_hand in zip(("w1", "w2"), original.backward(**data, h=h, y_pred=y_pred)):
        close(found[f"grad.{name}"], by_hand, terms)


def test_c2_the_forward_part_is_traced_unchanged(data):
    original = program("two_layer_net")
    graph = trace_graph(original.forward, types_of(data))
    (loss, h, y_pred) = everywhere(graph, data, terms=10_000).values()
    for ours, theirs in zip((loss, h, y_pred), original.forward(**data)):
        close(ours, theirs, terms=10_000)
    assert {node.provenance.span.name.split(":")[0] for node in graph.nodes} == {"two_layer_net.py"}


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_c2_training_equals_the_original(data, backend):
    original, compiled = program("two_layer_net"), program("two_layer_net_compiled")
    x, y, w1, w2 = data.values()
    net, step = compiled.compiled_step(x, y, w1, w2, backend=backend)
    ours = [step(x, y) for _ in range(5)]
    theirs = original.train(x, y, w1, w2, steps=5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(net.w1, w1, rtol=0, atol=1e-9 * np.abs(w1).max())
    np.testing.assert_allclose(net.w2, w2, rtol=0, atol=1e-9 * np.abs(w2).max())


def test_c2_the_printed_program_can_be_laid_beside(data):
    original, compiled = program("two_layer_net"), program("two_layer_net_compiled")
    x, y, w1, w2 = data.values()
    source = compiled.compiled_step(x, y, w1, w2)[1].numpy_source
    namespace = {}
    exec(compile(source, "step.py", "exec"), namespace)
    loss, new_w1, new_w2 = namespace["step"](x, y, np.float64(1e-4), np.float64(1), {"w1": w1, "w2": w2})
    (expected,) = original.train(x, y, w1, w2, steps=1)
    close(loss, expected, terms=10_000)
    close(new_w1, w1, terms=10_000)
    close(new_w2, w2, terms=10_000)
    for line in ("y_pred = h", "loss = ", "d_w2 = h", ".T @ d_", "np.exp(-"):
        assert line in source, source
    assert re.search(r"d_h\w* = d_\w+ @ w2\.T", source)
    assert re.search(r"d_w1 = x\.T @ d_\w+", source)


# C3 -----------------------------------------------------------------------------------------------------------------


def test_c3_loop_lowers_the_loss():
    graphc.manual_seed(0)
    module = program("lenet_loop")
    net = module.Net()
    assert sum(p.numel() for p in net.parameters()) == 81_194
    losses = module.train(net, graphc.randn(1, 1, 32, 32), graphc.randn(1, 10), steps=3)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.torch
def test_c3_only_the_import_lines_differ(tmp_path):
    torch = pytest.importorskip("torch")
    ours = program("lenet_loop")
    text = Path(ours.__file__).read_text("utf-8")
    changed = re.sub(r"^import graphc( as torch)?", "import torch", text, flags=re.MULTILINE)
    different = [a for a, b in zip(text.splitlines(), changed.splitlines()) if a != b]
    assert len(different) == 4 and all(line.startswith("import ") for line in different)
    theirs = program("lenet_loop", changed, tmp_path)
    graphc.manual_seed(0)
    net, other = ours.Net().double(), theirs.Net().double()
    other.load_state_dict({name: torch.tensor(array) for name, array in net.state_dict().items()})
    x, y = graphc.randn(1, 1, 32, 32, dtype="float64"), graphc.randn(1, 10, dtype="float64")
    losses = ours.train(net, x, y, steps=3)
    expected = theirs.train(other, torch.tensor(x.numpy()), torch.tensor(y.numpy()), steps=3)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    for name, parameter in other.named_parameters():
        close(net.state_dict()[name], parameter.detach().numpy(), terms=10_000)


def test_numpy_source_of_c1_is_three_lines():
    lines = [line for line in numpy_source(model_graph("forward_pass")).splitlines() if "np.exp" in line]
    assert len(lines) == 2
