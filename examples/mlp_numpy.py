"""A three-layer network in plain NumPy: no class, no framework.  graphc traces it unchanged.

graphc compile examples/mlp_numpy.py -o build/mlp
"""

import numpy as np

rng = np.random.default_rng(0)
W1 = rng.normal(0, 1 / np.sqrt(64), (32, 64)).astype(np.float32)
W2 = rng.normal(0, 1 / np.sqrt(32), (32, 32)).astype(np.float32)
W3 = rng.normal(0, 1 / np.sqrt(32), (10, 32)).astype(np.float32)
b1, b2, b3 = np.zeros(32, np.float32), np.zeros(32, np.float32), np.zeros(10, np.float32)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def predict(x):
    h1 = sigmoid(np.dot(x, W1.T) + b1)
    h2 = sigmoid(np.dot(h1, W2.T) + b2)
    return softmax(h2 @ W3.T + b3)


inputs = {"x": "float32[N,64]"}
