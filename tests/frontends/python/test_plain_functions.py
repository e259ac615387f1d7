"""Plain NumPy programs, traced from their unchanged text, give what NumPy gives."""

import sys
import textwrap

import numpy as np
import pytest

import graphc
from graphc.autodiff import differentiate
from graphc.errors import TraceError, UsageError
from graphc.frontends.python.tracer import trace, trace_graph
from graphc.interpret import interpret

EPS = np.finfo(np.float64).eps


def run(text, tmp_path, name="program"):
    """The names a program defines; from a file, so that its lines can be read."""
    file = tmp_path / f"{name}.py"
    file.write_text(textwrap.dedent(text), "utf-8")
    names = {"__name__": name}
    exec(compile(file.read_text("utf-8"), str(file), "exec"), names)
    return names


def agree(function, graph, *arrays, terms=64):
    """The graph and the function itself differ by rounding alone."""
    expected = function(*arrays)
    (ours,) = interpret(graph, list(arrays))
    assert ours.dtype == np.asarray(expected).dtype
    if ours.dtype.kind != "f":
        np.testing.assert_array_equal(ours, expected)
        return
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=terms * np.finfo(ours.dtype).eps * scale)


C1 = """
    import numpy as np
    rng = np.random.default_rng(0)
    W1, W2, W3 = rng.normal(size=(4, 3)), rng.normal(size=(4, 4)), rng.normal(size=(1, 4))
    b1, b2, b3 = rng.normal(size=(4, 1)), rng.normal(size=(4, 1)), rng.normal(size=(1, 1))
    f = lambda x: 1.0/(1.0+np.exp(-x))

    def forward(x):
        h1 = f(np.dot(W1, x) + b1)
        h2 = f(np.dot(W2, h1) + b2)
        out = np.dot(W3, h2) + b3
        return out
"""


def test_three_layers_in_three_lines(tmp_path):
    names = run(C1, tmp_path)
    graph = trace(names["forward"], x="float64[3,1]")
    assert [leaf.name for leaf in graph.parameters] == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert {"h1", "h2", "out"} <= set(graph.by_name)
    assert graph.output_names == ("out",)
    agree(names["forward"], graph, np.random.default_rng(1).normal(size=(3, 1)))


C2 = """
    import numpy as np
    from numpy.random import randn
    np.random.seed(0)
    N, D_in, H, D_out = 64, 1000, 100, 10
    x, y = randn(N, D_in), randn(N, D_out)
    w1, w2 = randn(D_in, H), randn(H, D_out)

    def loss(x, y):
        h = 1 / (1 + np.exp(-x.dot(w1)))
        y_pred = h.dot(w2)
        return np.square(y_pred - y).sum()

    def by_hand(x, y):
        h = 1 / (1 + np.exp(-x.dot(w1)))
        y_pred = h.dot(w2)
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h.T.dot(grad_y_pred)
        grad_h = grad_y_pred.dot(w2.T)
        grad_w1 = x.T.dot(grad_h * h * (1 - h))
        return grad_w1, grad_w2
"""


def test_two_layers_and_the_gradient_written_by_hand(tmp_path):
    names = run(C2, tmp_path)
    graph = trace(names["loss"], x="float64[N,1000]", y="float64[N,10]")
    x, y = names["x"], names["y"]
    whole = differentiate(graph)
    results = dict(zip(whole.output_names, interpret(whole, [x, y])))
    for name, expected in zip(("w1", "w2"), names["by_hand"](x, y)):
        # each element is a sum of 64 terms whose factors are sums of at most 1000
        atol = 64 * 1000 * EPS * np.abs(expected).max()
        np.testing.assert_allclose(results[f"grad.{name}"], expected, rtol=0, atol=atol)
    np.testing.assert_allclose(results[graph.output_names[0]], names["loss"](x, y), rtol=1000 * EPS)


def test_the_neuron_class(tmp_path):
    names = run(
        """
        import numpy as np

        class Neuron:
            def __init__(self):
                self.weights, self.bias = np.array([0.5, -1.0, 2.0]), np.array(0.25)

            def neuron_tick(self, inputs):
                cell_body_sum = np.sum(inputs * self.weights) + self.bias
                firing_rate = 1.0 / (1.0 + np.exp(-cell_body_sum))
                return firing_rate

        neuron = Neuron()
        """,
        tmp_path,
    )
    neuron = names["neuron"]
    before = neuron.weights
    graph = trace(neuron.neuron_tick, inputs="float64[3]")
    assert [leaf.name for leaf in graph.parameters] == ["weights", "bias"]
    assert neuron.weights is before
    assert graph.output_names == ("firing_rate",)
    agree(neuron.neuron_tick, graph, np.array([1.0, 2.0, 3.0]))


