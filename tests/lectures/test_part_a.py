"""The worked numbers of the lectures, A1 to A16, each computed by the interpreter, both backends and lazy tensors."""

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, ops
from graphc.frontends.python.tracer import trace_graph
from graphc.gradcheck import gradient_check
from graphc.ir.builder import Builder
from graphc.ir.types import int64, parse_type
from graphc.view import make_picture
from graphc.view.render_ir import Kind, Role
from tests.lectures.running import close, everywhere, output, types_of, value_and_gradients

RNG = np.random.default_rng(7)


def planes(rows):
    """A list of rows as a batch of one image with one channel."""
    return np.array(rows, np.float64)[None, None]


# A1 to A6: circuits --------------------------------------------------------------------------------------------------


def test_a1_product_and_sum():
    def f(x, y, z):
        g = x * y
        return g + z

    found = value_and_gradients(f, ("g",), x=-3.0, y=5.0, z=2.0)
    assert found["output"] == -13
    assert (found["grad.x"], found["grad.y"], found["grad.z"], found["grad.g"]) == (5, -3, 1, 1)


def test_a2_the_circuit_of_cs231n():
    def f(x, y, z):
        q = x + y
        return q * z

    found = value_and_gradients(f, ("q",), x=-2.0, y=5.0, z=-4.0)
    assert found["output"] == -12
    assert (found["grad.x"], found["grad.y"], found["grad.z"], found["grad.q"]) == (-4, -4, 3, -4)
    graph = graphc.trace(f, x="float64", y="float64", z="float64")
    assert everywhere_q(graph) == 3


def everywhere_q(graph):
    """The value inside the circuit, as the picture shows it."""
    from graphc.interpret import evaluate

    arrays = {"x": np.float64(-2), "y": np.float64(5), "z": np.float64(-4)}
    return evaluate(graph, arrays)[graph.value("q")]


W3, X3 = [[0.4, 0.6], [0.7, -0.2]], [0.5, 0.3]


def test_a3_square_of_a_linear_map():
    def f(W, x):
        return ((W @ x) ** 2).sum()

    found = value_and_gradients(f, W=W3, x=X3)
    close(found["output"], 0.38**2 + 0.29**2)
    close(found["grad.W"], [[0.38, 0.228], [0.29, 0.174]])
    close(found["grad.x"], [0.71, 0.34])


def test_a3_one_step_of_descent():
    W, x = nn.Parameter(np.array(W3)), nn.Parameter(np.array(X3))
    optimizer = graphc.optim.SGD([W, x], lr=0.1)
    ((W @ x) ** 2).sum().backward()
    optimizer.step()
    close(W, [[0.362, 0.5772], [0.671, -0.2174]])
    close(x, [0.429, 0.266])


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a3_one_compiled_step(backend):
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.x = nn.Parameter(np.array(W3)), nn.Parameter(np.array(X3))

        def forward(self, rate):
            return ((self.W @ self.x) ** 2).sum() * rate

    net = Square()
    step = graphc.compile_step(
        net,
        lambda y, target: y - target,
        graphc.optim.SGD(net.parameters(), lr=0.1),
        {"rate": "float64"},
        {"target": "float64"},
        backend=backend,
    )
    close(step(np.float64(1), np.float64(0)), 0.38**2 + 0.29**2)
    close(net.W, [[0.362, 0.5772], [0.671, -0.2174]])
    close(net.x, [0.429, 0.266])


def test_a4_numeric_gradient():
    close(output(lambda up, down, h: (up - down) / h, up=1.6693, down=1.6688, h=0.001), 0.5, terms=1 << 13)
    W = RNG.normal(size=(3, 2))
    graph = graphc.trace(lambda W, x: F.tanh(W @ x).sum(), W="float64[3,2]", x="float64[2]")
    check = gradient_check(graph, {"W": W, "x": np.array([0.5, 0.3])})
    assert check.passed
    assert {entry.name for entry in check.entries} == {"W", "x"}
    analytic = [entry.analytic for entry in check.by_name()["W"].entries]
    numeric = [entry.numeric for entry in check.by_name()["W"].entries]
    np.testing.assert_allclose(numeric, analytic, rtol=1e-8)
    assert numeric != analytic  # one is measured, the other derived


