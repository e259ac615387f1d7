"""Two spirals: no line separates them, a 2-layer network does.

python examples/training/spirals.py
"""

from common import accuracy, fit

import graphc
import graphc.nn.functional as F
from graphc import data, nn, optim


def main(small=False):
    graphc.manual_seed(0)
    train, test = data.held_out(*data.spirals(500, turns=1.0, seed=0), seed=0)
    linear = nn.Linear(2, 2)
    fit(linear, F.cross_entropy, optim.Adam(linear.parameters(), lr=0.01), train, epochs=20)
    net = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 2))
    fit(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.01), train, epochs=100)
    by_line, by_net = accuracy(linear, test), accuracy(net, test)
    print(f"spirals: {by_line:.1%} by a line, {by_net:.1%} by two layers, of {len(test[1])} held out")
    return {"linear": (by_line, "<", 0.60), "two layers": (by_net, ">=", 0.98)}


if __name__ == "__main__":
    main()
