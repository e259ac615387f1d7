"""Building blocks as the lectures write them: each formula by hand, on both backends and lazily."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.frontends.python.tracer import trace_graph
from tests.lectures.running import close, everywhere, output, value_and_gradients

RNG = np.random.default_rng(13)
Z = np.array([-3.0, -0.7, 0.4, 2.5])


def sigma(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {
    "sigmoid": (F.sigmoid, sigma, lambda z: sigma(z) * (1 - sigma(z))),
    "tanh": (F.tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (F.relu, lambda z: np.maximum(0, z), lambda z: z > 0),
    "leaky relu": (
        lambda z: F.leaky_relu(z, 0.1),
        lambda z: np.where(z > 0, z, 0.1 * z),
        lambda z: np.where(z > 0, 1, 0.1),
    ),
    "elu": (
        lambda z: F.elu(z, 0.5),
        lambda z: np.where(z > 0, z, 0.5 * (np.exp(z) - 1)),
        lambda z: np.where(z > 0, 1, 0.5 * np.exp(z)),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_their_formulas(name):
    function, by_hand, slope = ACTIVATIONS[name]
    close(
        output(function, z=Z) if name in ("leaky relu", "elu") else output(lambda z: function(z), z=Z),
        by_hand(Z),
    )
    found = value_and_gradients(lambda z: function(z).sum(), z=Z)
    close(found["grad.z"], slope(Z) * 1.0)


def test_softmax_sums_to_one_and_does_not_overflow():
    z = np.array([[1.0, 2.0, 3.0], [1000.0, 1000.0, 0.0]])
    p = output(lambda z: F.softmax(z, dim=1), z=z)
    close(p.sum(axis=1), np.ones(2))
    close(p[0], np.exp(z[0]) / np.exp(z[0]).sum())
    close(p[1], [0.5, 0.5, 0.0])


def test_maxout_is_the_larger_of_two_lines():
    x, w1, w2 = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    b1, b2 = RNG.normal(size=3), RNG.normal(size=3)

    def maxout(x, w1, b1, w2, b2):
        both = np.stack([F.linear(x, w1, b1), F.linear(x, w2, b2)], axis=2)  # neighbours are compared
        return F.maxout(both.reshape(5, 6), 2)

    expected = np.maximum(x @ w1.T + b1, x @ w2.T + b2)
    close(output(maxout, x=x, w1=w1, b1=b1, w2=w2, b2=b2), expected)


# Losses -------------------------------------------------------------------------------------------------------------


def test_losses_have_their_formulas():
    y, t = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    close(output(F.mse_loss, input=y, target=t), np.mean((y - t) ** 2))
    close(output(lambda y, t: F.mse_loss(y, t, reduction="sum"), y=y, t=t), np.sum((y - t) ** 2))
    p, bit = sigma(y), (t > 0) * 1.0
    binary = -np.mean(bit * np.log(p) + (1 - bit) * np.log(1 - p))
    close(output(F.binary_cross_entropy, input=p, target=bit), binary)
    close(output(F.binary_cross_entropy_with_logits, input=y, target=bit), binary)
    labels = np.array([0, 2, 1, 2])
    graph = trace_graph(F.cross_entropy, {"input": "float64[4,3]", "target": "int64[4]"})
    shares = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    found = everywhere(graph, {"input": y, "target": labels})
    close(found[graph.output_names[0]], -np.mean(np.log(shares[np.arange(4), labels])))
    gradient = everywhere(graphc.differentiate(graph, wrt=["input"]), {"input": y, "target": labels})
    close(gradient["grad.input"], (shares - np.eye(3)[labels]) / 4)


def test_hinge_loss_of_two_classes():
    x, t = np.array([0.3, -2.0, 1.5]), np.array([1.0, 1.0, -1.0])
    found = value_and_gradients(lambda x: F.hinge_loss(x, t, reduction="sum"), x=x)
    close(found["output"], 0.7 + 3.0 + 2.5)
    close(found["grad.x"], -t)


def test_multi_margin_loss_by_hand():
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])  # cat, car, frog of CS231n
    labels = np.array([0, 1, 2])
    graph = trace_graph(nn.MultiMarginLoss(reduction="none"), {"input": "float64[3,3]", "target": "int64[3]"})
    losses = everywhere(graph, {"input": scores, "target": labels})[graph.output_names[0]]
    close(losses * 3, [2.9, 0.0, 12.9])  # PyTorch divides by the number of classes


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_margin_losses_equal_pytorch(reduction):
    torch = pytest.importorskip("torch")
    x, labels = RNG.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    ours, theirs = graphc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    loss = nn.MultiMarginLoss(margin=0.7, reduction=reduction)(ours, graphc.tensor(labels))
    expected = torch.nn.MultiMarginLoss(margin=0.7, reduction=reduction)(theirs, torch.tensor(labels))
    close(loss, expected.detach().numpy())
    loss.sum().backward()
    expected.sum().backward()
    close(ours.grad, theirs.grad.numpy())


# Layers -------------------------------------------------------------------------------------------------------------


def test_causal_and_dilated_convolution():
    x, w = RNG.normal(size=(1, 1, 9)), RNG.normal(size=(1, 1, 3))

    def causal(x, w):
        return F.conv1d(F.pad(x, (4, 0)), w, dilation=2)  # only the past is looked at

    y = output(causal, x=x, w=w)
    past = np.pad(x[0, 0], (4, 0))
    close(y[0, 0], [sum(w[0, 0, k] * past[t + 2 * k] for k in range(3)) for t in range(9)])
    gradient = value_and_gradients(lambda x, w: causal(x, w)[0, 0, 3], x=x, w=w)["grad.x"][0, 0]
    assert (gradient[[1, 3]] != 0).all() and not gradient[[0, 2, 4, 5, 6, 7, 8]].any()


def test_pooling_by_minimum_and_norm():
    x = np.array([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[None, None]
    assert output(lambda x: F.min_pool2d(x, 2), x=x)[0, 0].tolist() == [[1, 2], [1, 0]]
    close(output(lambda x: F.avg_pool2d(x, 2), x=x)[0, 0], [[3.25, 5.25], [2, 2]])
    windows = np.array([[[1, 1, 5, 6], [2, 4, 7, 8]], [[3, 2, 1, 2], [1, 0, 3, 4]]])
    close(output(nn.LPPool2d(2, 2), x=x)[0, 0], np.sqrt((windows**2).sum(axis=2)))
    close(output(nn.LPPool2d(3, 2), x=x)[0, 0], np.cbrt((windows**3).sum(axis=2)))


@pytest.mark.torch
@pytest.mark.parametrize("p", [1, 2, 3])
def test_norm_pooling_and_response_norm_equal_pytorch(p):
    torch = pytest.importorskip("torch")
    x = RNG.uniform(0.5, 2, size=(2, 5, 6, 7)) * RNG.choice([-1, 1] if p != 3 else [1], size=(2, 5, 6, 7))
    pairs = [
        (nn.LPPool2d(p, 2), torch.nn.LPPool2d(p, 2)),
        (nn.LocalResponseNorm(p + 1), torch.nn.LocalResponseNorm(p + 1)),
        (nn.LocalResponseNorm(p, 0.5, 0.6, 2.0), torch.nn.LocalResponseNorm(p, 0.5, 0.6, 2.0)),
    ]
    for ours, theirs in pairs if p != 1 else pairs[1:]:  # PyTorch's 1-norm adds x, not |x|
        a, b = graphc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ours(a).sum().backward()
        theirs(b).sum().backward()
        close(ours(a), theirs(b).detach().numpy())
        close(a.grad, b.grad.numpy(), terms=1024)


class DropLayers(nn.Module):
    """A residual network whose branches are left out at random while it is trained (Huang et al., Deep Networks
    with Stochastic Depth, 2016): dropout of one number for each sample and layer.
    """

    def __init__(self, depth, p):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])
        self.drop = nn.Dropout(p)

    def forward(self, x):
        for layer in self.layers:
            keep = self.drop(graphc.ones(x.shape[0], 1, dtype=x.dtype))
            x = x + keep * F.tanh(layer(x))
        return x


def test_dropout_of_elements_and_of_layers():
    net = DropLayers(1, 0.5).double()
    x = RNG.normal(size=(64, 4))
    graph = trace_graph(net, {"x": "float64[N,4]"}, training=True)
    seed = np.uint64(3)
    y = everywhere(graph, {"x": x, "seed": seed})[graph.output_names[0]]
    branch = np.tanh(x @ net.layers[0].weight.array.T + net.layers[0].bias.array)
    share = (y - x) / branch
    dropped = np.isclose(share, 0, atol=1e-9).all(axis=1)
    kept = np.isclose(share, 2, atol=1e-6).all(axis=1)
    assert (dropped | kept).all() and 10 < dropped.sum() < 54  # 64 tosses: 5.5 standard deviations
    again = everywhere(graph, {"x": x, "seed": np.uint64(4)})[graph.output_names[0]]
    assert not np.array_equal(again, y)
    quiet = trace_graph(net, {"x": "float64[N,4]"})
    close(everywhere(quiet, {"x": x})[quiet.output_names[0]], x + branch)


# What more comes out of training --------------------------------------------------------------------------------------


def test_l2_penalty_shrinks_weights_as_weight_decay_does():
    rate, strength = 0.1, 0.3
    one, two = nn.Linear(3, 2, bias=False).double(), nn.Linear(3, 2, bias=False).double()
    two.load_state_dict(one.state_dict())
    x, t = graphc.tensor(RNG.normal(size=(5, 3))), graphc.tensor(RNG.normal(size=(5, 2)))
    by_loss = graphc.optim.SGD(one.parameters(), lr=rate)
    by_decay = graphc.optim.SGD(two.parameters(), lr=rate, weight_decay=2 * strength)
    for _ in range(3):
        for net, optimizer, factor in ((one, by_loss, strength), (two, by_decay, 0.0)):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), t) + factor * (net.weight * net.weight).sum()
            loss.backward()
            optimizer.step()
    close(one.weight, two.weight.numpy())