def test_a5_gradients_of_branches_add_up():
    def two_losses(x):
        return (3.0 * x).sum() + x.exp().sum()

    def skip(x):
        return (F.tanh(x) + x).sum()

    x = np.array([0.5, -1.0, 2.0])
    close(value_and_gradients(two_losses, x=x)["grad.x"], 3 + np.exp(x))
    close(value_and_gradients(skip, x=x)["grad.x"], (1 - np.tanh(x) ** 2) + 1)
    for function in (two_losses, skip):
        joint = graphc.differentiate(graphc.trace(function, x="float64[3]"))
        (total,) = [node for node in joint.nodes if node.op.name == "add_n"]
        assert total.provenance.role == "backward"
        assert total.output is joint.outputs[joint.output_names.index("grad.x")]
        picture = make_picture(joint)
        (box,) = [
            node for node in picture.nodes if node.role is Role.ACCUMULATE
        ]  # the sum is a box of the picture
        into = [edge for edge in picture.edges if edge.kind is Kind.GRADIENT and edge.target == box.id]
        assert len(into) == len(total.inputs)


# A6: sigmoid, logistic output, the delta recursion ------------------------------------------------------------------


def sigma(z):
    return 1 / (1 + np.exp(-z))


def test_a6_slope_of_sigmoid():
    z = np.linspace(-4, 4, 9)
    found = value_and_gradients(lambda z: F.sigmoid(z).sum(), z=z)
    close(found["grad.z"], sigma(z) * (1 - sigma(z)))
    assert value_and_gradients(lambda z: F.sigmoid(z).sum(), z=0.0)["grad.z"] == 0.25


def test_a6_delta_of_the_logistic_output():
    z, y = np.array([-2.0, 0.5, 3.0]), np.array([0.0, 1.0, 1.0])

    def likelihood(z, y):  # as in the deck: without the minus
        a = F.sigmoid(z)
        return (y * a.log() + (1.0 - y) * (1.0 - a).log()).sum()

    close(value_and_gradients(likelihood, z=z, y=y)["grad.z"], y - sigma(z))

    def loss(z, y):
        return F.binary_cross_entropy_with_logits(z, y, reduction="sum")

    close(value_and_gradients(loss, z=z, y=y)["grad.z"], sigma(z) - y)


def test_a6_delta_recursion():
    sizes = (3, 5, 4, 1)
    weights = [RNG.normal(size=(b, a)) for a, b in zip(sizes, sizes[1:])]
    x, y = RNG.normal(size=3), 1.0

    def likelihood(W1, W2, W3, x):
        z1 = W1 @ x
        z2 = W2 @ F.sigmoid(z1)
        z3 = W3 @ F.sigmoid(z2)
        a = F.sigmoid(z3)
        return (y * a.log() + (1.0 - y) * (1.0 - a).log()).sum()

    W1, W2, W3 = weights
    found = value_and_gradients(likelihood, ("z1", "z2", "z3"), W1=W1, W2=W2, W3=W3, x=x)
    a1 = sigma(W1 @ x)
    a2 = sigma(W2 @ a1)
    delta = y - sigma(W3 @ a2)
    close(found["grad.z3"], delta)
    close(found["grad.W3"], np.outer(delta, a2))
    for name, a, below, W in (("2", a2, a1, W3), ("1", a1, x, W2)):
        delta = a * (1 - a) * (W.T @ delta)
        close(found[f"grad.z{name}"], delta)
        close(found[f"grad.W{name}"], np.outer(delta, below))


# A7 to A11: convolution ---------------------------------------------------------------------------------------------


def test_a7_convolution_in_one_dimension():
    x, theta = np.array([1.0, 1, 1, 0, 0])[None, None], np.array([1.0, 0, 1])[None, None]
    assert output(F.conv1d, x=x, weight=theta).tolist() == [[[2, 1, 1]]]
    assert np.correlate(x[0, 0], theta[0, 0]).tolist() == [2, 1, 1]


