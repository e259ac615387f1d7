"""The forward pass of a 3-layer network in three lines of NumPy, 3-4-4-1, traced as it stands.

graphc render examples/programs/forward_pass.py -o forward_pass.svg
"""

import numpy as np

rng = np.random.default_rng(0)
W1, b1 = rng.normal(size=(4, 3)), rng.normal(size=(4, 1))
W2, b2 = rng.normal(size=(4, 4)), rng.normal(size=(4, 1))
W3, b3 = rng.normal(size=(1, 4)), rng.normal(size=(1, 1))

f = lambda x: 1.0 / (1.0 + np.exp(-x))  # noqa: E731


def forward(x):
    h1 = f(np.dot(W1, x) + b1)
    h2 = f(np.dot(W2, h1) + b2)
    return np.dot(W3, h2) + b3


inputs = {"x": "float64[3,1]"}
