"""Two rings: in (x, y) no line separates them, in (r, θ) one does.  A feature can do the work of a layer.

python examples/training/rings.py
"""

from common import accuracy, fit

import graphc
import graphc.nn.functional as F
from graphc import data, nn, optim


def main(small=False):
    graphc.manual_seed(0)
    (x, y), (x_test, y_test) = data.held_out(*data.rings(500, seed=0), seed=0)
    found = {}
    for name, feature in (("(x, y)", lambda points: points), ("(r, θ)", data.radial)):
        net = nn.Linear(2, 2)
        fit(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.05), (feature(x), y), epochs=40)
        found[name] = accuracy(net, (feature(x_test), y_test))
        print(f"linear classifier on {name}: {found[name]:.1%} of {len(y_test)} held out")
    return {"(x, y)": (found["(x, y)"], "<", 0.65), "(r, θ)": (found["(r, θ)"], ">=", 0.98)}


if __name__ == "__main__":
    main()
