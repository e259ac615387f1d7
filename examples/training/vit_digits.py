"""A Vision Transformer with 2x2 patches on scanned digits: at least 95 % of those held out.

python examples/training/vit_digits.py
"""

import sys
from pathlib import Path

from common import accuracy, cosine, fit

import graphc
import graphc.nn.functional as F
from graphc import data, optim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "networks"))
from vit import ViT


def main(small=False):
    """Attention has to find out what lies next to what, so the first epochs go slowly; else it does not get far."""
    layers, epochs, size, warm_up = (2, 8, 16, 2) if small else (3, 40, 32, 5)
    graphc.manual_seed(0)
    train, test = data.held_out(*data.digits(), seed=0)
    net = ViT(width=32, layers=layers)
    optimizer = optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    fit(net, F.cross_entropy, optimizer, train, epochs, size, schedule=cosine(3e-3, epochs, warm_up))
    score = accuracy(net, test)
    print(f"ViT on digits: {score:.2%} of {len(test[1])} held out")
    return {"ViT on digits": (score, ">=", 0.92 if small else 0.95)}


if __name__ == "__main__":
    main()
