"""NumPy source: readable, standalone, and equal to the interpreter."""

import subprocess
import sys

import numpy as np

from graphc.autodiff import differentiate
from graphc.backends.numpy_source import load_source, numpy_source
from graphc.interpret import interpret
from graphc.ir.parser import parse_graph

MLP = """graph mlp {
  input %x: f32[N,8]
  param %fc1.weight: f32[5,8]
  param %fc1.bias: f32[5]
  %h: f32[N,5] = matmul %x, %fc1.weight {transpose_w=True} @(at=("/home/me/mlp.py", 7, 4, 7, 9))
  %b: f32[N,5] = broadcast_to %fc1.bias {shape=(N, 5)}
  %a: f32[N,5] = add %h, %b
  %t: f32[N,5] = tanh %a
  %s: f32[] = sum %t {axes=(0, 1)}
  return %s as "loss"
}"""


def body(source: str) -> list[str]:
    lines = source.splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("def "))
    return [line.strip() for line in lines[start + 2 :]]


def test_it_reads_like_the_model():
    assert body(numpy_source(parse_graph(MLP))) == [
        "weights = load_weights() if weights is None else weights",
        'fc1_weight = weights["fc1.weight"]',
        'fc1_bias = weights["fc1.bias"]',
        "N = x.shape[0]",
        "h = x @ fc1_weight.T  # mlp.py:7",
        "a = h + fc1_bias",
        "t = np.tanh(a)",
        "s = t.sum(axis=(0, 1), dtype=t.dtype)",
        "return s",
    ]


def test_gradients_have_the_names_of_what_they_are_gradients_of():
    lines = body(numpy_source(differentiate(parse_graph(MLP)), "gradient"))
    assert "d_fc1_weight = d_a.T @ x  # gradient of h, mlp.py:7" in lines
    assert lines[-1] == "return (s, d_fc1_weight, d_fc1_bias)"


def test_it_equals_the_interpreter():
    rng = np.random.default_rng(0)
    graph = differentiate(parse_graph(MLP))
    data = {v.name: rng.normal(size=v.shape).astype("f4") for v in graph.parameters}
    for n in (0, 1, 3, 64):
        x = rng.normal(size=(n, 8)).astype("f4")
        for ours, oracle in zip(load_source(graph)([x], data), interpret(graph, [x], data), strict=True):
            assert ours.dtype == oracle.dtype
            np.testing.assert_array_equal(ours, oracle)


def test_it_runs_with_numpy_alone(tmp_path):
    graph = parse_graph("graph sq {\n input %x: f32[N]\n %y: f32[N] = mul %x, %x\n return %y\n}")
    (tmp_path / "sq.py").write_text(numpy_source(graph))
    code = "import numpy as np, sq, sys; print(sq.forward(np.arange(3, dtype='f4')).tolist(), 'graphc' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[0.0, 1.0, 4.0] False\n"


def test_hostile_names_stay_names():
    graph = parse_graph(
        "graph g {\n input %import: f32[N]\n param %np: f32[]\n %class.x: f32[N] = neg %import\n return %class.x\n}"
    )
    assert "class_x = -import_2" in numpy_source(graph)


def test_numbers_that_choose_by_a_comparison_are_there():
    graph = parse_graph("""graph choose {
      input %x: f64[2]
      %one: f64[] = constant {dtype=f64, value=1.0}
      %two: f64[] = constant {dtype=f64, value=2.0}
      %ones: f64[2] = broadcast_to %one {shape=(2,)}
      %twos: f64[2] = broadcast_to %two {shape=(2,)}
      %big: bool[2] = greater %x, %ones
      %y: f64[2] = where %big, %ones, %twos
      return %y
    }""")
    (y,) = load_source(graph)([np.array([0.0, 3.0])], {})
    assert y.tolist() == [2, 1]


def test_a_number_that_is_broadcast_twice():
    graph = parse_graph("""graph twice {
      input %x: f64[N,2]
      %one: f64[] = constant {dtype=f64, value=1.0}
      %column: f64[N,1] = broadcast_to %one {shape=(N, 1)}
      %ones: f64[N,2] = broadcast_to %column {shape=(N, 2)}
      %y: f64[N,2] = add %x, %ones
      return %y
    }""")
    (y,) = load_source(graph)([np.zeros((3, 2))], {})
    assert y.tolist() == [[1, 1]] * 3
    assert "y = x + 1.0" in body(numpy_source(graph))
