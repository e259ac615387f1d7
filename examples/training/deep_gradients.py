"""Vanishing and exploding gradients: how much of the gradient of the output arrives at each layer of a deep network.

python examples/training/deep_gradients.py      draws build/examples/deep_gradients.svg
"""

from pathlib import Path

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.frontends.python.tracer import trace_graph
from graphc.nn import init
from graphc.view.chart import save_chart

PICTURES = Path("build/examples")
WIDTH, DEPTH = 64, 30


class Deep(nn.Module):
    """`DEPTH` layers; with `residual`, each adds to what it gets.  The loss hands 1/N to every output."""

    def __init__(self, activation, scale, residual=False):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)])
        for layer in self.layers:
            init.normal_(layer.weight, 0, scale / np.sqrt(WIDTH))
            init.zeros_(layer.bias)
        self.activation, self.residual = activation, residual

    def forward(self, x):
        for layer in self.layers:
            new = self.activation(layer(x))
            x = x + new if self.residual else new
        return x.sum() / x.shape[0]


NETWORKS = {
    "sigmoid": (F.sigmoid, 1.0),
    "ReLU, weights halved": (F.relu, np.sqrt(2) / 2),
    "ReLU, weights doubled": (F.relu, np.sqrt(2) * 2),
    "ReLU, He": (F.relu, np.sqrt(2)),
    "sigmoid, residual": (F.sigmoid, 0.1, True),
}


def gradient_by_layer(*arguments):
    """The root mean square of the gradient of each layer's biases, which is the layer's δ, in float64."""
    graphc.manual_seed(0)
    net = Deep(*arguments).double()
    x = np.random.default_rng(0).normal(size=(128, WIDTH))
    joint = graphc.differentiate(trace_graph(net, {"x": f"float64[N,{WIDTH}]"}))
    results = dict(zip(joint.output_names, graphc.compile(joint)(x)))
    return [float(np.sqrt(np.mean(results[f"grad.layers.{i}.bias"] ** 2))) for i in range(DEPTH)]


def main(small=False):
    sizes = {name: gradient_by_layer(*arguments) for name, arguments in NETWORKS.items()}
    print(f"{'size of the gradient in layer':34}{1:>10}{DEPTH // 2:>10}{DEPTH:>10}")
    for name, line in sizes.items():
        print(f"  {name:32}{line[0]:10.2g}{line[DEPTH // 2 - 1]:10.2g}{line[-1]:10.2g}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    save_chart(
        PICTURES / "deep_gradients.svg", {name: line[::-1] for name, line in sizes.items()},
        title="Size of the gradient δ in 30 layers", x_label="layers back from the loss", y_label="root mean square",
        log=True, first=1,
    )  # fmt: skip
    ratio = {name: line[0] / line[-1] for name, line in sizes.items()}
    return {
        "sigmoid": (ratio["sigmoid"], "<", 1e-10),
        "halved": (ratio["ReLU, weights halved"], "<", 1e-6),
        "doubled": (ratio["ReLU, weights doubled"], ">=", 1e6),
        **{f"{name}, at least": (ratio[name], ">=", 0.1) for name in ("ReLU, He", "sigmoid, residual")},
        **{f"{name}, at most": (ratio[name], "<", 10.0) for name in ("ReLU, He", "sigmoid, residual")},
    }


if __name__ == "__main__":
    main()
