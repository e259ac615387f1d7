"""A plain function as a module: its arrays are parameters, and it computes the same."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import optim
from graphc.errors import UsageError

RNG = np.random.default_rng(4)
W, B = RNG.normal(size=(3, 4)), RNG.normal(size=3)
LAYERS = [RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3))]
UNUSED = np.ones(7)
X = RNG.normal(size=(5, 4))


def hidden(x):
    return np.tanh(np.dot(x, W.T) + B)


def network(x):
    h = hidden(x)
    for layer in LAYERS:
        h = np.maximum(h @ layer, 0.0)
    return h


def test_its_parameters_are_the_arrays_the_function_uses():
    net = graphc.as_module(network, x="float64[N,4]")
    assert {name: p.shape for name, p in net.named_parameters()} == {
        "W": (3, 4), "B": (3,), "LAYERS.0": (3, 3), "LAYERS.1": (3, 3),
    }  # fmt: skip
    assert net.W.numpy() is not W and "network: W[3, 4]" in repr(net)


def test_it_computes_what_the_function_does():
    net = graphc.as_module(network, x="float64[N,4]")
    np.testing.assert_allclose(net(graphc.tensor(X)).numpy(), network(X), rtol=1e-14)
    np.testing.assert_allclose(graphc.compile(net, inputs={"x": "float64[N,4]"})(X), network(X), rtol=1e-12)
    net.B.data = B + 1.0
    assert np.abs(net(graphc.tensor(X)).numpy() - network(X)).max() > 1e-3


def test_training_it_leaves_the_functions_arrays_alone():
    before = W.copy()
    net = graphc.as_module(network, x="float64[N,4]")
    target = np.abs(RNG.normal(size=(5, 3)))
    step = graphc.compile_step(net, F.mse_loss, optim.Adam(net.parameters(), lr=0.02))
    losses = [step(X, target) for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_array_equal(W, before)
    assert np.abs(net.W.numpy() - W).max() > 0.01


def test_arrays_of_an_enclosing_function():
    def make(scale):
        w = np.full((4, 2), scale)

        def f(x, y):
            return x @ w + y

        return f

    net = graphc.as_module(make(2.0), x="float64[N,4]", y="float64[N,2]")
    assert [name for name, _ in net.named_parameters()] == ["w"]
    y = np.ones((5, 2))
    found = net(graphc.tensor(X), graphc.tensor(y)).numpy()
    np.testing.assert_allclose(found, X @ np.full((4, 2), 2.0) + y)


def test_nothing_to_train():
    with pytest.raises(UsageError, match="has nothing to train"):
        graphc.as_module(lambda x: np.tanh(x), x="float64[N]")
