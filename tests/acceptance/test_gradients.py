"""Gradients of the example networks in float64: against central differences, PyTorch, and through native code."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphc
from graphc.api import graph_of
from graphc.frontends.python.model_file import load_model_file
from graphc.gradcheck import EPS, to_float64
from graphc.interpret import evaluate, interpret
from graphc.ir.graph import Graph
from tests.acceptance.conftest import SMALL

SAMPLES = 2


def traced(models: Path, name: str) -> tuple[Any, Graph]:
    """The model of a file, and its graph in float64."""
    graphc.manual_seed(0)
    found = load_model_file(str(models / f"{name}.py"))
    return found.model, to_float64(graph_of(found.model, found.inputs, name=name))


def batch(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    x = graph.inputs[0]
    images = rng.standard_normal((SAMPLES, *x.type.shape[1:]))
    return {x.name: images, "target": rng.integers(0, 10, SAMPLES)}


def gradients(joint: Graph, results: Any) -> dict[str, np.ndarray]:
    found = dict(zip(joint.output_names, results, strict=True))
    return {name.removeprefix("grad."): array for name, array in found.items() if name.startswith("grad.")}


@pytest.mark.parametrize("name", SMALL)
def test_central_differences(name: str, models: Path) -> None:
    """The slope of the loss along random directions through all parameters and the input.

    A direction has the part d/(g·d) in every array, so that each contributes 1 to the slope, whatever its size. The
    error of a difference is judged by its own change when the step is halved.
    """
    _, graph = traced(models, name)
    arrays = batch(graph)
    wrt = ["x", *(v.name for v in graph.parameters)]
    wrt = [n for n in wrt if graph.value(n).dtype.is_float and "running" not in n]
    joint = graphc.differentiate(graph, loss="cross_entropy", wrt=wrt)
    found = gradients(joint, interpret(joint, arrays))
    assert found.keys() == set(wrt)
    forward = joint.with_(
        outputs=joint.outputs[:1], output_names=joint.output_names[:1], nodes=_up_to(joint, joint.outputs[0])
    )

    def loss(along: dict[str, np.ndarray], step: float) -> float:
        moved = {n: array + step * along[n] for n, array in {**graph.data, **arrays}.items() if n in along}
        inputs = {n: moved.get(n, array) for n, array in arrays.items()}
        return float(interpret(forward, inputs, {n: a for n, a in moved.items() if n not in arrays})[0])

    rng = np.random.default_rng(1)
    along = {}
    for each, slope in found.items():
        size = np.linalg.norm(slope)
        assert size > 0, each
        noise = rng.standard_normal(slope.shape)
        direction = slope / size + noise / np.linalg.norm(noise)
        along[each] = direction / np.vdot(direction, slope)
    step = 1e-5 / max(np.linalg.norm(d) for d in along.values())
    coarse, fine = ((loss(along, h) - loss(along, -h)) / (2 * h) for h in (step, step / 2))
    allowed = 4 * abs(coarse - fine) + 64 * EPS * loss(along, 0.0) / step
    assert allowed < 1e-4 * len(wrt), "the differences are too rough to tell anything"
    assert abs(fine - len(wrt)) <= allowed


def _up_to(graph: Graph, value: Any) -> tuple[Any, ...]:
    """The nodes a value needs."""
    needed = {value}
    kept = []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return tuple(reversed(kept))


@pytest.mark.parametrize("name", ["lenet", "alexnet_small"])  # every network: tests/lectures/test_part_d.py
def test_native_gradients_are_the_interpreters(name: str, models: Path) -> None:
    """Sums in another order, thousands of terms deep, in float64: 1e-12 of each gradient's largest element."""
    _, graph = traced(models, name)
    arrays = batch(graph)
    joint = graphc.differentiate(graph, loss="cross_entropy")
    native = graphc.compile(joint)
    expected = interpret(joint, arrays)
    for port, got, want in zip(native.outputs, native(**arrays), expected, strict=True):
        assert np.abs(got - want).max() <= 1e-12 * np.abs(want).max(), port.name


