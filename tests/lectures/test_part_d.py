"""Every network of the lectures: traced, differentiated, drawn, compiled by both backends, compared with PyTorch."""

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.frontends.python.model_file import load_model_file
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret
from graphc.ir.verifier import verify
from graphc.view import make_picture
from graphc.view.draw import engines
from graphc.view.render_ir import Role
from tests.lectures.networks import EXAMPLES, NETWORKS, build, example, in_torch
from tests.lectures.running import BACKENDS

EVERY = pytest.mark.parametrize("name", NETWORKS)
HAVE_BATCH_NORM = [
    n for n, (file, *_) in NETWORKS.items() if "BatchNorm2d" in (EXAMPLES / file).read_text("utf-8")
]


def traced(net, x, training=False):
    return trace_graph(net, {"x": f"float64[N,{','.join(map(str, x.shape[1:]))}]"}, training=training)


def gradient(graph):
    """Forward and backward by the input and by all parameters, with an input that the backward pass starts from."""
    wrt = ["x", *(leaf.name for leaf in graph.parameters)]
    return graphc.differentiate(graph, wrt=wrt, of=graph.output_names[0])


def arrays_for(joint, x, cotangent):
    return {v.name: x if v.name == "x" else cotangent for v in joint.inputs}


def same(result, expected, what, relative=1e-9):
    """Within 1e-9 of the largest element, the project's bound for float64."""
    assert result.shape == expected.shape, what
    bound = relative * max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=bound, err_msg=what)


@EVERY
def test_both_backends_equal_the_interpreter(name):
    net, x = build(name)
    graph = verify(traced(net, x))
    joint = verify(gradient(graph))
    assert all(node.provenance.span is not None for node in graph.nodes)
    (y, *_) = interpret(graph, {"x": x})
    arrays = arrays_for(joint, x, np.random.default_rng(0).normal(size=y.shape))
    expected = interpret(joint, arrays)
    for backend in BACKENDS:
        executable = graphc.compile(joint, backend=backend)
        results = executable(*(arrays[port.name] for port in executable.inputs))
        for output, result, oracle in zip(joint.output_names, results, expected, strict=True):
            same(result, oracle, f"{backend}: {output}")


@EVERY
def test_forward_and_backward_are_drawn(name):
    net, x = build(name)
    graph = traced(net, x)
    picture = make_picture(gradient(graph))
    assert any(node.backward for node in picture.nodes)
    assert make_picture(graph).nodes
    if not engines():
        pytest.skip("no Graphviz here")
    svg = graphc.render(graph)
    assert "<svg" in (svg if isinstance(svg, str) else svg.decode())


def as_in_torch(name, folder, training):
    """Our network, PyTorch's with the same weights, an input, and PyTorch's output."""
    torch = pytest.importorskip("torch")
    net, x = build(name)
    file, made_by, arguments, _ = NETWORKS[name]
    theirs = getattr(in_torch(file, folder), made_by)(**arguments).double().train(training)
    ours = net.state_dict()
    assert list(ours) == list(theirs.state_dict())
    theirs.load_state_dict({key: torch.tensor(array) for key, array in ours.items()})
    for module in (*net.modules(), *theirs.modules()):
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    given = torch.tensor(x, requires_grad=True)
    return net, theirs, x, given, theirs(given)


def check_against_torch(name, folder, training):
    import torch

    net, theirs, x, given, y = as_in_torch(name, folder, training)
    graph = traced(net, x, training)
    joint = gradient(graph)
    cotangent = np.random.default_rng(0).normal(size=tuple(y.shape))
    (y * torch.tensor(cotangent)).sum().backward()
    results = dict(zip(joint.output_names, interpret(joint, arrays_for(joint, x, cotangent))))
    same(results[graph.output_names[0]], y.detach().numpy(), "output")
    same(results["grad.x"], given.grad.numpy(), "gradient of x")
    parameters = dict(theirs.named_parameters())
    assert set(parameters) == {leaf.name for leaf in graph.parameters}
    for key, parameter in parameters.items():
        same(results[f"grad.{key}"], parameter.grad.numpy(), f"gradient of {key}")
    if training:
        for key, buffer in theirs.named_buffers():
            same(results[f"new.{key}"], buffer.numpy(), key)


@pytest.mark.torch
@EVERY
def test_outputs_and_gradients_equal_pytorch(name, tmp_path):
    check_against_torch(name, tmp_path, training=False)


@pytest.mark.torch
@pytest.mark.parametrize("name", HAVE_BATCH_NORM)
def test_training_equals_pytorch(name, tmp_path):
    check_against_torch(name, tmp_path, training=True)


# What the papers say --------------------------------------------------------------------------------------------------

PARAMETERS = {
    ("alexnet.py", "AlexNet"): 61_100_840,
    ("networks/vgg.py", "VGG16"): 138_357_544,
    ("networks/vgg.py", "VGG19"): 143_667_240,
    ("networks/resnet.py", "ResNet18"): 11_689_512,
    ("networks/resnet.py", "ResNet34"): 21_797_672,
    ("networks/resnet.py", "ResNet50"): 25_557_032,
    ("networks/densenet.py", "DenseNet"): 7_978_856,
    ("networks/squeezenet.py", "SqueezeNet"): 1_248_424,
    ("networks/googlenet.py", "GoogLeNet"): 6_998_552,
    ("networks/zfnet.py", "ZFNet"): 62_357_608,
    ("networks/lenet5.py", "LeNet5"): 61_706,
    ("lenet.py", "Net"): 81_194,
}


