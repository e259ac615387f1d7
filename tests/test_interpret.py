"""The interpreter: what it takes, what it gives, and that it checks its own ops."""

import dataclasses

import numpy as np
import pytest

from graphc import ops
from graphc.errors import ArgumentShapeError, DTypeError, GraphcError, InternalError
from graphc.interpret import bind_inputs, evaluate, interpret
from graphc.ir.builder import Builder
from graphc.ir.graph import Provenance
from graphc.ir.op import REGISTRY
from graphc.ir.parser import parse_graph
from graphc.ir.types import parse_type
from graphc.ops.indexing import IndexOutOfRange
from graphc.source import Span

TEXT = """graph g(N: 1..8) {
  input %x: f32[N,3]
  input %m: f32[N,N]
  param %w: f32[3]
  %b: f32[N,3] = broadcast_to %w {shape=(N, 3)}
  %y: f32[N,3] = add %x, %b
  %z: f32[N,3] = matmul %m, %y {transpose_w=False, transpose_x=False}
  return %z as "z", %y as "y"
}"""


@pytest.fixture
def graph():
    return parse_graph(TEXT).with_(data={"w": np.array([1, 2, 3], "f")})


def ones(*shape, dtype="f"):
    return np.ones(shape, dtype)


def test_inputs_by_order_or_by_name(graph):
    z, y = interpret(graph, [ones(2, 3), ones(2, 2)])
    assert y.tolist() == [[2, 3, 4]] * 2 and z.tolist() == [[4, 6, 8]] * 2
    again = interpret(graph, {"m": ones(2, 2), "x": ones(2, 3)})
    assert again[0].tolist() == z.tolist()


