"""Policy network of REINFORCE: where to go next in a small world of squares.

Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning, 1992.
`examples/training/grid_world.py` trains it.
"""

import graphc.nn.functional as F
from graphc import nn


class Policy(nn.Module):
    """A position as one of `squares`, one-hot [N, squares] -> scores [N, actions]; their softmax is the policy."""

    def __init__(self, squares=16, hidden=32, actions=4):
        super().__init__()
        self.fc1 = nn.Linear(squares, hidden)
        self.fc2 = nn.Linear(hidden, actions)

    def forward(self, x):
        return self.fc2(F.tanh(self.fc1(x)))


def reinforce(scores, actions, advantages):
    """-Σ advantage·log π(action): its gradient makes actions that went better than expected more likely."""
    chosen = F.log_softmax(scores, 1).gather(1, actions.unsqueeze(1)).squeeze(1)
    return -(chosen * advantages).mean()


model = Policy
inputs = {"x": "float32[N,16]"}
