"""Tensors computed natively: the same numbers, one compilation for a loop."""

import numpy as np
import pytest

import graphc
import graphc.engine
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.errors import UsageError


@pytest.fixture(autouse=True)
def numpy_afterwards():
    yield
    graphc.set_engine("numpy")


def trained(steps=8):
    """Losses and weights of the eager loop, in float64."""
    graphc.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    x, y = graphc.tensor(rng.normal(size=(6, 4))), graphc.tensor(rng.integers(0, 3, 6))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, np.concatenate([p.numpy().ravel() for p in net.parameters()])


def test_a_loop_is_compiled_once_and_gives_the_same(monkeypatch):
    """Eight steps of float64: some hundred roundings each."""
    expected = trained()
    compiled = []
    plain = graphc.engine.compile_graph
    monkeypatch.setattr(graphc.engine, "compile_graph", lambda g: compiled.append(g.name) or plain(g))
    graphc.set_engine("native", after=3)
    found = trained()
    assert len(compiled) == 2  # the backward pass and the loss
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-11, atol=1e-13)
    again = trained()
    assert len(compiled) == 2
    np.testing.assert_allclose(again[0], expected[0], rtol=1e-12)


def test_numbers_are_not_part_of_the_structure():
    graphc.set_engine("native", after=1)
    for number in (1.0, 2.0, -3.0):
        x = graphc.tensor(number)
        y = x * x + 1.0
        assert y.item() == number * number + 1


def test_engines_that_do_not_exist():
    with pytest.raises(UsageError, match="no engine 'cuda'"):
        graphc.set_engine("cuda")
    with pytest.raises(UsageError, match="after=0"):
        graphc.set_engine("native", after=0)
