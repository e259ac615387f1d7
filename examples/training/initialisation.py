"""Initial values: zeros cannot learn, small numbers fade, Xavier's and He's keep the variance through every layer.

python examples/training/initialisation.py      draws three pictures in build/examples
"""

from pathlib import Path

import numpy as np
from common import accuracy, fit

import graphc
import graphc.nn.functional as F
from graphc import data, nn, optim
from graphc.nn import init
from graphc.view.chart import save_chart

PICTURES = Path("build/examples")
WIDTH, DEPTH = 256, 10

TANH, RELU = 5 / 3, "relu"
SCHEMES = {  # how weights are drawn, and the non-linearity that follows
    "zero": (init.zeros_, F.tanh),
    "normal 0.01": (lambda w: init.normal_(w, 0, 0.01), F.tanh),
    "normal 1": (lambda w: init.normal_(w, 0, 1), F.tanh),
    "1/√n": (lambda w: init.normal_(w, 0, 1 / np.sqrt(w.shape[1])), F.tanh),
    "Xavier uniform": (lambda w: init.xavier_uniform_(w, gain=TANH), F.tanh),
    "Xavier normal": (lambda w: init.xavier_normal_(w, gain=TANH), F.tanh),
    "1/√n, ReLU": (lambda w: init.normal_(w, 0, 1 / np.sqrt(w.shape[1])), F.relu),
    "He uniform": (lambda w: init.kaiming_uniform_(w, nonlinearity=RELU), F.relu),
    "He normal": (lambda w: init.kaiming_normal_(w, nonlinearity=RELU), F.relu),
}


class Deep(nn.Module):
    """Layers of one width; returns what each of them gives."""

    def __init__(self, draw, activation, width=WIDTH, depth=DEPTH):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(depth)])
        self.activation = activation
        for layer in self.layers:
            draw(layer.weight)

    def forward(self, x):
        values = []
        for layer in self.layers:
            x = self.activation(layer(x))
            values.append(x)
        return tuple(values)


def size_by_layer(draw, activation):
    """The root mean square of the activations of each layer, for normal inputs."""
    graphc.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(512, WIDTH)).astype(np.float32)
    values = graphc.compile(Deep(draw, activation), inputs={"x": f"float32[N,{WIDTH}]"})(x)
    return [float(np.sqrt(np.mean(np.square(a)))) for a in values]


def symmetry():
    """A network that begins with zeros, and one that begins with He's numbers, trained on spirals."""
    train, test = data.held_out(*data.spirals(300), seed=0)
    found, losses = {}, {}
    for name, draw in (("zero", init.zeros_), ("constant", lambda w: init.constant_(w, 0.5)), ("He", None)):
        graphc.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 2))
        for layer in (net[0], net[2]):
            (init.kaiming_normal_ if draw is None else draw)(layer.weight)
            init.zeros_(layer.bias)
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        losses[name] = fit(net, F.cross_entropy, optimizer, train, epochs=60, report=None)
        units = len(np.unique(net[0].weight.numpy().round(6), axis=0))
        found[name] = accuracy(net, test), units
        print(
            f"begun with {name:8}: {found[name][0]:.1%} of held-out spirals, {units} different hidden units"
        )
    return found, losses


def main(small=False):
    sizes = {name: size_by_layer(*scheme) for name, scheme in SCHEMES.items()}
    print(f"{'size of the activations in layer':34}{1:>10}{DEPTH // 2:>10}{DEPTH:>10}")
    for name, line in sizes.items():
        print(f"  {name:32}{line[0]:10.2g}{line[DEPTH // 2 - 1]:10.2g}{line[-1]:10.2g}")
    learned, losses = symmetry()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for activation, picture in ((F.tanh, "initialisation_tanh"), (F.relu, "initialisation_relu")):
        save_chart(
            PICTURES / f"{picture}.svg", {n: sizes[n] for n, scheme in SCHEMES.items() if scheme[1] is activation},
            title=f"Size of the activations, {picture[-4:].replace('relu', 'ReLU')}", x_label="layer",
            y_label="root mean square", log=True, first=1,
        )  # fmt: skip
    save_chart(
        PICTURES / "initialisation_loss.svg", losses, title="Learning the spirals, by initial values",
        x_label="epoch", y_label="loss", first=1,
    )  # fmt: skip
    kept = {n: sizes[n][-1] / sizes[n][0] for n in sizes if n.startswith(("Xavier", "He"))}
    return {
        "zero: last layer": (sizes["zero"][-1], "<=", 0.0),
        "normal 0.01: last layer": (sizes["normal 0.01"][-1], "<", 1e-6),
        "1/√n, ReLU: last to first": (sizes["1/√n, ReLU"][-1] / sizes["1/√n, ReLU"][0], "<", 0.1),
        **{f"{name}: last to first": (ratio, ">=", 0.7) for name, ratio in kept.items()},
        **{f"{name}: first to last": (1 / ratio, ">=", 0.7) for name, ratio in kept.items()},
        "zero: accuracy": (learned["zero"][0], "<", 0.6),
        "zero: different units": (learned["zero"][1], "<=", 1),
        "constant: different units": (learned["constant"][1], "<=", 1),
        "He: accuracy": (learned["He"][0], ">=", 0.95),
    }


if __name__ == "__main__":
    main()
