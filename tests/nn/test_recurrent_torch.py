"""Recurrent layers, attention, transposed convolution, group norm: PyTorch's in float64; both backends agree."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from against_torch import same  # noqa: E402

import graphc  # noqa: E402
from graphc import nn  # noqa: E402
from graphc.autodiff import differentiate  # noqa: E402
from graphc.errors import UnsupportedError, UsageError  # noqa: E402
from graphc.frontends.python.tracer import trace_graph  # noqa: E402
from graphc.interpret import interpret  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning")]


def flat(result):
    return [one for part in result for one in flat(part)] if isinstance(result, tuple) else [result]


def drawn(shape):
    return np.random.default_rng([7, *shape]).normal(size=shape)


def check(ours, theirs, arrays, call=lambda module, *a: module(*a)):
    """Every output and the gradient of their weighted sum by inputs and parameters."""
    ours, theirs = ours.double(), theirs.double().eval()
    theirs.zero_grad()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    tensors = {n: torch.tensor(a, requires_grad=a.dtype.kind == "f") for n, a in arrays.items()}
    outputs = [y for y in flat(call(theirs, *tensors.values())) if y is not None]
    weights = [drawn(tuple(y.shape)) for y in outputs]
    sum((y * torch.tensor(w)).sum() for y, w in zip(outputs, weights)).backward()

    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = ours

        def forward(self, **given):
            results = [y for y in flat(call(self.inner, *given.values())) if y is not None]
            total = sum((y * w).sum() for y, w in zip(results, weights, strict=True))
            return {"total": total, **{f"y{i}": y for i, y in enumerate(results)}}

    types = {n: f"{a.dtype}[{','.join(map(str, a.shape))}]" for n, a in arrays.items()}
    graph = trace_graph(Weighted(), types)
    wrt = [n for n, a in arrays.items() if a.dtype.kind == "f"]
    wrt += [f"inner.{n}" for n, _ in ours.named_parameters()]
    whole = differentiate(graph, wrt, of="total")
    found = dict(zip(whole.output_names, interpret(whole, arrays)))
    for i, y in enumerate(outputs):
        same(found[f"y{i}"], y, f"output {i}")
    for name, parameter in theirs.named_parameters():
        same(found[f"grad.inner.{name}"], parameter.grad, f"gradient of {name}")
    for name, tensor in tensors.items():
        if tensor.requires_grad:
            same(found[f"grad.{name}"], tensor.grad, f"gradient of {name}")


LAYERS = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True},
    {"bias": False, "batch_first": True},
    {"num_layers": 2, "dropout": 0.5},  # in eval
]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_a_recurrent_layer(kind, options):
    ours, theirs = getattr(nn, kind)(3, 4, **options), getattr(torch.nn, kind)(3, 4, **options)
    check(ours, theirs, {"x": drawn((5, 2, 3))})


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_an_lstm_with_a_projection(options, given):
    options = {**options, "proj_size": 2}
    count = 4 if len(options) > 1 else 1
    state = {"h": drawn((count, 2, 2)), "c": drawn((count, 2, 4))} if given else {}
    call = {"call": state_call(2)} if given else {}
    check(nn.LSTM(3, 4, **options), torch.nn.LSTM(3, 4, **options), {"x": drawn((5, 2, 3)), **state}, **call)
    with pytest.raises(UsageError, match="proj_size=4 is not less than hidden_size=4"):
        nn.LSTM(3, 4, proj_size=4)


def state_call(count):
    def call(module, x, *state):
        return module(x, state if count == 2 else state[0])

    return call


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("shape, state", [((5, 2, 3), (4, 2, 4)), ((5, 3), (4, 4)), ((1, 2, 3), (4, 2, 4))])
def test_a_given_first_state(kind, shape, state):
    options = {"num_layers": 2, "bidirectional": True}
    parts = 2 if kind == "LSTM" else 1
    arrays = {"x": drawn(shape), **{f"s{i}": drawn((*state, 1 + i))[..., 0] for i in range(parts)}}
    check(
        getattr(nn, kind)(3, 4, **options),
        getattr(torch.nn, kind)(3, 4, **options),
        arrays,
        state_call(parts),
    )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_cell(kind):
    parts = 2 if kind == "LSTM" else 1
    arrays = {"x": drawn((2, 3)), **{f"s{i}": drawn((2, 4, 1 + i))[..., 0] for i in range(parts)}}
    check(getattr(nn, f"{kind}Cell")(3, 4), getattr(torch.nn, f"{kind}Cell")(3, 4), arrays, state_call(parts))
    check(
        getattr(nn, f"{kind}Cell")(3, 4, bias=False),
        getattr(torch.nn, f"{kind}Cell")(3, 4, bias=False),
        {"x": drawn((2, 3))},
    )


def test_relu_as_the_nonlinearity():
    options = {"nonlinearity": "relu"}
    check(nn.RNN(3, 4, **options), torch.nn.RNN(3, 4, **options), {"x": drawn((5, 2, 3))})
    check(nn.RNNCell(3, 4, **options), torch.nn.RNNCell(3, 4, **options), {"x": drawn((2, 3))})
    with pytest.raises(UsageError):
        nn.RNN(3, 4, nonlinearity="gelu")


def test_an_open_length_is_refused_with_the_way_out():
    with pytest.raises(UnsupportedError, match="open number of steps L"):
        graphc.trace(nn.GRU(3, 4), input="float32[L,N,3]")
    graph = graphc.trace(nn.GRU(3, 4), input="float32[6,N,3]")
    assert str(graph.outputs[0].type).replace("f32", "float32") == "float32[6,N,4]"


ATTENTION = [
    ({}, {"q": (5, 2, 8), "k": (4, 2, 8), "v": (4, 2, 8)}),
    ({"batch_first": True}, {"q": (2, 5, 8), "k": (2, 4, 8), "v": (2, 4, 8)}),
    ({"kdim": 3, "vdim": 6}, {"q": (5, 2, 8), "k": (4, 2, 3), "v": (4, 2, 6)}),
    ({"bias": False}, {"q": (5, 8), "k": (4, 8), "v": (4, 8)}),
    ({"add_bias_kv": True}, {"q": (5, 2, 8), "k": (4, 2, 8), "v": (4, 2, 8)}),
    ({"add_zero_attn": True, "batch_first": True}, {"q": (2, 5, 8), "k": (2, 4, 8), "v": (2, 4, 8)}),
]


@pytest.mark.parametrize("options, shapes", ATTENTION, ids=str)
def test_attention(options, shapes):
    arrays = {n: drawn(s) for n, s in shapes.items()}
    ours, theirs = nn.MultiheadAttention(8, 4, **options), torch.nn.MultiheadAttention(8, 4, **options)
    check(ours, theirs, arrays)
    check(ours, theirs, arrays, lambda module, *a: module(*a, average_attn_weights=False))


@pytest.mark.parametrize("heads_mask", [False, True])
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=str)
def test_attention_masks(heads_mask, options):
    blocked = np.triu(np.ones((5, 5), bool), 1)
    mask = np.repeat(blocked[None], 8, 0) if heads_mask else blocked
    padding = np.zeros((2, 5), bool)
    padding[1, 4] = True

    def call(module, x):
        kind = torch.tensor if isinstance(x, torch.Tensor) else np.asarray
        return module(x, x, x, attn_mask=kind(mask), key_padding_mask=kind(padding))

    ours, theirs = nn.MultiheadAttention(8, 4, **options), torch.nn.MultiheadAttention(8, 4, **options)
    check(ours, theirs, {"x": drawn((5, 2, 8))}, call)


@pytest.mark.parametrize("causal", [False, True])
def test_scaled_dot_product_attention(causal):
    from graphc.nn import functional as F

    q, k, v = drawn((2, 4, 3)), drawn((2, 5, 3)), drawn((2, 5, 6))
    theirs = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, v)), is_causal=causal)
    graph = graphc.trace(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        q="float64[N,L,3]", k="float64[N,S,3]", v="float64[N,S,6]",
    )  # fmt: skip
    same(interpret(graph, {"q": q, "k": k, "v": v})[0], theirs, "value")


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_transformer_encoder_layer(norm_first, activation, batch_first):
    arguments = (8, 2, 16)
    options = {"norm_first": norm_first, "activation": activation, "batch_first": batch_first}
    theirs = torch.nn.TransformerEncoderLayer(*arguments, **options)
    check(nn.TransformerEncoderLayer(*arguments, **options), theirs, {"x": drawn((5, 3, 8))})


def test_a_transformer_encoder():
    theirs = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16), 2, torch.nn.LayerNorm(8))
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, nn.LayerNorm(8))
    check(ours, theirs, {"x": drawn((5, 3, 8))})


TRANSPOSED = [
    ("ConvTranspose2d", (4, 6, 3), {}, (2, 4, 5, 4)),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)}, (2, 4, 5, 4)),
    ("ConvTranspose2d", (4, 6, 3), {"groups": 2, "dilation": 2, "bias": False}, (2, 4, 5, 4)),
    ("ConvTranspose1d", (4, 6, 4), {"stride": 2, "padding": 1}, (2, 4, 7)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 5)),
    ("GroupNorm", (3, 6), {"eps": 1e-3}, (3, 6)),
    ("GroupNorm", (6, 6), {"affine": False}, (3, 6, 4)),
]  # fmt: skip


@pytest.mark.parametrize("kind, arguments, options, shape", TRANSPOSED, ids=str)
def test_transposed_convolution_and_group_norm(kind, arguments, options, shape):
    check(
        getattr(nn, kind)(*arguments, **options),
        getattr(torch.nn, kind)(*arguments, **options),
        {"x": drawn(shape)},
    )


BOTH = {
    "lstm": (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True), "float32[5,N,3]"),
    "gru": (lambda: nn.GRU(3, 4, batch_first=True), "float32[N,5,3]"),
    "rnn": (lambda: nn.RNN(3, 4), "float32[5,N,3]"),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "float32[N,5,8]"),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1), "float32[N,3,5,4]"),
    "group_norm": (lambda: nn.GroupNorm(2, 6), "float32[N,6,4,3]"),
}


@pytest.mark.parametrize("name", BOTH)
def test_both_backends_agree(name):
    """Within 64 roundings of float32 of the float64 result: no sum here is longer."""
    make, kind = BOTH[name]
    graphc.manual_seed(1)
    module = make()

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return flat(self.inner(x))[0]

    first = First()
    shape = [3 if part == "N" else int(part) for part in kind[8:-1].split(",")]
    x = drawn(tuple(shape)).astype(np.float32)
    results = [graphc.compile(first, {"x": kind}, backend=b)(x) for b in ("llvm", "numpy")]
    wide = trace_graph(first.double(), {"x": kind.replace("32", "64")})
    exact = interpret(wide, {"x": x.astype(np.float64)})[0]
    for result in results:
        np.testing.assert_allclose(result, exact, rtol=0, atol=64 * 2.0**-24 * np.abs(exact).max())
