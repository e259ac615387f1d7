"""Softmax regression on Fisher's irises: at least 93 % of the held-out flowers.

python examples/training/iris.py
"""

from common import accuracy, fit

import graphc
import graphc.nn.functional as F
from graphc import data, nn, optim

GOAL = 0.93


def main(small=False):
    graphc.manual_seed(0)
    train, test = data.held_out(*data.iris(), share=0.3, seed=0)
    net = nn.Linear(4, 3)
    fit(net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.05), train, epochs=20 if small else 100)
    found = accuracy(net, test)
    print(f"softmax regression on iris: {found:.1%} of {len(test[1])} held out")
    return {"accuracy": (found, ">=", GOAL)}


if __name__ == "__main__":
    main()
