"""Weights that repeat one number: shared constants without memory, folded like any; beyond the limit, as before."""

import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir.parser import parse_graph
from graphc.passes import fill_weights as module
from graphc.passes.fill_weights import fill_weights
from graphc.passes.pipeline import inference_passes, run_passes

NETWORK = """graph g {
  input %x: f32[1,4,5,5]
  const %scale: f32[4]
  %half: f32[] = constant {value=0.5, dtype=f32}
  %zero: f32[] = constant {value=0.0, dtype=f32}
  %one: f32[] = constant {value=1.0, dtype=f32}
  %w: f32[4,4,3,3] = broadcast_to %half {shape=(4, 4, 3, 3)}
  %v: f32[4,4,3,3] = broadcast_to %half {shape=(4, 4, 3, 3)}
  %shift: f32[4] = broadcast_to %zero {shape=(4,)}
  %variance: f32[4] = broadcast_to %one {shape=(4,)}
  %a: f32[1,4,5,5] = conv %x %w {dilation=(1, 1), groups=1, padding=((1, 1), (1, 1)), strides=(1, 1)}
  %b: f32[1,4,5,5] = batch_norm %a %scale %shift %shift %variance {epsilon=0.0}
  %c: f32[1,4,5,5] = conv %b %v {dilation=(1, 1), groups=1, padding=((1, 1), (1, 1)), strides=(1, 1)}
  return %c
}"""
SCALE = {"scale": np.array([1.0, 2.0, -3.0, 0.5], np.float32)}


def test_equal_weights_share_a_constant_that_takes_no_memory() -> None:
    graph, _ = fill_weights(parse_graph(NETWORK).with_(data=SCALE))
    first, second = (node.inputs[1] for node in graph.nodes if node.op.name == "conv")
    assert first is second and first.leaf == "constant"
    array = graph.data[first.name]
    assert array.shape == (4, 4, 3, 3) and not any(array.strides) and (array == 0.5).all()


def test_norms_are_folded_into_them() -> None:
    graph = parse_graph(NETWORK).with_(data=SCALE)
    done = run_passes(graph, inference_passes(), check=True).graph
    assert [node.op.name for node in done.nodes].count("conv") == 2
    assert not any(node.op.name in ("batch_norm", "mul", "sqrt") for node in done.nodes)
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 5)).astype(np.float32)
    (right,), (found,) = interpret(graph, [x]), interpret(done, [x])
    terms = 2 * 4 * 9 * np.finfo(np.float32).eps
    (most,) = interpret(graph.with_(data={"scale": np.abs(SCALE["scale"])}), [np.abs(x)])
    assert (np.abs(found - right) <= terms * most).all()


def test_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 4 * 4 * 9 * 4 - 1)
    graph, _ = fill_weights(parse_graph(NETWORK).with_(data=SCALE))
    assert all(value.name == "scale" for value in graph.constants)
