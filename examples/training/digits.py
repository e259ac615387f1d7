"""LeNet and a small ResNet on scanned digits: at least 98 % of those held out.

python examples/training/digits.py
"""

import sys
from pathlib import Path

from common import accuracy, cosine, fit

import graphc
import graphc.nn.functional as F
from graphc import data, optim

EXAMPLES = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "networks")]
import lenet  # noqa: E402
import resnet  # noqa: E402


def train_lenet(epochs):
    """32x32 images, each pixel of the 8x8 repeated; moved by up to two pixels."""
    graphc.manual_seed(0)
    train, test = data.held_out(*data.digits(scale=4), seed=0)
    net = lenet.Net()
    optimizer = optim.Adam(net.parameters(), lr=2e-3)
    fit(
        net,
        F.cross_entropy,
        optimizer,
        train,
        epochs,
        augment=lambda x, rng: data.shift(x, 2, rng),
        schedule=cosine(2e-3, epochs),
    )
    return accuracy(net, test), len(test[1])


def train_resnet(epochs):
    """The 8x8 images as they are; three stages of one residual block."""
    graphc.manual_seed(0)
    train, test = data.held_out(*data.digits(), seed=0)
    net = resnet.ResNet(blocks=(1, 1, 1), classes=10, width=16, channels=1, stem="small")
    optimizer = optim.Adam(net.parameters(), lr=3e-3)
    fit(net, F.cross_entropy, optimizer, train, epochs, schedule=cosine(3e-3, epochs))
    return accuracy(net, test), len(test[1])


def main(small=False):
    found = {}
    for name, train, few, many in (("LeNet", train_lenet, 6, 40), ("ResNet", train_resnet, 2, 15)):
        score, count = train(few if small else many)
        print(f"{name} on digits: {score:.2%} of {count} held out")
        found[name] = (score, ">=", 0.90 if small else 0.98)
    return found


if __name__ == "__main__":
    main()
