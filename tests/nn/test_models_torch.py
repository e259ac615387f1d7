"""Whole networks equal PyTorch's: one source text, only `nn` and `F` differ."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from against_torch import bound, check_module, same  # noqa: E402

import graphc.nn.functional as F  # noqa: E402
from graphc import nn, optim  # noqa: E402
from graphc.frontends.python.loss_graph import loss_graph  # noqa: E402
from graphc.interpret import interpret  # noqa: E402
from graphc.step import step_graph  # noqa: E402

pytestmark = pytest.mark.torch
EXAMPLES = Path(__file__).parents[2] / "examples"


def both(file):
    """The names an example defines, once with graphc and once, only the import lines changed, with PyTorch."""
    ours = runpy.run_path(str(EXAMPLES / file))
    text = (EXAMPLES / file).read_text("utf-8")
    text = text.replace("from graphc import nn", "from torch import nn")
    text = text.replace("import graphc.nn.functional as F", "import torch.nn.functional as F")
    assert "graphc" not in text.split('"""')[2]
    theirs = {}
    exec(compile(text, file, "exec"), theirs)
    return ours, theirs


def image(*shape):
    return np.random.default_rng(4).normal(size=shape)


def test_lenet():
    ours, theirs = both("lenet.py")
    check_module(ours["Net"](), theirs["Net"](), [image(3, 1, 32, 32)])


def test_alexnet():
    ours, theirs = both("alexnet.py")
    options = {"classes": 5, "width": 1 / 32}
    check_module(ours["AlexNet"](**options), theirs["AlexNet"](**options), [image(2, 3, 224, 224)])


@pytest.mark.parametrize("training", [False, True])
def test_resnet(training):
    ours, theirs = both("networks/resnet.py")
    options = {"blocks": (1, 1, 1, 1), "classes": 5, "width": 4}
    x = [image(3, 3, 40, 40)]
    graph = check_module(
        ours["ResNet"](**options), theirs["ResNet"](**options), x, training=training, open_batch=not training
    )
    assert ("new.layer2.0.bn1.running_var" in graph.output_names) == training


class Small(nn.Module):
    """No bias before the batch norm: its gradient is 0, and Adam would divide what rounding leaves by eps."""

    def __init__(self):
        super().__init__()
        self.fc1, self.bn, self.fc2 = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(F.relu(self.bn(self.fc1(x))))


def torchs_small():
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.bn = torch.nn.Linear(4, 8, bias=False), torch.nn.BatchNorm1d(8)
            self.fc2 = torch.nn.Linear(8, 3)

        def forward(self, x):
            return self.fc2(torch.relu(self.bn(self.fc1(x))))

    return Theirs()


def batches():
    rng = np.random.default_rng(8)
    return [(rng.normal(size=(6, 4)), rng.integers(0, 3, 6)) for _ in range(5)]


OPTIMISERS = [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.02})]


def trained_by_torch(start, kind, options):
    theirs = torchs_small().double()
    theirs.load_state_dict({k: torch.tensor(np.array(v)) for k, v in start.items()})
    optimizer = getattr(torch.optim, kind)(theirs.parameters(), **options)
    losses = []
    for x, y in batches():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return theirs, np.array(losses)


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS)
def test_five_steps_of_the_step_graph(kind, options):
    nn.init.manual_seed(0)
    net = Small().double()
    theirs, losses = trained_by_torch(net.state_dict(), kind, options)
    graph, updates = loss_graph(net, F.cross_entropy, {"x": "float64[N,4]"}, {"y": "int64[N]"})
    optimizer = getattr(optim, kind)(net.parameters(), **options)
    step = step_graph(graph, optimizer, updates)
    data = dict(step.graph.data)
    ours = []
    for count, (x, y) in enumerate(batches(), 1):
        given = {"x": x, "y": y, "lr": np.float64(options["lr"]), "step": np.float64(count)}
        results = dict(zip(step.graph.output_names, interpret(step.graph, given, data)))
        ours.append(results["loss"])
        data |= {leaf: results[output] for output, leaf in step.donate.items()}
    np.testing.assert_allclose(ours, losses, rtol=0, atol=bound(losses))
    for name, tensor in theirs.state_dict().items():
        same(data[name], tensor, name)


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS)
def test_five_steps_of_the_loop_as_pytorch_writes_it(kind, options):
    nn.init.manual_seed(0)
    net = Small().double()
    theirs, losses = trained_by_torch(net.state_dict(), kind, options)
    optimizer = getattr(optim, kind)(net.parameters(), **options)
    criterion = nn.CrossEntropyLoss()
    ours = []
    for x, y in batches():
        optimizer.zero_grad()
        output = net(x)
        loss = criterion(output, y)
        loss.backward()
        optimizer.step()
        ours.append(loss.item())
    np.testing.assert_allclose(ours, losses, rtol=0, atol=bound(losses))
    for name, tensor in theirs.state_dict().items():
        same(np.asarray(net.state_dict()[name]), tensor, name)


def test_initial_values_have_pytorchs_bounds():
    nn.init.manual_seed(0)
    for ours, theirs in (
        (nn.Linear(50, 40), torch.nn.Linear(50, 40)),
        (nn.Conv2d(6, 8, 5), torch.nn.Conv2d(6, 8, 5)),
    ):
        for name, tensor in theirs.state_dict().items():
            mine = ours.state_dict()[name]
            limit = 1 / np.sqrt(np.prod(theirs.weight.shape[1:]))
            assert np.abs(mine).max() <= limit
            assert np.abs(tensor.numpy()).max() <= limit
            if (
                mine.size > 100
            ):  # the largest of n uniform numbers lies within 10/n of the bound but for e^-10
                assert np.abs(mine).max() >= limit * (1 - 10 / mine.size)
