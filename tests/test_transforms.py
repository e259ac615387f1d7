"""Transformations against formulas and central differences; they nest, and refuse what they cannot do."""

import numpy as np
import pytest

import graphc
from graphc import grad, hessian, jit, jvp, stop_gradient, value_and_grad, vjp, vmap
from graphc.autodiff import NotDifferentiable
from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.ir.op import REGISTRY
from graphc.tensor.recording import record

rng = np.random.default_rng(4)
X, W, B = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
EPS = np.finfo(np.float64).eps


def net(x, w, b):
    return np.sum(np.tanh(x @ w + b) ** 2)


def numeric(function, x, h=1e-5):
    slope = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        slope[index] = (function(up) - function(down)) / (2 * h)
    return slope


def close(
    a, b, tolerance=1e-8
):  # differences: h² of truncation beside eps/h of rounding, both below 1e-9 here
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_grad_by_one_and_several_arguments():
    close(grad(net)(X, W, B), numeric(lambda x: net(x, W, B), X))
    dw, db = grad(net, argnums=(1, -1))(X, W, B)
    close(dw, numeric(lambda w: net(X, w, B), W))
    close(db, numeric(lambda b: net(X, W, b), B))


def test_value_and_grad_of_a_tree():
    def loss(parameters, x):
        w, b = parameters["w"], parameters["b"][0]
        return net(x, w, b)

    value, slopes = value_and_grad(loss)({"w": W, "b": [B]}, X)
    close(value, net(X, W, B), 8 * EPS)
    assert set(slopes) == {"w", "b"}
    close(slopes["b"][0], grad(net, 2)(X, W, B), 0)


def test_arrays_a_function_knows_are_constants():
    def of_x(x):
        return np.sum(np.full(3, x) * W[:, 0])

    assert float(grad(of_x)(2.0)) == pytest.approx(W[:, 0].sum(), rel=4 * EPS)


def test_any_order():
    d = np.sin
    for _ in range(4):
        d = grad(d)
    assert float(d(0.7)) == pytest.approx(np.sin(0.7), rel=16 * EPS)


def test_vjp_and_jvp_are_transposes():
    def function(x, w):
        return np.tanh(x @ w), np.sum(x * x)

    tangents, cotangents = (
        (rng.normal(size=X.shape), rng.normal(size=W.shape)),
        (rng.normal(size=(4, 2)), 1.7),
    )
    y, pull = vjp(function, X, W)
    gradients = pull(cotangents)
    again, along = jvp(function, (X, W), tangents)
    close(y[0], np.tanh(X @ W), 8 * EPS)
    close(again[1], (X * X).sum(), 16 * EPS)
    left = sum((g * t).sum() for g, t in zip(gradients, tangents))
    right = sum((a * c).sum() for a, c in zip(along, cotangents))
    assert left == pytest.approx(right, rel=1e3 * EPS)
    h = 1e-6
    moved = [np.tanh((X + s * h * tangents[0]) @ (W + s * h * tangents[1])) for s in (1, -1)]
    close(along[0], (moved[0] - moved[1]) / (2 * h))


def test_hessian():
    a = rng.normal(size=(5, 5))
    x = rng.normal(size=5)
    close(hessian(lambda x: x @ a @ x)(x), a + a.T, 64 * EPS)
    second = hessian(lambda w: net(X, w, B))(W)
    assert second.shape == (3, 2, 3, 2)
    column = numeric(lambda w: grad(net, 1)(X, w, B)[1, 0], W)
    close(second[1, 0], column)


def test_vmap_equals_a_loop():
    def one(x, w, b):
        h = np.maximum(x @ w + b, 0)
        return h / np.sum(np.exp(h)), np.max(x.reshape(3, 1).T)

    xs = rng.normal(size=(6, 3))
    both = vmap(one, in_axes=(0, None, None))(xs, W, B)
    for i, x in enumerate(xs):
        for batch, single in zip(both, one(x, W, B)):
            close(batch[i], single, 16 * EPS)
    ws = rng.normal(size=(3, 2, 6))
    out = vmap(lambda x, w: x @ w, in_axes=(None, 2), out_axes=1)(X, ws)
    close(out, np.stack([X @ ws[..., i] for i in range(6)], axis=1), 16 * EPS)


def test_gradients_of_each_sample():
    xs = rng.normal(size=(6, 4, 3))
    each = vmap(grad(net, 1), in_axes=(0, None, None))(xs, W, B)
    close(each, np.stack([grad(net, 1)(x, W, B) for x in xs]), 1e3 * EPS)
    total = grad(lambda w: vmap(net, in_axes=(0, None, None))(xs, w, B).sum())(W)
    close(total, each.sum(axis=0), 1e3 * EPS)


def test_vmap_of_composites_and_modules():
    from graphc.nn import functional as F

    xs = rng.normal(size=(5, 2, 3))
    close(
        vmap(lambda x: F.softmax(x, -1))(xs),
        np.exp(xs) / np.exp(xs).sum(-1, keepdims=True),
        16 * EPS,
    )


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_jit(backend):
    x, w, b = (a.astype(np.float32) for a in (X, W, B))
    fast = jit(grad(net, 1), backend=backend)
    close(fast(x, w, b), grad(net, 1)(X, W, B), 64 * 2.0**-24 * 4)
    assert fast(x[:2], w, b).shape == W.shape  # another kind of arguments


def test_stop_gradient():
    assert float(grad(lambda x: x * stop_gradient(x))(3.0)) == 3.0


def test_inside_of_a_trace():
    graph = graphc.trace(lambda x: grad(lambda t: (t * t * t).sum())(x) + x, x="float32[N,3]")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(graphc.interpret(graph, [x])[0], 3 * x * x + x)


def test_a_gradient_knows_its_own_argument_only():
    # the derivative of x·y by y, where y is x: 2·x, of which d/dx is 1 for the inner y
    assert float(grad(lambda x: grad(lambda y: x * y)(x))(5.0)) == 1.0


def test_refusals():
    with pytest.raises(ShapeError, match="not one number"):
        grad(lambda x: x)(X)
    with pytest.raises(UsageError, match="floating-point"):
        grad(lambda x: x * x)(3)
    with pytest.raises(UsageError, match="argnums"):
        grad(lambda x: x * x, 1)(3.0)
    with pytest.raises(NotDifferentiable):
        grad(lambda x: np.sum(np.argmax(x) * 1.0))(X)
    with pytest.raises(UnsupportedError, match="no rule for random_bits .* 65 samples"):
        seeds = np.arange(65, dtype=np.uint64)
        vmap(lambda seed: record(REGISTRY["random_bits"], seed, shape=(3,)))(seeds)
    with pytest.raises(ShapeError, match="sizes 3, 4"):
        vmap(lambda x, y: x)(X, W)