def test_data_may_be_replaced(graph):
    assert interpret(graph, [ones(1, 3), ones(1, 1)], {"w": np.zeros(3, "f")})[1].tolist() == [[1, 1, 1]]
    with pytest.raises(ArgumentShapeError, match="no array for parameter w"):
        interpret(graph.with_(data={}), [ones(1, 3), ones(1, 1)])


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ([ones(2, 3)], ArgumentShapeError, "g takes 2 inputs, 1 given"),
        ({"x": ones(2, 3)}, ArgumentShapeError, "no array for input m"),
        ({"x": ones(2, 3), "m": ones(2, 2), "k": ones(1)}, ArgumentShapeError, "there is no input k"),
        ([ones(2, 3, dtype="d"), ones(2, 2)], DTypeError, r"input 'x': expected float32\[N,3\], got float64"),
        (
            [ones(2, 4), ones(2, 2)],
            ArgumentShapeError,
            r"input 'x': expected float32\[N,3\], got shape \[2, 4\]",
        ),
        ([ones(2), ones(2, 2)], ArgumentShapeError, r"expected float32\[N,3\], got shape \[2\]"),
        ([ones(3, 2), ones(3, 3)], ArgumentShapeError, r"expected float32\[N,3\], got shape \[3, 2\]"),
        (
            [ones(2, 3), ones(2, 4)],
            ArgumentShapeError,
            r"expected float32\[N,N\], got shape \[2, 4\] with N = 2",
        ),
        ([ones(9, 3), ones(9, 9)], ArgumentShapeError, r"N = 9 is outside its range 1..8"),
        ([ones(0, 3), ones(0, 0)], ArgumentShapeError, r"N = 0 is outside its range 1..8"),
    ],
)
def test_what_is_refused(graph, inputs, kind, message):
    with pytest.raises(kind, match=message):
        interpret(graph, inputs)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "list": lambda a: a,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_inputs(graph, layout):
    rng = np.random.default_rng(0)
    x, m = rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(4, 4)).astype("f")
    expected = interpret(graph, [x, m])
    before = x.copy()
    given = LAYOUTS[layout](x)
    for ours, theirs in zip(interpret(graph, [given, m]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_array_equal(given, before)


def test_repeated_rows_without_memory(graph):
    x = np.broadcast_to(np.arange(3, dtype="f"), (4, 3))
    np.testing.assert_array_equal(interpret(graph, [x, np.eye(4, dtype="f")])[0], x + [1, 2, 3])


def one(body, **leaves):
    with Builder("g") as builder:
        result = body(*(builder.leaf("input", n, parse_type(t)) for n, t in leaves.items()))
    outputs = result if isinstance(result, tuple) else (result,)
    return builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


MOVES = {
    "the input itself": lambda x: x,
    "reshape": lambda x: ops.reshape(x, shape=(6,)),
    "transpose": lambda x: ops.transpose(x, permutation=(1, 0)),
    "slice": lambda x: ops.slice_(x, starts=(0, 0), stops=(2, 3), steps=(1, 1)),
    "stop_gradient": lambda x: ops.stop_gradient(x),
    "broadcast_to": lambda x: ops.broadcast_to(x, shape=(4, 2, 3)),
}


@pytest.mark.parametrize("name", MOVES)
def test_outputs_are_arrays_of_their_own(name):
    x = np.arange(6, dtype="f").reshape(2, 3)

    def twice(x):
        y = MOVES[name](x)
        return y, y

    y, again = interpret(one(twice, x="f32[2,3]"), [x])
    assert y.flags.c_contiguous and y.flags.writeable
    assert not np.shares_memory(y, x) and not np.shares_memory(y, again)


def test_nothing_is_written_to_inputs_or_parameters(graph):
    x, m, w = ones(2, 3), ones(2, 2), np.array([1, 2, 3], "f")
    for array in (x, m, w):
        array.setflags(write=False)
    interpret(graph, [x, m], {"w": w})


def test_scalars_and_empty_arrays():
    assert interpret(one(lambda x: x + 1.0, x="f64[]"), [2.0]) == (3.0,)
    (y,) = interpret(one(lambda x: ops.tanh(x), x="f32[N,0]"), [ones(5, 0)])
    assert y.shape == (5, 0)


def test_every_value_can_be_seen(graph):
    values = evaluate(graph, [ones(2, 3), ones(2, 2)])
    assert {v.name for v in values} == {"x", "m", "w", "b", "y", "z"}


def test_composites_run_by_their_body():
    g = one(lambda x: ops.softmax(x, axis=1), x="f64[N,3]")
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(interpret(g, [x])[0].sum(axis=1), 1, rtol=1e-15)


@pytest.mark.parametrize("reference", [lambda x: x.astype("d"), lambda x: x[:1], lambda x: x.reshape(1, -1)])
def test_a_reference_that_breaks_its_type_rule_is_found(monkeypatch, reference):
    wrong = dataclasses.replace(REGISTRY["tanh"], reference=reference)
    monkeypatch.setitem(REGISTRY, "tanh", wrong)
    with pytest.raises(InternalError, match="instead of"):
        interpret(one(lambda x: wrong(x), x="f32[3]"), [ones(3)])


def test_a_position_out_of_range_has_the_users_line():
    span = Span("net.py", 4, 0, 4, 9)
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type("f32[3]"))
        i = builder.leaf("input", "i", parse_type("i64[2]"))
        with builder.at(Provenance(span, variable="rows")):
            y = ops.gather(x, i, axis=0)
    with pytest.raises(IndexOutOfRange, match="%rows: index 3 is out of range for a size of 3") as caught:
        interpret(builder.finish([y], ["y"]), [ones(3), np.array([0, 3])])
    assert caught.value.span == span and isinstance(caught.value, GraphcError)


def test_no_warning_for_what_floating_point_defines():
    g = one(lambda x, y: (x / y, ops.log(x), ops.exp(y), x * y, ops.sqrt(x)), x="f32[4]", y="f32[4]")
    x, y = np.array([0, -1, 3e38, np.nan], "f"), np.array([0, 1e3, 3e38, np.inf], "f")
    assert np.isnan(interpret(g, [x, y])[0][0])  # warnings are errors in this suite


def test_binding_reads_sizes_off_the_inputs(graph):
    arrays = bind_inputs(graph, [ones(3, 3), ones(3, 3)])
    assert graph.bind(arrays) == {"N": 3}


def test_sizes_computed_from_symbols():
    g = parse_graph("""graph g {
      input %x: f32[N]
      input %y: f32[2*N + 1]
      %z: f32[3*N + 1] = concat %x, %y {axis=0}
      return %z
    }""")
    assert interpret(g, [ones(2), ones(5)])[0].shape == (7,)
    with pytest.raises(
        ArgumentShapeError, match=r"input 'y': expected float32\[2\*N \+ 1\], got shape \[4\]"
    ):
        interpret(g, [ones(2), ones(4)])
