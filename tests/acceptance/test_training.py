"""The compiled training step: it is the interpreter's step, PyTorch's training, and the module's own memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.frontends.python.importing import import_file
from graphc.interpret import interpret
from tests.acceptance.test_gradients import in_pytorch

EPS = float(np.finfo(np.float32).eps)


class Regularised(nn.Module):
    """Batch norm after a convolution, and dropout: what has a state and what draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)  # batch norm would make its gradient 0
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(4 * 36, 3)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)
        return self.fc(self.drop(x.flatten(1)))


def images(
    count: int, channels: int = 2, size: int = 12, classes: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, channels, size, size)), rng.integers(0, classes, count)


def lenet(models: Path) -> Any:
    graphc.manual_seed(3)
    return import_file(models / "lenet.py").Net()


def state_of(step: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in step.arrays.items()}


OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.05),
    lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    lambda p: optim.Adam(p, lr=2e-3),
    lambda p: optim.AdamW(p, lr=2e-3),
    lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.5),
    lambda p: optim.Adagrad(p, lr=1e-2),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["sgd", "nesterov", "adam", "adamw", "rmsprop", "adagrad"])
def test_a_native_step_is_the_interpreters(make: Any) -> None:
    """Loss, parameters, statistics and optimiser state after each of three steps, of different batch sizes.

    In float64: thousands of roundings, divided by a gradient's root mean square that may be small, stay below 1e-9.
    """
    net = Regularised().double()
    step = graphc.compile_step(
        net, F.cross_entropy, make(net.parameters()), {"x": "float64[N,2,12,12]"}, {"y": "int64[N]"}, seed=5
    )
    for count, size in enumerate((6, 2, 64), 1):
        x, y = images(size, seed=count)
        before = state_of(step)
        loss = step(x, y)
        given = {"x": x, "y": y, "lr": step.optimizer.lr, "step": float(count), "seed": np.uint64(5 + count)}
        wanted = {v.name: np.asarray(given[v.name], v.dtype.numpy) for v in step.graph.inputs}
        results = interpret(step.graph, wanted, before)
        expected = dict(zip(step.graph.output_names, results, strict=True))
        assert loss == pytest.approx(float(expected.pop("loss")), rel=1e-12)
        assert {name.removeprefix("new.") for name in expected} == set(step.arrays)
        for name, want in expected.items():
            got = step.arrays[name.removeprefix("new.")]
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * np.abs(want).max(), err_msg=name)


