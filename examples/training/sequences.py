"""Memory: LSTM and GRU repeat what they read a while ago, a temporal convolution remembers the first step to the last.

python examples/training/sequences.py
"""

import sys
from pathlib import Path

import numpy as np
from common import cosine, fit, scores

import graphc
import graphc.nn.functional as F
from graphc import optim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "networks"))
from recurrent import Reader
from temporal_convolution import TCN

SYMBOLS, WORD, WAIT = 3, 3, 4


def copy_task(n, seed):
    """Sequences of symbols, then blanks, then as many marks: at the marks the symbols are to be said again.

    x[n, steps, symbols + 2] one-hot, y[n, steps]: the symbol to be said, 0 where nothing is to be said.
    """
    rng = np.random.default_rng(seed)
    word = rng.integers(1, SYMBOLS + 1, (n, WORD))
    told = np.zeros((n, WORD + WAIT + WORD), np.int64)
    told[:, :WORD], told[:, -WORD:] = word, SYMBOLS + 1
    y = np.zeros_like(told)
    y[:, -WORD:] = word
    return np.eye(SYMBOLS + 2, dtype=np.float32)[told], y


def copies(kind, epochs):
    """Share of held-out symbols that are said right; guessing gives a third."""
    graphc.manual_seed(0)
    net = Reader(kind, SYMBOLS + 2, hidden=32, classes=SYMBOLS + 1)
    optimizer = optim.Adam(net.parameters(), lr=1e-2)
    train, (x, y) = copy_task(2048, 0), copy_task(500, 1)
    fit(net, at_the_marks, optimizer, train, epochs, schedule=cosine(1e-2, epochs))
    return np.mean(scores(net, x).argmax(axis=1)[:, -WORD:] == y[:, -WORD:])


def at_the_marks(scores, y):
    """Cross-entropy where something is to be said; that blanks are followed by nothing is no lesson."""
    return F.cross_entropy(scores[:, :, -WORD:], y[:, -WORD:])


def long_memory(n, seed, length=64):
    """The class is the sign of the very first step; noise follows, and a second row that only marks the start."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 0.5, (n, 2, length)).astype(np.float32)
    x[:, 1] = 0
    x[:, 0, 0], x[:, 1, 0] = 2 * y - 1, 1
    return x, y


def remembers(epochs):
    """Share of held-out sequences of 64 steps whose first step the last one knows; guessing gives a half."""
    graphc.manual_seed(0)
    net = TCN(width=12)
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    x, y = long_memory(500, 1)
    fit(net, F.cross_entropy, optimizer, long_memory(1024, 0), epochs, schedule=cosine(3e-3, epochs))
    return np.mean(scores(net, x).argmax(axis=1) == y)


def main(small=False):
    found = {}
    for kind in ("LSTM", "GRU"):
        share = copies(kind, 12 if small else 30)
        print(f"{kind}: {share:.2%} of the symbols repeated")
        found[f"{kind} on the copy task"] = (share, ">=", 0.99)
    share = remembers(8 if small else 20)
    print(f"temporal convolution: {share:.2%} remembered over 64 steps")
    return {**found, "TCN on a long memory": (share, ">=", 0.95)}


if __name__ == "__main__":
    main()
