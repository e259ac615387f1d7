"""The same training as two_layer_net.py, with the gradient derived: graphc writes the NumPy program that a student
can lay beside the hand-written one, and runs the whole step natively.

python examples/programs/two_layer_net_compiled.py
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import two_layer_net as original

import graphc
from graphc import nn, optim


class TwoLayerNet(nn.Module):
    """The parameters; the computation is the original's own function."""

    def __init__(self, w1, w2):
        super().__init__()
        self.w1, self.w2 = nn.Parameter(w1), nn.Parameter(w2)

    def forward(self, x, y):
        loss, h, y_pred = original.forward(x, y, self.w1, self.w2)
        return loss


def compiled_step(x, y, w1, w2, rate=1e-4, backend="llvm"):
    """A call that does a whole step, and the network whose weights it moves."""
    net = TwoLayerNet(w1, w2)
    step = graphc.compile_step(
        net,
        lambda loss: loss,
        optim.SGD(net.parameters(), lr=rate),
        {name: f"float64[{a.shape[0]},{a.shape[1]}]" for name, a in (("x", x), ("y", y))},
        targets={},
        backend=backend,
    )
    return net, step


def main(steps=2000):
    x, y, w1, w2 = original.x, original.y, original.w1, original.w2
    net, step = compiled_step(x, y, w1, w2)
    print(step.numpy_source)
    start = time.perf_counter()
    ours = [step(x, y) for _ in range(steps)]
    middle = time.perf_counter()
    theirs = original.train(x, y, w1, w2, steps)
    end = time.perf_counter()
    print(f"graphc: loss {ours[0]:.6g} -> {ours[-1]:.6g} in {middle - start:.2f} s")
    print(f"NumPy:  loss {theirs[0]:.6g} -> {theirs[-1]:.6g} in {end - middle:.2f} s")


if __name__ == "__main__":
    main()
