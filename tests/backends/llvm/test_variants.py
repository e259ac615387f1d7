"""Code for one size beside the general code: the same numbers, chosen at the call, in one artefact."""

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.errors import UsageError
from graphc.interpret import interpret

EPS = np.finfo(np.float32).eps


def model():
    graphc.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10), nn.Softmax(-1)
    )


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_size_gives_the_same_numbers(threads):
    graph = graphc.trace(model(), x="float32[N,3,8,8]")
    compiled = graphc.compile(graph, sizes={"N": [1, 8]}, threads=threads)
    for n in (0, 1, 2, 8, 9):
        x = normal(n, 3, 8, 8)
        np.testing.assert_allclose(compiled(x), interpret(graph, [x])[0], rtol=64 * EPS, atol=64 * EPS)
    for size in ("N1", "N8"):
        assert f"Sequential.{size}.body" in compiled.llvm_ir or f".{size}.body" in compiled.llvm_ir
    assert compiled.llvm_ir.count(".general(") >= 2  # defined and called


def test_the_code_of_a_variant_is_used_for_its_size_alone():
    """A graph that says the size it was compiled for: constants are folded in the variant."""
    from graphc.tensor import functions as f

    def counted(x):
        return x * 0 + f.size_number(x.type.shape[0], x.type.dtype)

    compiled = graphc.compile(counted, {"x": "float32[N,T]"}, sizes={"N": [2, 3], "T": [5]})
    for n, t in ((2, 5), (3, 5), (2, 4), (4, 5)):
        np.testing.assert_array_equal(compiled(normal(n, t)), np.full((n, t), n, np.float32))
    assert {"N2_T5", "N3_T5"} <= {
        line.split(".")[1] for line in compiled.llvm_ir.split("@") if ".body" in line[:40]
    }


def test_saved_and_loaded(tmp_path):
    graph = graphc.trace(model(), x="float32[N,3,8,8]")
    compiled = graphc.compile(graph, sizes={"N": [1]})
    compiled.save(tmp_path / "m.graphc")
    loaded = graphc.load(tmp_path / "m.graphc")
    for n in (1, 4):
        np.testing.assert_array_equal(loaded(normal(n, 3, 8, 8)), compiled(normal(n, 3, 8, 8)))


def test_faults_inside_a_variant_are_told():
    from graphc.ops.indexing import IndexOutOfRange

    compiled = graphc.compile(
        lambda x, i: np.take(x, i, axis=1), {"x": "float32[N,4]", "i": "int64[2]"}, sizes={"N": [1]}
    )
    for n in (1, 3):
        assert compiled(np.ones((n, 4), np.float32), np.array([0, 3])).shape == (n, 2)
        with pytest.raises(IndexOutOfRange, match="size of 4"):
            compiled(np.ones((n, 4), np.float32), np.array([0, 4]))


def test_sizes_that_cannot_be():
    graph = graphc.trace(lambda x: x + 1, x="float32[N]", dims={"N": (1, 8)})
    with pytest.raises(UsageError, match="no dimension M"):
        graphc.compile(graph, sizes={"M": [1]})
    with pytest.raises(UsageError, match="N = 9 is outside its range"):
        graphc.compile(graph, sizes={"N": [9]})