@pytest.fixture
def without_initial_values(monkeypatch):
    """Drawing 140 million numbers that nobody looks at takes seconds."""
    for name in ("uniform_", "normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *bounds: tensor)


@pytest.mark.parametrize(("file", "made_by"), PARAMETERS)
def test_parameters_at_full_size(file, made_by, without_initial_values):
    module = example(file)
    net = getattr(module, made_by)()
    summary = graphc.summary(net, module.inputs)
    assert summary.parameters == PARAMETERS[file, made_by]
    outputs = summary.rows[-1].output
    assert outputs == (f"float32[N,{1000 if PARAMETERS[file, made_by] > 100_000 else 10}]",)


def test_the_residual_highway_is_a_sum_in_the_backward_graph():
    net, x = build("ResNet-18")
    joint = gradient(traced(net, x))
    sums = [node for node in joint.nodes if node.op.name == "add_n"]
    assert len(sums) >= 8  # one for each block
    picture = make_picture(joint, depth=9)
    assert sum(node.role is Role.ACCUMULATE for node in picture.nodes) >= 8


def test_two_matrices_in_a_row_are_one():
    collapsed, _ = build("two layers without a non-linearity")
    x = np.random.default_rng(0).normal(size=(5, 64))
    both = collapsed.fc2.weight.array @ collapsed.fc1.weight.array
    graph = traced(collapsed, x)
    same(interpret(graph, {"x": x})[0], x @ both.T, "W2·W1", relative=1e-12)
    compiled = graphc.compile(graph)
    assert [node.op.name for node in compiled.lowered.graph.nodes] == ["matmul"]  # one product is left
    same(compiled(x), x @ both.T, "W2·W1", relative=1e-12)
    assert "fold_linear" in str(graphc.explain(graph, after="all"))


def test_random_graphs_have_no_cycle_and_follow_their_seed():
    wired = example("networks/random_wired.py")
    edges = wired.small_world(12, seed=3)
    assert edges == wired.small_world(12, seed=3) != wired.small_world(12, seed=4)
    assert all(i < j for i, j in edges) and len(set(edges)) == len(edges) >= 12


@pytest.mark.parametrize("file", sorted(path.name for path in (EXAMPLES / "networks").glob("*.py")))
def test_every_file_is_a_model_file_and_tested(file, without_initial_values):
    text = (EXAMPLES / "networks" / file).read_text("utf-8")
    assert 25 <= len(text.splitlines()) <= 150
    if "\ninputs = " in text:
        assert load_model_file(str(EXAMPLES / "networks" / file)).inputs
        assert f"networks/{file}" in {row[0] for row in NETWORKS.values()}


# Losses of the linear models


def linear_losses(module, x, labels, target):
    """Each loss of linear.py with its network, as the lectures pair them."""
    scores = module.LinearClassifier()
    line = module.LinearRegression()
    return {
        "hinge": (scores, lambda: module.with_penalty(module.hinge(scores(x), labels), scores, 0.1)),
        "least squares": (
            line,
            lambda: module.with_penalty(module.squared_error(line(x), target), line, 0.1),
        ),
    }


@pytest.mark.torch
@pytest.mark.parametrize("which", ["hinge", "least squares"])
def test_losses_of_linear_models_equal_pytorch(which, tmp_path):
    torch = pytest.importorskip("torch")
    graphc.manual_seed(3)
    rng = np.random.default_rng(3)
    x, labels, target = rng.normal(size=(6, 4)), rng.integers(0, 3, 6), rng.normal(size=6)
    ours = linear_losses(example("networks/linear.py"), *map(graphc.tensor, (x, labels, target)))
    theirs = linear_losses(in_torch("networks/linear.py", tmp_path), *map(torch.tensor, (x, labels, target)))
    (net, loss), (other, other_loss) = ours[which], theirs[which]
    net.double()
    other.double().load_state_dict({key: torch.tensor(array) for key, array in net.state_dict().items()})
    value, expected = loss(), other_loss()
    value.backward()
    expected.backward()
    same(value.numpy(), expected.detach().numpy(), "loss", 1e-12)
    for name, parameter in other.named_parameters():
        same(dict(net.named_parameters())[name].grad.numpy(), parameter.grad.numpy(), name, 1e-12)


def test_hinge_is_the_op_of_its_name():
    from graphc import ops
    from graphc.ir.builder import Builder
    from graphc.ir.types import parse_type

    linear = example("networks/linear.py")
    rng = np.random.default_rng(5)
    scores, labels = rng.normal(size=(6, 3)), rng.integers(0, 3, 6)
    with Builder("svm") as builder:
        leaves = [
            builder.leaf("input", "x", parse_type("float64[N,3]")),
            builder.leaf("input", "labels", parse_type("int64[N]")),
        ]
        result = ops.multiclass_hinge_loss(*leaves)
    (expected,) = interpret(builder.finish([result], ["loss"]), [scores, labels])
    same(linear.hinge(graphc.tensor(scores), graphc.tensor(labels)).numpy(), expected, "hinge", 1e-14)


def test_the_penalty_leaves_the_intercept_out():
    linear = example("networks/linear.py")
    net = linear.LinearRegression()
    net.fc.bias.data = np.array([7.0], np.float32)
    weights = net.fc.weight.numpy()
    found = linear.with_penalty(graphc.tensor(np.float32(0)), net, 0.5).item()
    assert found == pytest.approx(0.5 * float((weights**2).sum()), rel=1e-6)