IMAGE = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_a8_convolution_in_two_dimensions():
    y = output(F.conv2d, x=planes(IMAGE), weight=planes(CROSS))
    assert y[0, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


def matrix_of(kernel, height, width):
    """The matrix that does what a convolution does to the flattened image."""
    rows = height - kernel.shape[0] + 1, width - kernel.shape[1] + 1
    matrix = np.zeros((*rows, height, width))
    for i, j in np.ndindex(rows):
        matrix[i, j, i : i + kernel.shape[0], j : j + kernel.shape[1]] = kernel
    return matrix.reshape(rows[0] * rows[1], height * width)


def test_a9_convolution_is_one_matrix_product():
    k1, k2, k3, k4 = 2.0, 3.0, 5.0, 7.0
    matrix = matrix_of(np.array([[k1, k2], [k3, k4]]), 3, 3)
    assert matrix.tolist() == [
        [k1, k2, 0, k3, k4, 0, 0, 0, 0],
        [0, k1, k2, 0, k3, k4, 0, 0, 0],
        [0, 0, 0, k1, k2, 0, k3, k4, 0],
        [0, 0, 0, 0, k1, k2, 0, k3, k4],
    ]
    image = np.arange(1.0, 10.0)
    convolved = output(F.conv2d, x=image.reshape(1, 1, 3, 3), weight=planes([[k1, k2], [k3, k4]]))
    close(output(lambda M, x: M @ x, M=matrix, x=image), convolved.ravel())
    # The derivative of the convolution by its image is that matrix, transposed, times what comes back.
    ct = np.array([1.0, -2, 3, -4])
    found = value_and_gradients(
        lambda x: (F.conv2d(x, planes([[k1, k2], [k3, k4]])).reshape(-1) * ct).sum(),
        x=image.reshape(1, 1, 3, 3),
    )
    close(found["grad.x"].ravel(), matrix.T @ ct)


def conv_size(size, kernel, stride=1, padding=0):
    """The size a convolution gives, and what the summary notes."""
    layer = nn.Conv2d(1, 1, kernel, stride=stride, padding=padding).double()
    types = {"x": f"float64[1,1,{size},{size}]"}
    y = everywhere(trace_graph(layer, types), {"x": RNG.normal(size=(1, 1, size, size))})["output"]
    assert y.shape[2] == y.shape[3] == (size + 2 * padding - kernel) // stride + 1
    return y.shape[2], graphc.summary(layer, types).notes


def test_a10_output_sizes():
    assert conv_size(7, 3) == (5, ())
    assert conv_size(7, 3, stride=2) == (3, ())
    assert conv_size(7, 3, padding=1) == (7, ())
    assert [conv_size(32, 5)[0], conv_size(28, 5)[0]] == [28, 24]
    for kernel, padding in ((3, 1), (5, 2), (7, 3)):
        assert conv_size(16, kernel, padding=padding) == (16, ())


def test_a10_a_stride_that_does_not_fit():
    size, notes = conv_size(7, 3, stride=3)
    assert size == 2
    (note,) = notes
    assert "the last row and the last column of 7 x 7 are never read" in note
    assert "(7 - 3)/3 + 1 is not whole" in note
    assert note in str(graphc.summary(nn.Conv2d(1, 1, 3, stride=3), {"x": "float32[N,1,7,7]"}))
    # What is not read of the padding is not worth a word.
    assert conv_size(8, 3, stride=2, padding=1) == (4, ())
    pool = graphc.summary(nn.MaxPool2d((1, 4)), {"x": "float32[N,1,5,11]"})
    assert "the last 3 columns of 5 x 11 are never read" in pool.notes[0]
    assert graphc.summary(nn.MaxPool2d(2, ceil_mode=True), {"x": "float32[N,1,5,5]"}).notes == ()


def test_a11_parameters_and_shapes():
    ten = graphc.summary(nn.Conv2d(3, 10, 5, padding=2), {"x": "float32[N,3,32,32]"})
    assert ten.parameters == 5 * 5 * 3 * 10 + 10 == 760
    assert ten.rows[-1].output == ("float32[N,10,32,32]",)
    six = nn.Conv2d(3, 6, 5).double()
    assert six.weight.shape == (6, 3, 5, 5)
    assert graphc.summary(six, {"x": "float64[1,3,32,32]"}).rows[-1].output == ("float64[1,6,28,28]",)
    x = RNG.normal(size=(2, 3, 32, 32))
    graph = trace_graph(six, {"x": "float64[N,3,32,32]"})
    assert everywhere(graph, {"x": x}, terms=256)["output"].shape == (2, 6, 28, 28)


# A12 and A13: pooling -----------------------------------------------------------------------------------------------


def test_a12_max_pool_of_two():
    x = planes([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])
    assert output(lambda x: F.max_pool2d(x, 2, stride=2), x=x)[0, 0].tolist() == [[6, 8], [3, 4]]
    taken = value_and_gradients(lambda x: F.max_pool2d(x, 2, stride=2).sum(), x=x)["grad.x"][0, 0]
    assert taken.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_a13_max_pool_of_three():
    x = planes([[1, 3, 2, 7, 2], [5, 1, 3, 0, 5], [4, 8, 5, 0, 6], [3, 2, 6, 0, 8], [0, 7, 4, 6, 9]])
    assert output(lambda x: F.max_pool2d(x, 3, stride=2), x=x)[0, 0].tolist() == [[8, 7], [8, 9]]
    # The 8 is the largest of two windows: what comes back adds up.
    taken = value_and_gradients(lambda x: F.max_pool2d(x, 3, stride=2).sum(), x=x)["grad.x"][0, 0]
    assert (taken[2, 1], taken[0, 3], taken[4, 4], taken.sum()) == (2, 1, 1, 4)


# A14 and A15: how many parameters -----------------------------------------------------------------------------------


def declared(function, inputs, **parameters):
    """A graph whose parameters have types but no arrays: nobody needs 64 GB to count them."""
    with Builder("net") as builder:
        leaves = [builder.leaf("input", name, parse_type(text)) for name, text in inputs.items()]
        leaves += [builder.leaf("parameter", name, parse_type(text)) for name, text in parameters.items()]
        result = function(*leaves)
    return builder.finish([result], ["output"])


def locally_connected(x, w, *, kernel):
    """Each place of the output has weights of its own: x[N, 1, H, W], w[places, kernel², features]."""
    size = x.shape[2]
    low, high = (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2
    taps = ops.reshape(
        ops.one_hot(ops.iota(shape=(kernel**2,), axis=0, dtype=int64), classes=kernel**2, dtype=x.dtype),
        shape=(kernel**2, 1, kernel, kernel),
    )
    patches = ops.conv(
        x, taps, strides=(1, 1), padding=((low, high), (low, high)), dilation=(1, 1), groups=1
    )  # [N, kernel², H, W]
    columns = ops.transpose(
        ops.reshape(patches, shape=(x.shape[0], kernel**2, size * size)), permutation=(2, 0, 1)
    )
    return ops.matmul(columns, w)  # [places, N, features]


def test_a14_sizes_that_forbid_full_connection():
    full = declared(ops.linear, {"x": "float32[N,40000]"}, w="float32[400000,40000]")
    assert graphc.summary(full).parameters == 16_000_000_000
    local = declared(
        lambda x, w: locally_connected(x, w, kernel=10),
        {"x": "float32[N,1,200,200]"},
        w="float32[40000,100,10]",
    )
    assert local.outputs[0].type.size == 400_000 * local.inputs[0].type.shape[0]
    assert graphc.summary(local).parameters == 40_000_000
    classes = declared(ops.linear, {"x": "float32[N,270000]"}, w="float32[1000,270000]")
    assert graphc.summary(classes).parameters == 300 * 300 * 3 * 1000 == 270_000_000


def test_a14_locally_connected_at_a_small_size():
    x, w = RNG.normal(size=(2, 1, 6, 6)), RNG.normal(size=(36, 9, 2))
    graph = declared(
        lambda x, w: locally_connected(x, w, kernel=3), {"x": "float64[2,1,6,6]", "w": "float64[36,9,2]"}
    )
    y = everywhere(graph, {"x": x, "w": w})["output"]
    around = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)))
    for place, (i, j) in enumerate(np.ndindex(6, 6)):
        close(y[place], around[:, i : i + 3, j : j + 3].reshape(2, 9) @ w[place])