def test_generated_numpy_source_trains_alike() -> None:
    histories = []
    for backend in ("llvm", "numpy"):
        graphc.manual_seed(1)
        net = Regularised().double()
        step = graphc.compile_step(
            net, F.cross_entropy, optim.Adam(net.parameters()), backend=backend, seed=2
        )
        histories.append([step(*images(8, seed=i)) for i in range(5)])
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-9)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_twenty_steps_of_lenet_are_pytorchs(kind: str, models: Path) -> None:
    """Float32 losses, held to how far float32 itself drifts.

    The truth is PyTorch in float64. How far roundings of single precision reach in this very training is measured on
    PyTorch: three runs in float64 whose parameters, after each step, are moved by a random half unit in the last place
    of float32 for each of the roundings of an update (8 of them). Ours may be off by 16 times that.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    options = {"lr": 0.05, "momentum": 0.9} if kind == "SGD" else {"lr": 2e-3}
    rng = np.random.default_rng(11)
    batches = [
        (rng.standard_normal((16, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, 16)) for _ in range(4)
    ] * 5
    net = lenet(models)
    start = {name: torch.tensor(np.array(array, np.float64)) for name, array in net.state_dict().items()}

    def theirs(seed: int | None) -> np.ndarray:
        model = in_pytorch(models, "lenet").model.double()
        model.load_state_dict(start)
        optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
        generator = torch.Generator().manual_seed(seed or 0)
        losses = []
        for x, y in batches:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                model(torch.tensor(x, dtype=torch.float64)), torch.tensor(y)
            )
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if seed is not None:
                with torch.no_grad():
                    for p in model.parameters():
                        p *= 1 + 8 * EPS / 2 * (
                            2 * torch.rand(p.shape, generator=generator, dtype=p.dtype) - 1
                        )
        return np.array(losses)

    exact = theirs(None)
    spread = np.max([np.abs(theirs(seed) - exact) for seed in (1, 2, 3)], axis=0)
    allowed = 16 * np.maximum.accumulate(spread) + 16 * EPS * np.abs(exact)
    step = graphc.compile_step(net, F.cross_entropy, getattr(optim, kind)(net.parameters(), **options))
    ours = np.array([step(x, y) for x, y in batches])
    assert exact[-1] < exact[0] and allowed.max() < 1e-2
    assert (np.abs(ours - exact) <= allowed).all(), (ours - exact, allowed)


@pytest.mark.torch
def test_running_statistics_are_pytorchs(models: Path) -> None:
    """A small ResNet in float64, five steps: losses, parameters and running statistics to 1e-9."""
    torch = pytest.importorskip("torch")
    resnet = import_file(models / "resnet18.py").ResNet
    net = resnet(blocks=(1, 1, 1, 1), classes=3, width=4).double()
    model = in_pytorch(models, "resnet18").ResNet(blocks=(1, 1, 1, 1), classes=3, width=4).double().train()
    model.load_state_dict({name: torch.tensor(np.array(array)) for name, array in net.state_dict().items()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    step = graphc.compile_step(
        net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
        {"x": "float64[N,3,32,32]"}, {"y": "int64[N]"},
    )  # fmt: skip
    for count in range(5):
        x, y = images(4, 3, 32, seed=count)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        assert step(x, y) == pytest.approx(loss.item(), abs=1e-9)
    ours = net.state_dict()
    for name, tensor in model.state_dict().items():
        want = tensor.numpy()
        assert np.abs(ours[name] - want).max() <= 1e-9 * max(1.0, np.abs(want).max()), name
    assert ours["bn1.num_batches_tracked"] == 5


def test_dropout_draws_anew_each_step_and_alike_for_a_seed() -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(np.ones((), np.float32))
            self.drop = nn.Dropout(0.25)

        def forward(self, x: Any) -> Any:
            return self.drop(x) * self.w

    def losses(seed: int) -> list[float]:
        net = Only()
        step = graphc.compile_step(
            net, lambda y, t: (y * t).mean(), optim.SGD(net.parameters(), lr=0.0), seed=seed
        )
        x = np.ones((1000, 10), np.float32)
        return [step(x, x) for _ in range(4)]

    first = losses(1)
    assert first == losses(1) and first != losses(2)
    assert len(set(first)) == 4
    # The mean of 10,000 kept or dropped elements: 1 ± 5 standard deviations of √(p/(1 - p)/n).
    assert all(abs(loss - 1) < 5 * np.sqrt(0.25 / 0.75 / 10_000) for loss in first)


def test_the_module_is_the_memory_the_step_updates() -> None:
    graphc.manual_seed(0)
    net = Regularised()
    x, y = images(8)
    x = x.astype(np.float32)
    optimizer = optim.Adam(net.parameters())
    step = graphc.compile_step(
        net, F.cross_entropy, optimizer, {"x": "float32[N,2,12,12]"}, {"y": "int64[N]"}
    )
    before = {name: np.array(array) for name, array in net.state_dict().items()}
    step(x, y)
    for name, array in net.state_dict().items():
        assert np.shares_memory(array, step.arrays[name]), name
        assert (array != before[name]).any(), name
        assert not array.flags.writeable
    for parameter in net.parameters():
        assert np.abs(optimizer.state_of(parameter)["exp_avg"]).max() > 0
    # The eager mood, a new compilation and the step itself agree on what the weights are now.
    net.eval()
    native = graphc.compile(net, {"x": "float32[N,2,12,12]"})
    np.testing.assert_allclose(net(graphc.tensor(x)).numpy(), native(x), rtol=0, atol=1e-5)


def test_weights_given_to_a_module_in_training_reach_the_step() -> None:
    graphc.manual_seed(0)
    net = Regularised().double()
    x, y = images(8)
    step = graphc.compile_step(net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1))
    start = {name: np.array(array) for name, array in net.state_dict().items()}
    first = [step(x, y) for _ in range(3)]
    net.load_state_dict(start)
    step.optimizer.steps = 0
    assert [step(x, y) for _ in range(3)] == first


def test_a_result_asked_for_later_is_that_of_the_weights_then() -> None:
    """What was computed before a step does not change with the step."""
    net = nn.Linear(3, 2)
    x = np.ones((4, 3), np.float32)
    step = graphc.compile_step(net, F.mse_loss, optim.SGD(net.parameters(), lr=0.5))
    step(x, np.zeros((4, 2), np.float32))
    want = x @ np.array(net.weight.array).T + np.array(net.bias.array)
    later = net(graphc.tensor(x))
    step(x, np.ones((4, 2), np.float32))
    np.testing.assert_allclose(later.numpy(), want, rtol=0, atol=1e-6)


def test_two_steps_on_one_module_take_turns() -> None:
    """Training with one step, then with another (a lower rate, frozen layers), goes on from the same weights."""

    def run(split: bool) -> list[float]:
        graphc.manual_seed(4)
        net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((6, 5)), rng.integers(0, 3, 6)
        one = graphc.compile_step(net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1))
        two = graphc.compile_step(net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1)) if split else one
        return [step(x, y) for step in (one, one, two, one, two)]

    np.testing.assert_allclose(run(True), run(False), rtol=1e-12)


def test_an_optimizer_for_some_of_the_parameters_freezes_the_rest() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    frozen = np.array(net[0].weight.array)
    step = graphc.compile_step(net, F.cross_entropy, optim.SGD(net[2].parameters(), lr=0.1))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 5)).astype(np.float32), rng.integers(0, 3, 6)
    losses = [step(x, y) for _ in range(5)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    np.testing.assert_array_equal(net[0].weight.array, frozen)


def test_a_step_says_what_it_takes() -> None:
    net = nn.Linear(3, 2)
    step = graphc.compile_step(
        net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1), {"x": "float32[N,3]"}, {"y": "int64[N]"}
    )
    x, y = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
    with pytest.raises(graphc.GraphcError, match="float64"):
        step(x.astype(np.float64), y)
    with pytest.raises(graphc.GraphcError, match="N"):
        step(x, y[:2])
    with pytest.raises(graphc.GraphcError, match="takes x, y"):
        step(x)
    with pytest.raises(graphc.GraphcError, match="label|out of range|class"):
        step(x, y + 2)
    assert step.optimizer.steps == 0, "what was refused is no step"
    step(x, y)
