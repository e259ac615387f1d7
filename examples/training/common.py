"""What the training examples share: a loop over batches, the accuracy on held-out data."""

import numpy as np

import graphc
from graphc import data


def fit(net, loss, optimizer, train, epochs, size=32, seed=0, augment=None, schedule=None, report=print):
    """Train with a compiled step; returns the mean loss of each epoch.

    augment    (images, generator) -> images
    schedule   epoch -> learning rate
    """
    rng = np.random.default_rng(seed)
    step = graphc.compile_step(net, loss, optimizer, seed=seed)
    losses = []
    for epoch in range(epochs):
        if schedule is not None:
            optimizer.lr = schedule(epoch)
        batches = data.batches(train, size, rng)
        losses.append(
            float(np.mean([step(x if augment is None else augment(x, rng), y) for x, y in batches]))
        )
        if report is not None and (epoch + 1) % max(1, epochs // 10) == 0:
            report(f"  epoch {epoch + 1:4} of {epochs}  loss {losses[-1]:.4f}")
    return losses


def scores(net, x):
    """What the trained network says, compiled for inference."""
    kind = f"{x.dtype}[N,{','.join(map(str, x.shape[1:]))}]"
    return graphc.compile(net.eval(), inputs={"x": kind})(x)


def accuracy(net, test):
    """Share of held-out rows whose largest score is their label's."""
    x, y = test
    return float(np.mean(scores(net, x).argmax(axis=1) == y))


def cosine(first, epochs, warm_up=0):
    """A learning rate that rises evenly for `warm_up` epochs, then falls to 0 along half a cosine.

    Loshchilov and Hutter, SGDR, 2017; Goyal et al., Accurate, large minibatch SGD, 2017.
    """

    def rate(epoch):
        if epoch < warm_up:
            return first * (epoch + 1) / (warm_up + 1)
        return first * 0.5 * (1 + np.cos(np.pi * (epoch - warm_up) / (epochs - warm_up)))

    return rate
