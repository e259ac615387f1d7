"""Each layer equals PyTorch's: values, gradients and running statistics in float64."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from against_torch import check_module  # noqa: E402

from graphc import nn  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel:UserWarning"),
]

IMAGE, ROWS, SEQUENCE = (2, 4, 9, 8), (5, 6), (3, 4, 11)
LAYERS = [
    ("Linear", (6, 3), {}, ROWS),
    ("Linear", (6, 3), {"bias": False}, (2, 4, 6)),
    ("Conv2d", (4, 6, 3), {}, IMAGE),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "bias": False}, IMAGE),
    ("Conv2d", (4, 6, 3), {"padding": 2, "dilation": 2, "groups": 2}, IMAGE),
    ("Conv2d", (4, 8, 3), {"padding": "same", "groups": 4}, IMAGE),
    ("Conv2d", (4, 5, 4), {"padding": "same"}, IMAGE),
    ("Conv2d", (4, 5, 2), {"padding": "valid"}, IMAGE),
    ("Conv1d", (4, 5, 3), {"stride": 2, "padding": 1}, SEQUENCE),
    *[
        case
        for mode in ("reflect", "replicate", "circular")
        for case in [
            ("Conv1d", (4, 5, 3), {"stride": 2, "padding": 4, "padding_mode": mode}, SEQUENCE),
            ("Conv2d", (4, 5, (3, 4)), {"padding": (2, 1), "padding_mode": mode, "groups": 1}, IMAGE),
            ("Conv2d", (4, 6, (4, 3)), {"padding": "same", "padding_mode": mode, "dilation": 2}, IMAGE),
            ("Conv2d", (4, 4, 3), {"padding": "valid", "padding_mode": mode, "groups": 4}, IMAGE),
        ]
    ],
    ("MaxPool2d", (2,), {}, IMAGE),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1}, IMAGE),
    ("MaxPool2d", ((2, 3),), {"ceil_mode": True, "stride": 2}, IMAGE),
    ("MaxPool2d", (2,), {"dilation": 2, "stride": 1}, IMAGE),
    ("MaxPool1d", (3,), {"stride": 2}, SEQUENCE),
    ("AvgPool2d", (2,), {}, IMAGE),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1}, IMAGE),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True}, IMAGE),
    ("AvgPool1d", (2,), {}, SEQUENCE),
    ("AdaptiveAvgPool2d", ((1, 1),), {}, IMAGE),
    ("AdaptiveAvgPool2d", (1,), {}, IMAGE),
    ("AdaptiveAvgPool2d", ((3, 4),), {}, IMAGE),
    ("AdaptiveAvgPool2d", ((5, 3),), {}, IMAGE),
    ("AdaptiveAvgPool2d", ((None, 4),), {}, IMAGE),
    ("AdaptiveAvgPool1d", (1,), {}, SEQUENCE),
    ("AdaptiveAvgPool1d", (11,), {}, SEQUENCE),
    ("AdaptiveAvgPool1d", (4,), {}, SEQUENCE),
    ("AdaptiveMaxPool1d", (1,), {}, SEQUENCE),
    ("AdaptiveMaxPool1d", (4,), {}, SEQUENCE),
    ("AdaptiveMaxPool1d", (13,), {}, SEQUENCE),
    ("AdaptiveMaxPool2d", (1,), {}, IMAGE),
    ("AdaptiveMaxPool2d", ((3, 4),), {}, IMAGE),
    ("AdaptiveMaxPool2d", ((5, 3),), {}, IMAGE),
    ("AdaptiveMaxPool2d", ((None, 3),), {}, IMAGE),
    ("Flatten", (), {}, IMAGE),
    ("Flatten", (1, 2), {}, IMAGE),
    ("Dropout", (0.5,), {}, ROWS),
    ("BatchNorm2d", (4,), {}, IMAGE),
    ("BatchNorm2d", (4,), {"affine": False, "eps": 1e-3}, IMAGE),
    ("BatchNorm1d", (6,), {"momentum": 0.3}, ROWS),
    ("BatchNorm1d", (4,), {}, SEQUENCE),
    ("LayerNorm", (6,), {}, ROWS),
    ("LayerNorm", ((9, 8),), {"eps": 1e-3}, IMAGE),
    ("LayerNorm", (6,), {"elementwise_affine": False}, ROWS),
    ("LayerNorm", (6,), {"bias": False}, ROWS),
    ("ReLU", (), {}, ROWS),
    ("ReLU6", (), {}, ROWS),
    ("LeakyReLU", (0.1,), {}, ROWS),
    ("LeakyReLU", (), {}, ROWS),
    ("ELU", (), {}, ROWS),
    ("ELU", (0.3,), {}, ROWS),
    ("Sigmoid", (), {}, ROWS),
    ("Tanh", (), {}, ROWS),
    ("GELU", (), {}, ROWS),
    ("GELU", (), {"approximate": "tanh"}, ROWS),
    ("SiLU", (), {}, ROWS),
    ("Softplus", (), {}, ROWS),
    ("Softmax", (1,), {}, ROWS),
    ("Softmax", (-1,), {}, IMAGE),
    ("LogSoftmax", (1,), {}, IMAGE),
    ("Identity", (), {}, ROWS),
]
TRAINED = [case for case in LAYERS if case[0].startswith("BatchNorm")]


def draw(shape):
    return np.random.default_rng(3).normal(size=shape) * 2


def name(case):
    return f"{case[0]}{case[1]}{case[2] or ''}"


@pytest.mark.parametrize("case", LAYERS, ids=name)
def test_a_layer(case):
    kind, arguments, options, shape = case
    if kind == "Identity":  # its output is its input, which has no gradient graph
        assert nn.Identity()(3) == 3
        return
    check_module(
        getattr(nn, kind)(*arguments, **options),
        getattr(torch.nn, kind)(*arguments, **options),
        [draw(shape)],
    )


@pytest.mark.parametrize("case", TRAINED, ids=name)
def test_batch_norm_in_training_moves_its_statistics(case):
    kind, arguments, options, shape = case
    graph = check_module(
        getattr(nn, kind)(*arguments, **options),
        getattr(torch.nn, kind)(*arguments, **options),
        [draw(shape)],
        training=True,
        open_batch=False,
    )
    assert {"new.running_mean", "new.running_var", "new.num_batches_tracked"} <= set(graph.output_names)


@pytest.mark.parametrize(
    "kind, shape", [("AdaptiveMaxPool1d", (2, 3, 11)), ("AdaptiveMaxPool2d", (2, 3, 7, 5))]
)
def test_of_equal_maxima_the_first_gets_the_gradient(kind, shape):
    check_module(getattr(nn, kind)(3), getattr(torch.nn, kind)(3), [np.zeros(shape)])
    check_module(getattr(nn, kind)(1), getattr(torch.nn, kind)(1), [np.zeros(shape)])


def test_embedding():
    words = np.array([[1, 0, 4], [4, 4, 2]])
    check_module(nn.Embedding(5, 3), torch.nn.Embedding(5, 3), [words])


LOSSES = [
    ("MSELoss", lambda rng: (rng.normal(size=(5, 3)), rng.normal(size=(5, 3)))),
    ("L1Loss", lambda rng: (rng.normal(size=(5, 3)), rng.normal(size=(5, 3)))),
    ("CrossEntropyLoss", lambda rng: (rng.normal(size=(5, 3)), rng.integers(0, 3, 5))),
    ("CrossEntropyLoss", lambda rng: (rng.normal(size=(5, 3, 4)), rng.integers(0, 3, (5, 4)))),
    ("CrossEntropyLoss", lambda rng: (rng.normal(size=(5, 3)), rng.dirichlet(np.ones(3), 5))),
    ("NLLLoss", lambda rng: (rng.normal(size=(5, 3)), rng.integers(0, 3, 5))),
    ("BCELoss", lambda rng: (rng.uniform(0.1, 0.9, (5, 3)), rng.uniform(0, 1, (5, 3)))),
    ("BCEWithLogitsLoss", lambda rng: (rng.normal(size=(5, 3)) * 4, rng.uniform(0, 1, (5, 3)))),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case[0])
def test_a_loss(case, reduction):
    kind, arrays = case
    check_module(
        getattr(nn, kind)(reduction=reduction),
        getattr(torch.nn, kind)(reduction=reduction),
        list(arrays(np.random.default_rng(2))),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_probabilities(smoothing):
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=(5, 3)), rng.dirichlet(np.ones(3), 5)]
    check_module(
        nn.CrossEntropyLoss(label_smoothing=smoothing),
        torch.nn.CrossEntropyLoss(label_smoothing=smoothing),
        arrays,
    )


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_in_training_keeps_the_mean_and_masks_its_gradient(p):
    from graphc.autodiff import differentiate
    from graphc.frontends.python.tracer import trace_graph
    from graphc.interpret import interpret

    graph = trace_graph(nn.Dropout(p), {"x": "float64[N,1000]"}, training=True)
    assert ("seed" in [leaf.name for leaf in graph.inputs]) == (p > 0)
    if p == 0:
        return
    x = np.ones((20, 1000))
    first, again, other = (interpret(graph, {"x": x, "seed": np.uint64(s)})[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    if p < 1:
        assert (first != other).any()
        assert set(np.unique(first)) == {0.0, 1 / (1 - p)}
        deviation = np.sqrt(p / (1 - p) / x.size)
        assert abs(first.mean() - 1) < 5 * deviation
    whole = differentiate(graph, ["x"])
    given = {
        "x": x,
        "seed": np.uint64(1),
        **{v.name: x for v in whole.inputs if v.name.startswith("cotangent")},
    }
    np.testing.assert_array_equal(interpret(whole, given)[1], first)
