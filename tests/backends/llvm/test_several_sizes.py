"""Models with several open sizes, and with values that grow as their products, against the interpreter."""

import shutil
import subprocess

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.errors import ArgumentShapeError
from graphc.interpret import interpret

EPS = np.finfo(np.float32).eps


def check(graph, compiled, *arrays):
    found, wanted = compiled(*arrays), interpret(graph, arrays)
    for y, z in zip(found if isinstance(found, tuple) else (found,), wanted, strict=True):
        assert y.shape == z.shape
        np.testing.assert_allclose(y, z, rtol=64 * EPS, atol=64 * EPS)


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def gram(x):
    """Values that grow as N²: distances of all pairs."""
    squares = (x * x).sum(1)
    return np.exp(-(squares[:, None] + squares[None, :] - 2 * x @ x.T)) @ x, x @ x.T


@pytest.mark.parametrize("threads", [1, 2])
def test_values_that_grow_as_the_square_of_the_batch(threads):
    graph = graphc.trace(gram, x="float32[N,8]")
    compiled = graphc.compile(graph, threads=threads)
    assert "per N**2" in compiled.plan.verdict
    for n in (0, 1, 2, 7, 40):
        check(graph, compiled, normal(n, 8) * 0.1)


def attend(q, k, v):
    scores = q @ k.swapaxes(1, 2) / 8.0**0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.tanh(weights / weights.sum(axis=-1, keepdims=True) @ v) + q.mean(axis=1, keepdims=True)


def test_attention_of_any_batch_and_lengths():
    types = {"q": "float32[N,T,8]", "k": "float32[N,S,8]", "v": "float32[N,S,8]"}
    graph = graphc.trace(attend, inputs=types, dims={"T": (1, 64), "S": (1, 64)})
    compiled = graphc.compile(graph)
    for n, t, s in ((1, 1, 1), (2, 5, 3), (3, 16, 17), (0, 2, 3)):
        check(graph, compiled, normal(n, t, 8), normal(n, s, 8), normal(n, s, 8))
    with pytest.raises(ArgumentShapeError, match="S is 65, and .* was compiled for 1 to 64"):
        compiled(normal(1, 2, 8), normal(1, 65, 8), normal(1, 65, 8))
    with pytest.raises(
        ArgumentShapeError, match="axis 1 of v has size 4 .*; N is 1, .*; S is 3, from axis 1 of k"
    ):
        compiled(normal(1, 2, 8), normal(1, 3, 8), normal(1, 4, 8))


def test_a_transformer_layer_of_any_length():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    graph = graphc.trace(layer, src="float32[N,T,16]")
    compiled = graphc.compile(graph)
    for n, t in ((2, 5), (1, 33)):
        check(graph, compiled, normal(n, t, 16))


def test_images_of_any_size():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))
    graph = graphc.trace(net, x="float32[N,3,H,W]", dims={"H": (6, 512), "W": (6, 512)})
    compiled = graphc.compile(graph)
    for n, h, w in ((2, 6, 6), (1, 13, 8), (3, 32, 21)):
        check(graph, compiled, normal(n, 3, h, w))


def test_gradients_with_several_sizes():
    graph = graphc.trace(lambda x, w: (np.tanh(x @ w) ** 2).sum(), x="float32[N,T,4]", w="float32[4,4]")
    joint = graphc.differentiate(graph, wrt=["x", "w"])
    compiled = graphc.compile(joint)
    for n, t in ((1, 1), (3, 7)):
        check(joint, compiled, normal(n, t, 4), normal(4, 4))


def test_saved_and_loaded(tmp_path):
    types = {"q": "float32[N,T,8]", "k": "float32[N,S,8]", "v": "float32[N,S,8]"}
    compiled = graphc.compile(attend, types)
    compiled.save(tmp_path / "a.graphc")
    loaded = graphc.load(tmp_path / "a.graphc")
    arrays = normal(2, 5, 8), normal(2, 3, 8), normal(2, 3, 8)
    np.testing.assert_array_equal(loaded(*arrays), compiled(*arrays))
    header = (tmp_path / "a.graphc" / "attend.h").read_text()
    assert "attend_workspace(const attend *handle, int64_t N, int64_t S, int64_t T);" in header
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    flags = [
        "cc",
        "-std=c99",
        "-Wall",
        "-Werror",
        "-pedantic",
        "-o",
        "example",
        "example.c",
        "attend.so",
        "-lm",
    ]
    subprocess.run([*flags, "-Wl,-rpath,$ORIGIN"], cwd=tmp_path / "a.graphc", check=True)
    given = b"".join(a.tobytes() for a in arrays)
    run = ["./example", "weights.safetensors", "2", "3", "5"]
    said = subprocess.run(run, cwd=tmp_path / "a.graphc", input=given, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.frombuffer(said, np.float32).reshape(2, 5, 8), compiled(*arrays))
