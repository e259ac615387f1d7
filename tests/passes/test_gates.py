"""Gates: which products join with the work on their parts, and which do not."""

import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir.parser import parse_graph
from graphc.passes.fuse import fuse
from tests.passes.element_backend import run

GATED = """graph gated(N: 0..) {{
  input %x: f32[{rows},{depth}]
  input %c: f32[{rows},16]
  param %w: f32[{depth},32]
  %z: f32[{rows},32] = matmul %x, %w
  %a: f32[{rows},16] = slice %z {{starts=(0, {first}), stops=({rows}, {last}), steps=(1, 1)}}
  %b: f32[{rows},16] = slice %z {{starts=(0, 16), stops=({rows}, 32), steps=(1, 1)}}
  %s: f32[{rows},16] = sigmoid %a
  %p: f32[{rows},16] = mul %s, %b
  %y: f32[{rows},16] = add %p, %c
  return {results}
}}"""


def kinds(rows="N", depth=24, first=0, results='%y as "y"'):
    text = GATED.format(rows=rows, depth=depth, first=first, last=first + 16, results=results)
    return [kernel.kind for kernel in fuse(parse_graph(text)).kernels]


def test_a_product_read_in_parts_is_one_kernel():
    assert kinds() == ["gates"]
    assert kinds(results='%y as "y", %s as "s"') == ["gates"]


def test_the_contract_is_enough():
    graph = parse_graph(GATED.format(rows="N", depth=24, first=0, last=16, results='%y as "y"'))
    rng = np.random.default_rng(1)
    shapes = {"x": (3, 24), "c": (3, 16), "w": (24, 32)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    leaves = {value: arrays[value.name] for value in graph.leaves}
    found = run(fuse(graph), leaves, {"N": 3})[graph.outputs[0]]
    wanted = interpret(graph, [arrays["x"], arrays["c"]], {"w": arrays["w"]})[0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "reason",
    [{"first": 8}, {"results": '%y as "y", %z as "z"'}, {"rows": 4096, "depth": 1024}],
    ids=["no whole part", "the product is returned", "too much to read again and again"],
)
def test_what_does_not_join(reason):
    assert "gates" not in kinds(**reason)
