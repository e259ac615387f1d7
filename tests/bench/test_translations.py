"""Every op a peer is given does there what its reference does, on the op's own samples; and so do whole models."""

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.backends.onnx.absorb import conv_biases
from graphc.bench.opened import lazily_spread, opened
from graphc.bench.peers import onnx_bytes
from graphc.bench.serve import NotOffered
from graphc.bench.with_torch import KNOWN as TORCH_KNOWN
from graphc.bench.with_torch import functions, run_with_torch
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.op import REGISTRY
from graphc.ir.types import TensorType, dtype_of

REFUSED = ("max_pool", "avg_pool", "pad")  # in forms that the peers do not have, with NotOffered


def graphs(name):
    """A graph of one op and its inputs, in float32, for every sample that has no empty array."""
    op = REGISTRY[name]
    for arrays, attributes in op.samples():
        arrays = [
            np.asarray(a, np.float32) if np.asarray(a).dtype == np.float64 else np.asarray(a) for a in arrays
        ]
        if any(a.size == 0 for a in arrays):
            continue
        with Builder(name) as builder:
            leaves = [
                builder.leaf("input", f"x{i}", TensorType(dtype_of(a), a.shape)) for i, a in enumerate(arrays)
            ]
            result = op(*leaves, **attributes)
        first = result[0] if isinstance(result, tuple) else result
        yield builder.finish([first], ["y"]), {f"x{i}": a for i, a in enumerate(arrays)}


def check(name, run):
    done = 0
    for graph, arrays in graphs(name):
        (wanted,) = interpret(graph, arrays)
        if (
            name == "cast"
            and wanted.dtype.kind in "iu"
            and not (np.abs(arrays["x0"].astype(float)) <= 100).all()
        ):
            continue  # what does not fit the type is saturated here, and anything elsewhere
        try:
            got = run(graph, arrays)
        except NotOffered:
            assert name in REFUSED
            continue
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5, err_msg=repr(graph.nodes))
        done += 1
    assert done


def by_torch(graph, arrays):
    return run_with_torch(graph, arrays)()[0].numpy()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
class TestTorch:
    def test_ops(self):
        pytest.importorskip("torch")
        for name in functions():
            check(name, by_torch)

    def test_a_network(self, network):
        pytest.importorskip("torch")
        graph, arrays = network
        np.testing.assert_allclose(by_torch(graph, arrays), interpret(graph, arrays)[0], rtol=1e-4, atol=1e-6)

    def test_what_is_missing_is_named(self):
        pytest.importorskip("torch")
        graph, arrays = next(graphs("scatter_add"))
        with pytest.raises(NotOffered, match="scatter_add"):
            run_with_torch(graph, arrays)


@pytest.mark.onnx
def test_what_onnx_lacks_is_not_offered():
    pytest.importorskip("onnx")
    graph = next(graphs("atan2"))[0]
    with pytest.raises(NotOffered, match="atan2"):
        onnx_bytes(graph)


@pytest.fixture
def network():
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5 * 3 * 3, 7), nn.GELU(), nn.LayerNorm(7), nn.Softmax(-1),
    )  # fmt: skip
    net.eval()
    arrays = {"x": np.random.default_rng(3).standard_normal((2, 2, 6, 6), np.float32)}
    return graphc.trace(net, x="float32[2,2,6,6]"), arrays


def test_what_is_not_known_is_opened(network):
    graph, arrays = network
    for known in ((), TORCH_KNOWN):
        whole = opened(graph, known)
        assert all(not n.op.is_composite or n.op.name in known for n in whole.nodes)
        np.testing.assert_allclose(
            interpret(whole, arrays)[0], interpret(graph, arrays)[0], rtol=1e-5, atol=1e-7
        )


def test_a_bias_is_found_only_where_nobody_else_reads_the_convolution():
    net = nn.Conv2d(2, 5, 3)
    graph = graphc.trace(net, x="float32[1,2,6,6]")
    ((add, (conv, bias)),) = conv_biases(graph).items()
    assert add.op.name == "add" and conv.op.name == "conv" and bias.name == "bias"
    other = graphc.trace(
        lambda x: graphc.nn.functional.conv2d(x, x[:, :1]) + x[:, :1, :1, :1], x="float32[1,1,4,4]"
    )
    assert conv_biases(other) == {}


def test_broadcasting_is_left_to_readers_that_do_it_themselves():
    graph = graphc.trace(lambda x, b: x + b, x="float32[2,3]", b="float32[3]")
    assert [node.op.name for node in lazily_spread(graph)] == ["broadcast_to"]
    alone = graphc.trace(lambda b: b.expand(2, 3), b="float32[3]")
    assert lazily_spread(alone) == set()
