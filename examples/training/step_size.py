"""How long a step should be: too short crawls, too long diverges, and momentum gets further with the same one.

python examples/training/step_size.py      draws build/examples/step_size.svg
"""

from pathlib import Path

import numpy as np

import graphc
from graphc import nn, optim
from graphc.view.chart import save_chart

PICTURES = Path("build/examples")
STEPS = 60
CURVATURE = np.array([1.0, 25.0])  # a long valley; steps above 2/25 climb its walls


class Valley(nn.Module):
    """f(w) = ½ Σ cᵢ wᵢ², from (10, 1)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(np.array([10.0, 1.0]))

    def forward(self, curvature):
        return (curvature * self.w * self.w).sum() / 2


OPTIMIZERS = {
    "0.001": lambda p: optim.SGD(p, lr=0.001),
    "0.03": lambda p: optim.SGD(p, lr=0.03),
    "0.085": lambda p: optim.SGD(p, lr=0.085),
    "0.03, momentum 0.8": lambda p: optim.SGD(p, lr=0.03, momentum=0.8),
    "0.03, Nesterov 0.8": lambda p: optim.SGD(p, lr=0.03, momentum=0.8, nesterov=True),
    "Adam 0.3": lambda p: optim.Adam(p, lr=0.3),
}


def descend(make):
    net = Valley()
    step = graphc.compile_step(
        net, lambda loss: loss, make(net.parameters()), {"curvature": "float64[2]"}, targets={}
    )
    return [step(CURVATURE) for _ in range(STEPS)]


def main(small=False):
    losses = {name: descend(make) for name, make in OPTIMIZERS.items()}
    for name, line in losses.items():
        print(f"  {name:20} {line[0]:10.3g} -> {line[-1]:10.3g}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    save_chart(
        PICTURES / "step_size.svg", losses, title="Descent into a long valley", x_label="step",
        y_label="loss", log=True,
    )  # fmt: skip
    last = {name: line[-1] for name, line in losses.items()}
    return {
        "too short, still there": (last["0.001"], ">=", losses["0.001"][0] / 2),
        "right": (last["0.03"], "<", losses["0.03"][0] / 10),
        "too long, diverges": (last["0.085"], ">=", 10 * losses["0.085"][0]),
        "momentum against plain": (last["0.03, momentum 0.8"], "<", last["0.03"] / 10),
        "Nesterov against plain": (last["0.03, Nesterov 0.8"], "<", last["0.03"] / 10),
    }


if __name__ == "__main__":
    main()
