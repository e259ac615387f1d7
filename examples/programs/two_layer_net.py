"""A two-layer network trained in plain NumPy, with the gradient written by hand.  No framework; it is not changed
anywhere: `two_layer_net_compiled.py` beside it takes the two functions as they are.
"""

import numpy as np

N, D_in, H, D_out = 64, 1000, 100, 10
rng = np.random.default_rng(0)
x, y = rng.normal(size=(N, D_in)), rng.normal(size=(N, D_out))
w1, w2 = rng.normal(size=(D_in, H)), rng.normal(size=(H, D_out))


def forward(x, y, w1, w2):
    h = 1 / (1 + np.exp(-x.dot(w1)))
    y_pred = h.dot(w2)
    loss = np.square(y_pred - y).sum()
    return loss, h, y_pred


def backward(x, y, w1, w2, h, y_pred):
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h.T.dot(grad_y_pred)
    grad_h = grad_y_pred.dot(w2.T)
    grad_w1 = x.T.dot(grad_h * h * (1 - h))
    return grad_w1, grad_w2


def train(x, y, w1, w2, steps=2000, rate=1e-4):
    """The losses; w1 and w2 are changed in place."""
    losses = []
    for _ in range(steps):
        loss, h, y_pred = forward(x, y, w1, w2)
        grad_w1, grad_w2 = backward(x, y, w1, w2, h, y_pred)
        w1 -= rate * grad_w1
        w2 -= rate * grad_w2
        losses.append(loss)
    return losses


if __name__ == "__main__":
    losses = train(x, y, w1, w2)
    print(f"loss {losses[0]:.4g} -> {losses[-1]:.4g}")
