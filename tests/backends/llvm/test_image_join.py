"""Images joined along the channels are the same numbers, wherever they lie and however many threads there are."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn
from graphc.backends.llvm.image_join import joins_images
from graphc.interpret import interpret


class Branches(nn.Module):
    """Branches of these channels, joined; `after` wants a border around what it reads, or none."""

    def __init__(self, channels, kernel, twice):
        super().__init__()
        self.branches = nn.ModuleList([nn.Conv2d(3, c, 3, padding=1) for c in channels])
        total = sum(channels) + channels[0] * twice
        self.after = nn.Conv2d(total, 16, kernel, padding=kernel // 2)
        self.twice = twice

    def forward(self, x):
        parts = [F.relu(branch(x)) for branch in self.branches]
        return self.after(graphc.cat(parts + parts[:1] * self.twice, 1))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("channels", "kernel", "twice", "joined"),
    [
        ((16, 32), 3, 0, True),
        ((16, 48, 16), 1, 0, True),
        ((32, 16), 5, 1, True),
        ((16, 24), 3, 0, False),  # the last block is not full
        ((8, 8), 3, 0, False),  # the joint lies within a block
    ],
)
def test_joined_images(channels, kernel, twice, joined, threads):
    net = Branches(channels, kernel, twice)
    exe = graphc.compile(net, inputs={"x": "float32[N,3,11,13]"}, threads=threads, cache=False)
    whole = [k for k in exe.plan.order if joins_images(k, exe.plan.layouts)]
    assert bool(whole) == joined
    for n in (1, 3):
        x = np.random.default_rng(n).standard_normal((n, 3, 11, 13), np.float32)
        (wanted,) = interpret(exe.graph, [x])
        scale = np.sqrt(np.mean(wanted**2))
        assert np.abs(exe(x) - wanted).max() <= 5e-5 * scale
