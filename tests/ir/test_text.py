"""`.gir` text: exact both ways, and every fault with its line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc import ops
from graphc.errors import GirError
from graphc.ir.builder import Builder
from graphc.ir.graph import Provenance
from graphc.ir.parser import parse_graph, parse_graphs
from graphc.ir.printer import print_graph
from graphc.ir.types import DTYPES, MAX_RANK, dtype_of, float32, parse_type
from graphc.ir.verifier import verify
from graphc.source import Span

MLP = """\
graph mlp(N: 1..64) {
  input %x: f32[N,64]
  param %w: f32[10,64]
  const %m: f32[10]
  %linear: f32[N,10] = linear %x, %w, %m
  %c: f32[] = constant {dtype=f32, value=-0.0}
  %values: f32[N,10], %places: i64[N,10] = max_pool_like %linear
  return %linear as "logits"
}"""


def test_text_is_exact():
    text = MLP.replace("  %values: f32[N,10], %places: i64[N,10] = max_pool_like %linear\n", "")
    graph = verify(parse_graph(text))
    assert print_graph(graph) == text
    assert graph.dims == {"N": (1, 64)}
    assert [v.leaf for v in graph.leaves] == ["input", "parameter", "constant"]


def test_several_graphs_and_comments():
    text = """
    // what comes first
    graph a { // the first
      input %x: f32[3]   // an input
      return %x
    }
    graph b {
      input %x: f32[3]
      %y: f32[3] = tanh %x
      return %y as "a // b", %y as "again"
    }
    """
    a, b = parse_graphs(text)
    assert (a.name, b.name) == ("a", "b") and a.output_names == ("x",)
    assert b.output_names == ("a // b", "again")
    with pytest.raises(GirError, match="expected one graph, found 2"):
        parse_graph(text)


texts = st.text(max_size=20)


@settings(max_examples=200, deadline=None)
@given(texts, texts, texts, st.integers(1, 10**6))
def test_provenance_round_trips_whatever_the_names(file, module, variable, line):
    provenance = Provenance(Span(file, line, 0, line, 5), module, "backward", "x", variable, "fuse")
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type("f32[3]"))
        with builder.at(provenance):
            y = ops.tanh(x)
    graph = builder.finish([y], [variable])
    again = parse_graph(print_graph(graph, provenance=True))
    assert again.nodes[0].provenance == provenance
    assert again.output_names == (variable,)


attributes = st.recursive(
    st.one_of(
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False),
        st.booleans(),
        st.text(max_size=10),
        st.sampled_from(DTYPES),
        st.none(),
        st.sampled_from(["N", "2*N + 1", "N*((H + 1)//2)"]).map(lambda s: parse_type(f"f32[{s}]").shape[0]),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(attributes)
def test_attributes_round_trip(value):
    from graphc.ir.parser import _attributes
    from graphc.ir.printer import print_attribute

    again = _attributes(f"a={print_attribute(value)}")["a"]
    assert again == value and type(again) is type(value)
    assert repr(again) == repr(value)  # -0.0 and True are not 0.0 and 1


def test_nan_and_infinity_as_attributes():
    graph = parse_graph("graph g {\n %c: f32[] = constant {dtype=f32, value=nan}\n return %c\n}")
    assert np.isnan(graph.nodes[0].attributes["value"])
    assert "value=nan" in print_graph(graph)
    assert parse_graph(print_graph(graph).replace("nan", "-inf")).nodes[0].attributes["value"] == -np.inf


def one(line, dtype="f32[3]", result="%y"):
    return f"graph g {{\n  input %x: {dtype}\n  {line}\n  return {result}\n}}"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("graph g {\n  input %x: f32[3]\n  return %x", 1, "not closed"),
        ("grph g {\n}", 1, "expected 'graph NAME {'"),
        ("graph g(N: 1..x) {\n return\n}", 1, "'N: 1..x' is not a range"),
        ("graph g {\n  input %x: f31[3]\n  return %x\n}", 2, "dtype f31 is not supported"),
        ("graph g {\n  input %x: f32[3.5]\n  return %x\n}", 2, "is not a dimension"),
        ("graph g {\n  input %x: f32[-3]\n  return %x\n}", 2, "dimension -3 is out of range"),
        (one("%y: f32[3] = tnh %x"), 3, "there is no op 'tnh'"),
        (one("%y: f32[4] = tanh %x"), 3, r"gives f32\[3\], but the text says f32\[4\]"),
        (one("%y: f32[3] = tanh %z"), 3, "%z is used before it is defined"),
        (one("%x: f32[3] = tanh %x", "f32[3]", "%x"), 3, "%x is defined twice"),
        (one("input %x: f32[3]", "f32[3]", "%x"), 3, "%x is defined twice"),
        ("graph g {\n  input %x: f32[3]\n}", None, "has no 'return'"),
        (one("what is this", "f32[3]", "%x"), 3, "cannot read 'what is this'"),
        (one("%y: i32[3] = tanh %x", "i32[3]", "%y"), 3, "needs floating-point numbers"),
        (one("%y: f32[3] = sum %x {axes=(0}"), 3, "cannot read"),
        (one("%y: f32[] = sum %x"), 3, "sum"),
        (one("%y: f32[] = sum %x {axes=(0,), colour=3}"), 3, "sum"),
        (one("%y: f32[3] = tanh %x, %x"), 3, "tanh"),
        (one("%y: f32[3] = tanh %x @(colour=3)"), 3, "provenance"),
        (one("%y: f32[] = sum %x {axes=__import__('os')}"), 3, "is not a dimension"),
        ("graph g {\n  input %x: f32[3]\n  return %y\n}", 3, "%y is used before"),
    ],
)  # fmt: skip
def test_faults_name_their_line(text, line, message):
    with pytest.raises(GirError, match=message) as caught:
        parse_graph(text)
    if line is not None:
        assert f"line {line} " in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_text_is_an_error_and_nothing_else(data):
    text = list(MLP.replace("max_pool_like", "tanh"))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(
            st.sampled_from(["", "{", "}", "%", "(", '"', ",", "N", "\n", "=", "\x00", "é", "9"])
        )
    try:
        parse_graphs("".join(text))
    except GirError:
        pass


def test_types():
    t = parse_type(" float32 [ N , 2*N+1, 784 ] ")
    assert str(t) == "float32[N,2*N + 1,784]" and t.gir == "f32[N,2*N + 1,784]"
    assert parse_type(str(t)) == t == parse_type(t.gir)
    assert parse_type("f32") == parse_type("f32[]") and parse_type("f32").shape == ()
    assert t.symbols == ("N",) and t.substitute({"N": 2}).shape == (2, 5, 784)
    assert t.size == t.shape[0] * t.shape[1] * 784 and t.nbytes == t.size * 4


@pytest.mark.parametrize(
    "text", ["", "f32[", "[3]", "f16[3]", "f32[-1]", "f32[2**63]", "f32[" + "1," * MAX_RANK + "1]", "f32[3}"]
)
def test_what_is_no_type(text):
    with pytest.raises(ValueError):
        parse_type(text)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    assert (
        dtype_of(dtype.name)
        is dtype_of(dtype.short)
        is dtype_of(dtype.numpy)
        is dtype_of(np.zeros(2, dtype.numpy))
        is dtype
    )
    assert dtype.numpy.itemsize == dtype.itemsize and dtype.is_float == (dtype.numpy.kind == "f")


@pytest.mark.parametrize(
    "other", ["float16", "complex64", "object", np.dtype("datetime64[s]"), np.array(["a"])]
)
def test_dtypes_that_are_not_supported(other):
    with pytest.raises(ValueError, match="is not supported; supported are float32"):
        dtype_of(other)
    assert float32 in DTYPES
