"""Loops: values, text, NumPy source, gradients of every order, transformations; unrolled they are the same."""

import numpy as np
import pytest

import graphc
from graphc.autodiff import differentiate
from graphc.backends.numpy_source import load_source, numpy_source
from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.interpret import interpret
from graphc.ir.cost import total_flops
from graphc.ir.dims import symbol
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.verifier import verify
from graphc.pipeline import gradient_graph, lower

rng = np.random.default_rng(3)
W, B, V = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(4, 3))


def cell(reverse=False, unroll=False):
    """A state of two parts, weights used in products, broadcast and by element, a result that is not the state."""

    def run(x, h, c):
        def step(state, u):
            h, c = state
            z = np.tanh(h @ W + u @ V + B)
            c = c * z + np.exp(-c * c) * B
            return (z * c, c), (z + c * W[0], u.sum())

        (h, c), (y, s) = graphc.scan(step, (h, c), x, reverse=reverse, unroll=unroll)
        return {"h": h, "c": c, "y": y, "s": s, "loss": (y * y).sum() + (h * c).sum() + s.sum()}

    return run


def arrays(steps=5):
    own = np.random.default_rng(steps)
    return {"x": own.normal(size=(steps, 2, 4)), "h": own.normal(size=(2, 3)), "c": own.normal(size=(2, 3))}


