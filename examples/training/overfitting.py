"""Overfitting: a large network learns 40 noisy points by heart; a penalty on the weights, or stopping early, helps.

python examples/training/overfitting.py      draws build/examples/overfitting.svg
"""

from pathlib import Path

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import data, nn, optim
from graphc.view.chart import save_chart

PICTURES = Path("build/examples")


def points():
    """Two broad heaps that overlap: 40 points to learn from, 960 to test with."""
    x, y = data.blobs(500, classes=2, spread=0.9, seed=0)
    return data.held_out(x, y, share=0.96, seed=0)


def curves(weight_decay, epochs):
    """The loss on what is learnt and on what is held out, epoch by epoch."""
    graphc.manual_seed(0)
    (x, y), (x_test, y_test) = points()
    net = nn.Sequential(nn.Linear(2, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 2))
    step = graphc.compile_step(
        net, F.cross_entropy, optim.AdamW(net.parameters(), lr=2e-3, weight_decay=weight_decay)
    )
    learnt, held_out = [], []
    for _ in range(epochs):
        learnt.append(step(x, y))
        held_out.append(F.cross_entropy(net(graphc.tensor(x_test)), graphc.tensor(y_test)).item())
    return learnt, held_out


def main(small=False):
    epochs = 100 if small else 150
    learnt, held_out = curves(0.0, epochs)
    _, with_penalty = curves(1.0, epochs)
    best = int(np.argmin(held_out))
    print(f"  loss on what is learnt: {learnt[-1]:.3f}; held out: {held_out[-1]:.3f}")
    print(
        f"  held out, stopped after {best + 1} epochs: {held_out[best]:.3f}; with a penalty: {with_penalty[-1]:.3f}"
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    lines = {"learnt": learnt, "held out": held_out, "held out, penalty": with_penalty}
    save_chart(
        PICTURES / "overfitting.svg", lines, title="Overfitting", x_label="epoch", y_label="loss", first=1,
        marks={"stop here": (best + 1, held_out[best])},
    )  # fmt: skip
    return {
        "learnt by heart": (learnt[-1], "<", 0.1),
        "held out, to learnt": (held_out[-1] / learnt[-1], ">=", 5.0),
        "stopped early, to the end": (held_out[best] / held_out[-1], "<", 0.5),
        "penalty, to none": (with_penalty[-1] / held_out[-1], "<", 0.9),
    }


if __name__ == "__main__":
    main()