def test_train_adds_the_gradients_of_all_parameters(models: Path) -> None:
    """`compile(train=True)` takes the cotangent of the output: what a loss outside of the model sends back."""
    model, graph = traced(models, "lenet")
    model.double()
    native = graphc.compile(model, {"x": "float64[N,1,32,32]"}, train=True)
    names = [name for name, _ in model.named_parameters()]
    assert [port.name for port in native.outputs] == ["output", *(f"grad.{name}" for name in names)]
    x = batch(graph)["x"]
    cotangent = np.random.default_rng(2).standard_normal((SAMPLES, 10))
    y, *slopes = native(x, cotangent)
    joint = graphc.differentiate(graph)
    want, *expected = evaluated(joint, x, cotangent)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-13)
    for name, got, by_interpreter in zip(names, slopes, expected, strict=True):
        np.testing.assert_allclose(
            got, by_interpreter, rtol=0, atol=1e-12 * np.abs(by_interpreter).max(), err_msg=name
        )


def evaluated(joint: Graph, *arrays: np.ndarray) -> list[np.ndarray]:
    values = evaluate(joint, arrays)
    return [values[v] for v in joint.outputs]


# PyTorch -----------------------------------------------------------------------------------------------------------


def in_pytorch(models: Path, name: str) -> ModuleType:
    """An example file with its import lines changed to PyTorch's, and nothing else."""
    text = (models / f"{name}.py").read_text(encoding="utf-8")
    changed = text.replace("from graphc import nn", "from torch import nn")
    changed = changed.replace("import graphc.nn.functional as F", "import torch.nn.functional as F")
    assert "graphc" not in changed.partition('"""')[2].partition('"""')[2]
    module = ModuleType(name)
    exec(compile(changed, f"{name}.py", "exec"), module.__dict__)
    return module


def torch_model(models: Path, name: str) -> Any:
    match name:
        case "lenet":
            return in_pytorch(models, "lenet").model
        case "alexnet_small":
            return in_pytorch(models, "alexnet").AlexNet(classes=10, width=0.25)
        case "resnet18_small":
            return in_pytorch(models, "resnet18").ResNet(classes=10, width=16)
    raise AssertionError(name)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.torch
@pytest.mark.parametrize("name", [n for n in SMALL if n != "mlp_numpy"])
def test_pytorch(name: str, models: Path, torch: Any) -> None:
    """The same file with other import lines and the same weights by name: the same loss and gradients to 1e-9.

    Native gradients are the interpreter's to 1e-12, so they are PyTorch's to 1e-9 as well; half is left to them.
    """
    model, graph = traced(models, name)
    arrays = batch(graph)
    joint = graphc.differentiate(graph, loss="cross_entropy")
    results = interpret(joint, arrays)
    found = gradients(joint, results)

    theirs = torch_model(models, name).double().eval()
    state = {n: torch.tensor(np.asarray(a, np.float64)) for n, a in model.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(n.endswith("num_batches_tracked") for n in missing)
    loss = torch.nn.functional.cross_entropy(
        theirs(torch.tensor(arrays["x"])), torch.tensor(arrays["target"])
    )
    loss.backward()
    expected = {n: p.grad.numpy() for n, p in theirs.named_parameters()}

    assert abs(float(results[0]) - loss.item()) <= 0.5e-9
    assert found.keys() == expected.keys()
    for each, want in expected.items():
        assert np.abs(found[each] - want).max() <= 0.5e-9 * np.abs(want).max(), each


@pytest.mark.torch
def test_pytorch_on_plain_numpy(models: Path, torch: Any) -> None:
    _, graph = traced(models, "mlp_numpy")
    arrays = batch(graph)
    joint = graphc.differentiate(graph, loss="cross_entropy")
    results = interpret(joint, arrays)
    weights = {n: torch.tensor(a, requires_grad=True) for n, a in graph.data.items()}
    h = torch.tensor(arrays["x"])
    for layer in "12":
        h = torch.sigmoid(h @ weights[f"W{layer}"].T + weights[f"b{layer}"])
    p = torch.softmax(h @ weights["W3"].T + weights["b3"], dim=1)
    torch.nn.functional.cross_entropy(p, torch.tensor(arrays["target"])).backward()
    found = gradients(joint, results)
    assert set(found) == {"W1", "b1", "W2", "b2", "W3", "b3"}
    for each, got in found.items():
        want = weights[each].grad.numpy()
        assert np.abs(got - want).max() <= 0.5e-9 * np.abs(want).max(), each


def test_the_differences_notice_a_wrong_rule(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of relu that is 1 % too large does not pass."""
    import dataclasses

    from graphc.ir.op import REGISTRY

    right = REGISTRY["relu"]
    monkeypatch.setitem(
        REGISTRY, "relu", dataclasses.replace(right, vjp=lambda ct, x, y: right.vjp(ct, x, y) * 1.01)
    )
    with pytest.raises(AssertionError):
        test_central_differences("lenet", models)