def traced(run, length="T", batch="N"):
    return graphc.trace(
        run, x=f"float64[{length},{batch},4]", h=f"float64[{batch},3]", c=f"float64[{batch},3]"
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_is_its_steps_one_after_the_other(reverse):
    open_, unrolled = traced(cell(reverse)), traced(cell(reverse, unroll=True), length=5)
    assert [n.op.name for n in open_.nodes].count("scan") == 1
    for a, b in zip(interpret(open_, arrays()), interpret(unrolled, arrays()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("steps", [0, 1])
def test_no_step_and_one(steps):
    given = arrays(steps)
    found = dict(zip(("h", "c", "y", "s", "loss"), interpret(traced(cell()), given)))
    assert found["y"].shape == (steps, 2, 3) and found["s"].shape == (steps,)
    if not steps:
        np.testing.assert_array_equal(found["h"], given["h"])


WRT = ["x", "h", "c", "W", "B", "V"]


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_the_steps(steps, reverse):
    loop = differentiate(traced(cell(reverse)), WRT, of="loss")
    verify(loop)
    found = dict(zip(loop.output_names, interpret(loop, arrays(steps))))
    if not steps:
        assert all(not found[f"grad.{name}"].any() for name in ("W", "B", "V"))
        return
    written = differentiate(traced(cell(reverse, unroll=True), length=steps), WRT, of="loss")
    wanted = dict(zip(written.output_names, interpret(written, arrays(steps))))
    for name in found:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-11, atol=1e-12, err_msg=name)


def test_the_forward_loop_stands_once_in_a_gradient():
    loop = differentiate(traced(cell()), WRT, of="loss")
    assert [n.op.name for n in loop.nodes].count("scan") == 2
    forward, backward = (n for n in loop.nodes if n.op.name == "scan")
    products = [n for n in backward.attributes["body"].nodes if n.op.name == "matmul"]
    assert not any(n.attributes["transpose_x"] for n in products), (
        "gradients of weights are made behind the loop"
    )


def test_results_nobody_reads_leave_the_loop():
    loop = traced(cell())
    only_s = loop.with_(outputs=(loop.value(loop.outputs[3].name),), output_names=("s",))
    (node,) = (n for n in lower(only_s).graph.nodes if n.op.name == "scan")
    assert node.attributes["carries"] == 0 and len(node.outputs) == 1


@pytest.mark.parametrize("gradients", [False, True])
def test_numpy_source_is_a_loop(gradients):
    graph = traced(cell(reverse=gradients))
    graph = differentiate(graph, WRT, of="loss") if gradients else graph
    text = numpy_source(graph)
    assert "for t in " in text and "np.empty((T, N, 3), np.float64)" in text
    for steps in (0, 1, 5):
        given = arrays(steps)
        for a, b in zip(load_source(graph)(list(given.values())), interpret(graph, given), strict=True):
            np.testing.assert_array_equal(a, b)


def test_text_and_passes():
    graph = differentiate(traced(cell()), WRT, of="loss")
    text = print_graph(graph, provenance=True)
    assert print_graph(parse_graph(text), provenance=True) == text
    final = lower(graph).graph
    verify(final)
    found = interpret(final, arrays())
    for a, b in zip(found, interpret(graph, arrays()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_work_counts_every_step():
    def run(x, h):
        return graphc.scan(lambda c, u: (c + u, c), h, x)[0]

    graph = graphc.trace(run, x="float64[T,3]", h="float64[3]")
    assert total_flops(graph.nodes) == symbol("T") * 3


def test_transformations():
    x, h = rng.normal(size=(4, 3)), rng.normal(size=3)

    def loss(w):
        return (graphc.scan(lambda c, u: (np.tanh(c @ w + u),) * 2, h, x)[1] ** 2).sum()

    slope, direction, eps = graphc.grad(loss), rng.normal(size=(3, 3)), 1e-6
    numeric = (loss(W + eps * direction) - loss(W - eps * direction)) / (2 * eps)
    np.testing.assert_allclose((slope(W) * direction).sum(), numeric, rtol=1e-7)
    np.testing.assert_allclose(graphc.jvp(loss, [W], [direction])[1], numeric, rtol=1e-7)
    curve = graphc.hessian(loss)(W)
    rows = (slope(W + eps * direction) - slope(W - eps * direction)) / (2 * eps)
    np.testing.assert_allclose(np.tensordot(curve, direction, 2), rows, rtol=1e-5, atol=1e-7)


def test_outside_of_a_trace():
    w = graphc.tensor(W, requires_grad=True)
    x, h = rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3))
    state, y = graphc.scan(lambda c, u: (c @ w + u,) * 2, h, x)
    wanted = h
    for u in x:
        wanted = wanted @ W + u
    np.testing.assert_allclose(np.asarray(state), wanted)
    np.testing.assert_array_equal(np.asarray(y)[-1], np.asarray(state))
    y.sum().backward()
    assert np.all(np.isfinite(w.grad.array)) and w.grad.array.any()


def test_a_loop_in_a_loop():
    def run(x, h):
        def outer(c, rows):
            c, _ = graphc.scan(lambda d, u: (np.tanh(d @ W + u), None), c, rows)
            return c, c.sum()

        return graphc.scan(outer, h, x)

    graph = graphc.trace(run, x="float64[S,T,3]", h="float64[3]")
    x, h = rng.normal(size=(2, 4, 3)), rng.normal(size=3)
    wanted, sums = h, []
    for rows in x:
        for u in rows:
            wanted = np.tanh(wanted @ W + u)
        sums.append(wanted.sum())
    found = interpret(lower(graph).graph, {"x": x, "h": h})
    np.testing.assert_allclose(found[0], wanted)
    np.testing.assert_allclose(found[1], sums)
    np.testing.assert_array_equal(load_source(graph)([x, h])[1], found[1])
    text = print_graph(graph)
    assert print_graph(parse_graph(text)) == text
    gradient = gradient_graph(graph, ["W", "h"], of=graph.output_names[1])
    ct = rng.normal(size=2)
    found = interpret(gradient, [x, h, ct])
    eps, direction = 1e-6, rng.normal(size=3)
    values = [interpret(graph, [x, h + sign * eps * direction])[1] @ ct for sign in (1, -1)]
    np.testing.assert_allclose(found[-1] @ direction, (values[0] - values[1]) / (2 * eps), rtol=1e-6)


def test_what_is_refused():
    x, h = np.zeros((4, 3)), np.zeros(3)
    with pytest.raises(ShapeError, match=r"float64\[3\] before a step and float64\[1,3\] after"):
        graphc.scan(lambda c, u: (c.reshape(1, 3), u), h, x)
    with pytest.raises(UsageError, match="must return"):
        graphc.scan(lambda c, u: c + u, h, x)
    with pytest.raises(UsageError, match="needs its length"):
        graphc.scan(lambda c, u: (c, c), h)
    with pytest.raises(ShapeError, match="over 4 and 5 steps"):
        graphc.scan(lambda c, u: (c, c), h, (x, np.zeros((5, 3))))
    with pytest.raises(UnsupportedError, match="random numbers in the body"):
        graphc.scan(lambda c, u: (graphc.nn.functional.dropout(c + u), None), h, x)
    with pytest.raises(UnsupportedError, match="an unrolled loop of T steps"):
        graphc.trace(lambda x: graphc.scan(lambda c, u: (c, u), x[0], x, unroll=True)[1], x="float64[T,3]")


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 0)])
def test_vmap(axes):
    """A loop for each sample, whichever of sequence and state the batch axis is in."""
    x_axis, h_axis = axes
    own = np.random.default_rng(8)
    x, h = own.normal(size=(4, 3)), own.normal(size=3)
    xs = x if x_axis is None else np.stack([x * k for k in (1, 2, 3)], x_axis)
    hs = h if h_axis is None else np.stack([h * k for k in (1, 2, 3)], h_axis)

    def run(x, h):
        return graphc.scan(lambda c, u: (np.tanh(c @ W + u), c.sum()), h, x)

    last, sums = graphc.vmap(run, in_axes=axes)(xs, hs)
    for k in range(3):
        one = x if x_axis is None else np.take(xs, k, x_axis)
        wanted = interpret(
            graphc.trace(run, x="float64[4,3]", h="float64[3]"), [one, h if h_axis is None else hs[k]]
        )
        np.testing.assert_allclose(last[k], wanted[0], rtol=1e-13)
        np.testing.assert_allclose(sums[k], wanted[1], rtol=1e-13)


def test_gradcheck_goes_into_the_body():
    from graphc.gradcheck import to_float64

    graph = graphc.trace(
        lambda x, h: graphc.scan(lambda c, u: (c * u, c), h, x)[1], x="float32[4,3]", h="float32[3]"
    )
    wide = verify(to_float64(graph))
    assert all(v.dtype.name == "float64" for v in wide.nodes[0].attributes["body"].values())
