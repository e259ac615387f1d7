"""Whole graphs: partition, plan, code, call; singly and fused, against the interpreter in float64."""

import numpy as np
import pytest

from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.errors import ArgumentShapeError
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.ir.parser import parse_graph
from graphc.ir.partition import singly
from graphc.ir.printer import print_graph
from graphc.ops.indexing import IndexOutOfRange
from graphc.passes.expand import expand
from graphc.passes.fuse import fuse
from tests.passes import networks

TOLERANCE = 1e-10  # relative to the largest value, in float64: thousands of operations of 1.1e-16 each


def wide(graph: Graph) -> Graph:
    """The graph in float64."""
    return expand(parse_graph(print_graph(graph).replace("f32", "f64")))[0]


def arrays(graph: Graph, leaves, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    found = []
    for leaf in leaves:
        shape = tuple(d if isinstance(d, int) else n for d in leaf.shape)
        dtype = leaf.dtype.numpy
        found.append(
            rng.normal(size=shape).astype(dtype)
            if leaf.dtype.is_float
            else rng.integers(0, 3, shape).astype(dtype)
        )
    return found


def as_tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("partition", [singly, fuse], ids=lambda f: f.__name__)
@pytest.mark.parametrize("network", networks.ALL, ids=lambda f: f.__name__)
def test_networks(network, partition) -> None:
    graph = wide(network())
    rng = np.random.default_rng(0)
    weights = arrays(graph, graph.parameters, 0, rng)
    graph = graph.with_(data=dict(zip((v.name for v in graph.parameters), weights, strict=True)))
    plan = native_plan(partition(graph))
    function = compile_plan(plan).load()
    for n in (1, 3, 64):
        inputs = arrays(graph, graph.inputs, n, rng)
        for y, z in zip(as_tuple(function(*inputs)), interpret(graph, inputs), strict=True):
            np.testing.assert_allclose(y, z, rtol=0, atol=TOLERANCE * max(1.0, np.abs(z).max()))


MLP = """graph mlp(N: 0..) {
  input %x: f32[N,20]
  param %w1: f32[33,20]
  param %b1: f32[33]
  param %w2: f32[33,5]
  %m: f32[N,33] = matmul %x, %w1 {transpose_w=True, transpose_x=False}
  %b: f32[N,33] = broadcast_to %b1 {shape=(N, 33)}
  %a: f32[N,33] = add %m, %b
  %r: f32[N,33] = tanh %a
  %y: f32[N,5] = matmul %r, %w2 {transpose_w=False, transpose_x=False}
  return %y as "y"
}"""


def mlp() -> Graph:
    graph = parse_graph(MLP)
    rng = np.random.default_rng(1)
    return graph.with_(data={v.name: rng.normal(size=v.shape).astype(np.float32) for v in graph.parameters})


def test_a_batch_of_none() -> None:
    function = compile_plan(native_plan(fuse(mlp()))).load()
    assert function(np.zeros((0, 20), np.float32)).shape == (0, 5)


def test_rows_do_not_depend_on_the_batch() -> None:
    function = compile_plan(native_plan(fuse(mlp()))).load()
    x = np.random.default_rng(2).normal(size=(64, 20)).astype(np.float32)
    every = function(x)
    for row in (0, 17, 63):
        assert function(x[row : row + 1]).tobytes() == every[row : row + 1].tobytes()


def test_the_checked_road_gives_the_same() -> None:
    executable = compile_plan(native_plan(fuse(mlp())))
    x = np.random.default_rng(3).normal(size=(7, 20)).astype(np.float32)
    assert executable.load()(x).tobytes() == executable.load(checked=True)(x).tobytes()


def test_an_object_from_the_cache_is_the_same(tmp_path) -> None:
    plan = native_plan(fuse(mlp()))
    cache = Cache(tmp_path / "cache")
    first, second = (compile_plan(plan, cache=cache) for _ in range(2))
    assert first.image == second.image and len(list((tmp_path / "cache").glob("*.o"))) == 1


def test_equal_kernels_share_a_function() -> None:
    text = """graph deep {
      input %x: f32[N,8]
      param %w1: f32[8,8]
      param %w2: f32[8,8]
      %a: f32[N,8] = matmul %x, %w1 {transpose_w=False, transpose_x=False}
      %b: f32[N,8] = matmul %a, %w2 {transpose_w=False, transpose_x=False}
      return %b as "y"
    }"""
    graph = parse_graph(text)
    rng = np.random.default_rng(4)
    graph = graph.with_(data={v.name: rng.normal(size=(8, 8)).astype(np.float32) for v in graph.parameters})
    executable = compile_plan(native_plan(singly(graph)))
    assert executable.module.text.count("define internal i32 @deep_k") == 1
    x = rng.normal(size=(5, 8)).astype(np.float32)
    (want,) = interpret(graph, [x])
    np.testing.assert_allclose(
        executable.load()(x), want, rtol=0, atol=64 * np.finfo(np.float32).eps * np.abs(want).max() * 8
    )


def test_outputs_that_are_inputs_weights_or_each_other_are_copied() -> None:
    text = """graph same {
      input %x: f32[N,3]
      param %w: f32[2]
      %y: f32[N,3] = neg %x
      return %x as "a", %y as "b", %y as "c", %w as "d"
    }"""
    graph = parse_graph(text)
    graph = graph.with_(data={"w": np.array([1, 2], np.float32)})
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    a, b, c, d = compile_plan(native_plan(singly(graph))).load()(x)
    for found, wanted in ((a, x), (b, -x), (c, -x), (d, [1, 2])):
        np.testing.assert_array_equal(found, wanted)
    assert not np.shares_memory(a, x) and not np.shares_memory(b, c)


def test_an_update_in_place() -> None:
    """A donated parameter is written where it lies: the next call sees it."""
    text = """graph step {
      input %g: f32[4]
      param %w: f32[4]
      %new: f32[4] = sub %w, %g
      %s: f32[] = sum %new {axes=(0,)}
      return %s as "s", %new as "new"
    }"""
    graph = parse_graph(text)
    graph = graph.with_(data={"w": np.array([4, 3, 2, 1], np.float32)})
    function = compile_plan(native_plan(singly(graph), donate={"new": "w"})).load()
    one = np.ones(4, np.float32)
    assert [float(function(one)) for _ in range(3)] == [6, 2, -2]


def test_a_fault_names_the_operation() -> None:
    text = """graph look {
      input %x: f32[5]
      input %i: i64[N]
      %y: f32[N] = gather %x, %i {axis=0}
      %z: f32[N] = neg %y
      return %z as "z"
    }"""
    function = compile_plan(native_plan(singly(parse_graph(text)))).load()
    x = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(function(x, np.array([0, -1])), [0, -4])
    with pytest.raises(IndexOutOfRange, match="y: .*size of 5"):
        function(x, np.array([0, 5]))


def test_compiling_again_gives_the_same_bytes() -> None:
    first, second = (compile_plan(native_plan(fuse(mlp()))) for _ in range(2))
    assert first.module.text == second.module.text and first.image == second.image


@pytest.mark.slow
def test_indices_beyond_32_bits() -> None:
    """Two gigabytes of zeros, which the system gives without memory behind them, and one number at the very end."""
    size = 2**31 + 8
    text = f"""graph large {{
      input %x: u8[{size}]
      %i: i64[] = argmax %x {{axis=0}}
      %s: u8[3] = slice %x {{starts=({size - 3},), steps=(1,), stops=({size},)}}
      return %i as "i", %s as "s"
    }}"""
    function = compile_plan(native_plan(fuse(parse_graph(text)))).load()
    x = np.zeros(size, np.uint8)
    x[-1] = 7
    i, s = function(x)
    assert int(i) == size - 1 and list(s) == [0, 0, 7]


def test_rows_of_no_elements() -> None:
    """A sum of nothing is 0, a maximum of nothing is refused."""
    text = """graph empty(N: 0..) {
      input %x: f32[3,N]
      %y: f32[3] = NAME %x {axes=(1,)}
      return %y as "y"
    }"""
    x = np.zeros((3, 0), np.float32)
    total = compile_plan(native_plan(fuse(parse_graph(text.replace("NAME", "sum"))))).load()
    np.testing.assert_array_equal(total(x), np.zeros(3))
    largest = compile_plan(native_plan(fuse(parse_graph(text.replace("NAME", "max"))))).load()
    with pytest.raises(ArgumentShapeError, match="N is 0, and empty was compiled for 1"):
        largest(x)
    np.testing.assert_array_equal(largest(np.ones((3, 2), np.float32)), np.ones(3))
