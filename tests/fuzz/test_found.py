"""Graphs that random search found to go wrong, made small."""

import numpy as np
import pytest

from graphc.interpret import interpret
from graphc.ir.parser import parse_graph
from graphc.ir.partition import singly
from graphc.passes.fuse import fuse
from tests.fuzz.native import POISONS, Native

FOUND = {
    "a weight times itself": """
        param %w: f64[17,5]
        %y: f64[17,17] = matmul %w, %w {transpose_w=True, transpose_x=False}
        return %y as "y"
    """,
    "a weight in its own epilogue": """
        input %x: f64[N,3,3]
        param %w: f64[3,3]
        %y: f64[N,3,3] = matmul %x, %w {transpose_w=False, transpose_x=False}
        %b: f64[N,3,3] = broadcast_to %w {shape=(N, 3, 3)}
        %z: f64[N,3,3] = add %y, %b
        return %z as "z"
    """,
    "a kernel convolved with itself": """
        param %w: f32[8,8,3,3]
        %y: f32[8,8,3,3] = conv %w, %w {dilation=(1, 1), groups=1, padding=((1, 1), (1, 1)), strides=(1, 1)}
        return %y as "y"
    """,
    "values without bytes": """
        input %x: f64[N,4,0]
        %a: f64[N,4,0] = abs %x
        %n: f64[N,4,0] = neg %a
        %s: f64[N,4,0] = sin %a
        %y: f64[N,4,0] = add %n, %s
        %z: f64[N,4,0] = reverse %y {axes=(1,)}
        return %y as "y", %z as "z"
    """,
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name):
    graph = parse_graph(f"graph found {{\n{FOUND[name]}\n}}")
    rng = np.random.default_rng(0)
    for leaf in graph.parameters:
        graph.data[leaf.name] = rng.integers(-8, 9, leaf.shape).astype(leaf.dtype.numpy)
    for partition in (fuse(graph), singly(graph)):
        native = Native(partition)
        for n in (0, 1, 3, 7):
            shapes = {v: [n if d == "N" else d for d in map(str, v.shape)] for v in graph.inputs}
            arrays = {
                v.name: rng.integers(-8, 9, list(map(int, shape))).astype(v.dtype.numpy)
                for v, shape in shapes.items()
            }
            wanted = interpret(graph, arrays)
            for poison in POISONS:
                for y, z in zip(native.run(arrays, poison), wanted, strict=True):
                    np.testing.assert_array_equal(y, z)