PROGRAMS = {
    "matrix times tensor by a method": ("W.dot(x)", "float64[3]"),
    "a transposed matrix": ("x @ W.T", "float64[5,3]"),
    "rows of a matrix": ("x * W[1:3, ::-1]", "float64[2,3]"),
    "an array of tensors": ("np.array([[x.sum(), 1.0], [0.5, x.mean()]])", "float64[3]"),
    "full": ("np.full((2, 3), x.max()) + x", "float64[3]"),
    "zeros of an open size": ("np.concatenate([x, np.zeros((x.shape[0], 2))], axis=1)", "float64[N,3]"),
    "ones like": ("np.ones_like(x) - np.zeros_like(x) + np.full_like(x, 2)", "float64[N,3]"),
    "mean over an open size": ("x.mean(axis=0) + x.sum() / len(W)", "float64[N,3]"),
    "divided by an open size": ("x.sum(axis=0) / x.shape[0]", "float64[N,3]"),
    "softmax": ("np.exp(x - x.max(axis=1, keepdims=True)) / 3", "float64[N,3]"),
    "variance": ("np.var(x, axis=0) + np.std(x, axis=0, ddof=1)", "float64[N,3]"),
    "where": ("np.where(x > 0, x, 0.1 * x)", "float64[N,3]"),
    "clip": ("np.clip(x, -0.5, 0.5)", "float64[N,3]"),
    "last row": ("x[-1] + x[-2:].sum(axis=0) + x[:-1].sum(axis=0)", "float64[N,3]"),
    "reversed": ("x[::-1] * x[:, ::-1]", "float64[N,3]"),
    "every second": ("x[::2, 1:]", "float64[N,3]"),
    "new axes": ("x[:, None, :] - x[None, :, :]", "float64[4,3]"),
    "ellipsis": ("x[..., 0] * x[0, ...].sum()", "float64[4,3]"),
    "picked labels": ("x[np.arange(4), np.array([0, 2, 1, 1])]", "float64[4,3]"),
    "a list of positions": ("x[:, [2, 0]]", "float64[4,3]"),
    "stacked": (
        "np.stack([x, 2 * x], axis=1) + np.vstack([x[0], x[1]])[:, None, None, :][0]",
        "float64[4,3]",
    ),
    "split": ("np.split(x, 2, axis=0)[1] * np.hstack([x[:2, :1], x[:2, 1:]])", "float64[4,3]"),
    "tiled": ("np.tile(x, (2, 1)) + np.repeat(x, 2, axis=0)", "float64[4,3]"),
    "padded": ("np.pad(x, ((1, 0), (2, 1)), constant_values=1.5)", "float64[4,3]"),
    "norm": ("np.linalg.norm(x, axis=1) + np.linalg.norm(x)", "float64[4,3]"),
    "einsum": ("np.einsum('ij,kj->ik', x, W)", "float64[4,3]"),
    "moved axes": ("np.moveaxis(x[None], 0, -1).transpose(1, 0, 2)", "float64[4,3]"),
    "a copy that is written to": ("filled(x)", "float64[4,3]"),
    "an array or not": ("x * 2 if isinstance(x, np.ndarray) else x", "float64[4,3]"),
    "one of two": ("((x > 0) ^ (x > 1)) * 1.0", "float64[4,3]"),
    "whole powers": ("x ** 2 + x ** 3 - 2 ** x", "float64[4,3]"),
    "comparisons": ("((x > 0) & (x < 1) | ~(x <= 2)).astype(np.float64)", "float64[4,3]"),
    "whole numbers": ("(x.astype(np.int64) ** 2 + 3) / 2", "float64[4,3]"),
    "mixed dtypes": ("x + np.arange(3) + np.float32(0.1)", "float64[4,3]"),
    "single precision": ("x * 0.1 + 1 - x / 3", "float32[4,3]"),
    "a strong scalar": ("x * np.float64(0.1)", "float32[4,3]"),
    "small whole numbers": ("x.sum() + x.mean() + x * 2", "int8[4,3]"),
    "logarithms": (
        "np.log1p(np.abs(x)) + np.log2(x * x + 1) + np.expm1(x) + np.logaddexp(x, 0)",
        "float64[4,3]",
    ),
    "trigonometry": ("np.sin(x) * np.cos(x) + np.tanh(x) + np.sinh(x) - np.cosh(x)", "float64[4,3]"),
    "reductions": ("np.max(x, 1) - np.min(x, 1) + np.argmax(x, 1) * np.argmin(x, 1)", "float64[4,3]"),
    "any and all": ("np.any(x > 1, axis=1) | np.all(x > -1, axis=1)", "float64[4,3]"),
    "a ufunc's reduce": ("np.add.reduce(x, axis=1) + np.maximum.reduce(x, axis=1)", "float64[4,3]"),
    "outer": ("np.outer(x[0], x[1]) + np.diag(np.ones(3)) + np.eye(3)", "float64[4,3]"),
    "differences": ("np.diff(x, axis=0)", "float64[4,3]"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_an_expression(case, tmp_path):
    expression, kind = PROGRAMS[case]
    text = "import numpy as np\nW = np.arange(12.0).reshape(4, 3) / 7 - 0.5\n"
    text += "def filled(x):\n    y = x.copy()\n    y[0] = 7.0\n    y += x\n    return y\n"
    text += f"def f(x):\n    return {expression}\n"
    function = run(text, tmp_path)["f"]
    graph = trace(function, x=kind)
    shape = graph.inputs[0].type.substitute({"N": 6}).shape
    x = np.random.default_rng(2).normal(size=shape) * 2
    agree(function, graph, x.astype(graph.inputs[0].dtype.numpy))


BUFFERS = {
    "rows": "B = np.zeros((4, 3))\n    for i in range(4):\n        B[i] = np.tanh(x[i])\n    return B",
    "columns": "B = np.ones((4, 5))\n    B[:, 1:4] = x\n    B[:, 0] = x.sum(axis=1)\n    return B.T @ x",
    "elements": "R = np.eye(3)\n    Z = np.zeros((3, 3))\n    Z[0, 1] = x[0, 0]\n    Z[2, 2] = 5.0\n    return R + Z",
    "numbers first": "B = np.zeros(3)\n    B[1] = 2.0\n    B[0] = x.sum()\n    return B * 2",
    "a state": "h = np.zeros(3)\n    for t in range(4):\n        h = np.tanh(x[t] + 0.5 * h)\n    return h",
    "accumulated": "s = np.zeros(3)\n    for t in range(4):\n        s += x[t]\n    return s",
    "element by element": "y = np.empty((2, 2))\n    for i in range(2):\n        for j in range(2):\n"
    "            y[i, j] = (x[i:i + 2, j:j + 2] * K).sum()\n    return y",
    "updated in place": "h = np.exp(x)\n    h /= h.sum(axis=1, keepdims=True)\n    h -= 1\n    return h",
    "methods": "B = np.zeros((2, 3))\n    B[0] = x[0]\n    return B.sum(axis=0) + B.max() + B.T.mean(axis=1) + B[0]",
    "joined": "B = np.zeros((2, 3))\n    B[1] = x[0]\n    return np.concatenate([B, x]) + np.vstack([x, B])",
    "of an open size": "B = np.zeros((x.shape[0], 5))\n    B[:, 1:4] = x\n    return B",
}


@pytest.mark.parametrize("case", BUFFERS)
def test_a_buffer(case, tmp_path):
    text = f"import numpy as np\nK = np.array([[1.0, 2.0], [0.5, -1.0]])\ndef f(x):\n    {BUFFERS[case]}\n"
    function = run(text, tmp_path)["f"]
    graph = trace(function, x="float64[N,3]" if case == "of an open size" else "float64[4,3]")
    agree(function, graph, np.random.default_rng(2).normal(size=(4, 3)))


def test_numpy_is_put_back_even_after_an_error(tmp_path):
    names = run(
        "import numpy as np\ndef f(x):\n    B = np.zeros(3)\n    raise ValueError('mine')\n", tmp_path
    )
    with pytest.raises(ValueError, match="mine"):
        trace(names["f"], x="float64[3]")
    assert names["np"] is np
    good = run("import numpy as np\ndef f(x):\n    return np.zeros(3) + x\n", tmp_path, "good")
    trace(good["f"], x="float64[3]")
    assert good["np"] is np


def test_the_users_arrays_are_not_touched_and_not_shared(tmp_path):
    names = run("import numpy as np\nW = np.ones(3)\ndef f(x):\n    return x * W\n", tmp_path)
    graph = trace(names["f"], x="float64[3]")
    names["W"][:] = 7.0
    np.testing.assert_array_equal(graph.data["W"], np.ones(3))
    assert type(names["W"]) is np.ndarray


def test_arrays_of_whole_numbers_are_constants_and_of_numbers_parameters(tmp_path):
    text = """
        import numpy as np
        order, scale = np.array([2, 0, 1]), np.array([1.0, 2.0, 3.0])

        def make(shift):
            def f(x):
                return (x[:, order] + shift) * scale + np.arange(3.0)
            return f

        f = make(np.array([0.5, 0.25, 0.125]))
    """
    function = run(text, tmp_path)["f"]
    graph = trace(function, x="float64[N,3]")
    assert [leaf.name for leaf in graph.parameters] == ["shift", "scale"]
    assert graph.constants[0].name == "order"
    assert all(leaf.dtype.kind == "int" or leaf.name.startswith("constant") for leaf in graph.constants)
    agree(function, graph, np.random.default_rng(0).normal(size=(4, 3)))


def test_helpers_of_another_file_are_traced_too(tmp_path, monkeypatch):
    (tmp_path / "my_helpers.py").write_text(
        "import numpy as np\nSCALE = np.array([1.0, 2.0])\n\n"
        "def stretch(x):\n    return np.array([x[0], x[1]]) * SCALE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = run("from my_helpers import stretch\ndef f(x):\n    return stretch(x) + 1\n", tmp_path)
    graph = trace(names["f"], x="float64[2]")
    assert [leaf.name for leaf in graph.parameters] == ["SCALE"]
    agree(names["f"], graph, np.array([3.0, 4.0]))
    sys.modules.pop("my_helpers")


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        ("y", ("y",)),
        ("x * 3", ("output",)),
        ("y, z", ("y", "z")),
        ("y, x * 3", ("y", "output_1")),
        ("y, y", ("output_0", "output_1")),
        ("{'a': y, 'b': [z, y]}", ("a", "b.0", "b.1")),
        ("Pair(y, z)", ("first", "second")),
        ("x", ("output",)),
    ],
)
def test_outputs_have_names(returned, names, tmp_path):
    text = f"""
        import numpy as np
        from collections import namedtuple
        Pair = namedtuple("Pair", "first second")

        def f(x):
            y = np.tanh(x)
            z = np.exp(x)
            return {returned}
    """
    assert trace(run(text, tmp_path)["f"], x="float64[3]").output_names == names


def test_arguments_of_every_kind():
    def f(a, /, b, *, c, scale=2.0):
        return a + b * scale - c

    graph = trace(f, c="float64[3]", a="float64[3]", b="float64[3]")
    assert [leaf.name for leaf in graph.inputs] == ["a", "b", "c"]
    a, b, c = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(interpret(graph, [a, b, c])[0], a + b * 2.0 - c)

    def total(first, *more):
        return sum(more, first)

    graph = trace(total, first="float64[3]", second="float64[3]", third="float64[3]")
    np.testing.assert_array_equal(interpret(graph, [a, b, c])[0], a + b + c)

    def named(**tensors):
        return tensors["p"] - tensors["q"]

    graph = trace(named, p="float64[3]", q="float64[3]")
    np.testing.assert_array_equal(interpret(graph, [a, b])[0], a - b)


def test_an_open_size_gets_the_range_an_index_needs():
    def f(x):
        return x[2] + x[-1]

    graph = trace(f, x="float64[N,3]")
    assert graph.dims == {"N": (3, None)}
    with pytest.raises(Exception, match="index 2 is out of range"):
        trace_graph(f, {"x": "float64[N,3]"}, dims={"N": (1, 8)})


def test_a_declared_range_decides_a_branch_on_a_size():
    def f(x):
        return x * 2 if x.shape[0] > 1 else x

    assert trace_graph(f, {"x": "float64[N,3]"}, dims={"N": (2, 8)}).nodes
    with pytest.raises(TraceError, match="N <= 1 is not known"):
        trace(f, x="float64[N,3]")


def test_the_same_graph_each_time():
    def f(x):
        return np.tanh(x @ x.T)

    assert repr(trace(f, x="float64[N,3]")) == repr(trace(f, x="float64[N,3]"))


def double(x):
    return x * 2


def test_trace_takes_types_by_name_or_as_a_dictionary():
    one = graphc.trace(double, x="float32[N]")
    other = graphc.trace(double, inputs={"x": "float32[N]"}, dims={"N": (2, 8)})
    assert repr(one.inputs) == repr(other.inputs) and other.dims == {"N": (2, 8)}
    assert graphc.trace(
        lambda inputs, dims: inputs * dims, inputs="float32[N]", dims="float32[N]"
    ).output_names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": 3}, "inputs=3 is no dictionary of types"),
        ({"x": np.zeros(3)}, r"input x: an array float64\[3\] is no type"),
        ({"inputs": {"x": "float32[2]"}, "x": "float32[2]"}, "input x is given twice"),
    ],
)
def test_what_is_no_type(given, message):
    with pytest.raises(UsageError, match=message):
        graphc.trace(double, **given)