class Sparse(nn.Module):
    """Each node sees itself and its two neighbours, with weights of its own."""

    def __init__(self, n):
        super().__init__()
        self.left, self.here, self.right = (nn.Parameter(RNG.normal(size=k)) for k in (n - 1, n, n - 1))

    def forward(self, x):
        left, right = F.pad(x[:, :-1] * self.left, (1, 0)), F.pad(x[:, 1:] * self.right, (0, 1))
        return left + self.here * x + right


class Shared(nn.Module):
    """The same three weights at every node: a convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False, dtype=np.float64)

    def forward(self, x):
        return self.conv(x.unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("n", [3, 8])
def test_a15_full_sparse_and_shared(n):
    x = RNG.normal(size=(2, n))
    sparse, shared = Sparse(n), Shared()
    layers = {n * n: nn.Linear(n, n, bias=False, dtype=np.float64), 3 * n - 2: sparse, 3: shared}
    results = {}
    for count, layer in layers.items():
        graph = trace_graph(layer, types_of({"x": x}))
        assert graphc.summary(graph).parameters == count
        results[count] = everywhere(graph, {"x": x})["output"]
    a, b, c = (np.asarray(each) for each in (sparse.left, sparse.here, sparse.right))
    close(results[3 * n - 2], x @ (np.diag(b) + np.diag(a, -1) + np.diag(c, 1)).T)
    theta = np.asarray(shared.conv.weight).ravel()
    equal = [np.full(k, t) for k, t in zip((n - 1, n, n - 1), theta)]
    close(results[3], x @ (np.diag(equal[1]) + np.diag(equal[0], -1) + np.diag(equal[2], 1)).T)


# A16: filters -------------------------------------------------------------------------------------------------------

FILTERS = {
    "corners": [[1, 0, -1], [0, 0, 0], [-1, 0, 1]],
    "laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "outline": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box": np.full((3, 3), 1 / 9),
    "gauss": np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16,
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "shift": [[0, 0, 0], [1, 0, 0], [0, 0, 0]],
}


def by_hand(image, kernel):
    """The filter written as a sum of shifted images."""
    height, width = image.shape
    around = np.pad(image, 1)
    return sum(kernel[i][j] * around[i : i + height, j : j + width] for i, j in np.ndindex(3, 3))


def filtered(image):
    kernels = np.array([FILTERS[name] for name in FILTERS])[:, None]
    graph = trace_graph(
        lambda x, w: F.conv2d(x, w, padding=1), types_of({"x": image[None, None], "w": kernels})
    )
    results = everywhere(graph, {"x": image[None, None], "w": kernels})["output"][0]
    return dict(zip(FILTERS, results, strict=True))


def check_filters(image):
    found = filtered(image)
    for name, kernel in FILTERS.items():
        close(found[name], by_hand(image, kernel))
    inside = (slice(1, -1), slice(1, -1))
    assert np.array_equal(found["identity"], image)
    assert np.array_equal(found["shift"][:, 1:], image[:, :-1]) and not found["shift"][:, 0].any()
    close(found["sharpen"], image - found["laplace"])
    assert found["box"][inside].var() < image[inside].var() < found["sharpen"][inside].var()
    assert found["gauss"][inside].var() < image[inside].var()


def test_a16_filters_keep_or_remove_a_constant():
    found = filtered(np.ones((5, 5)))
    centre = {name: plane[2, 2] for name, plane in found.items()}
    for name in ("corners", "laplace", "outline"):
        assert centre[name] == 0
    for name in ("sharpen", "box", "gauss", "identity", "shift"):
        close(centre[name], 1.0)


def test_a16_filters_of_a_drawing():
    check_filters(np.kron(np.array(IMAGE, np.float64), np.ones((4, 4))) + np.linspace(0, 0.5, 20))


def test_a16_filters_of_a_photograph():
    pytest.importorskip("PIL", reason="the photograph is a JPEG, which Pillow reads")
    from sklearn.datasets import load_sample_image

    photograph = load_sample_image("china.jpg").astype(np.float64) / 255
    assert photograph.shape == (427, 640, 3)
    check_filters(photograph.mean(axis=2)[100:260, 200:440])
