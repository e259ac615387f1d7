"""The builder: explicit broadcasting, lifted numbers, unique names, errors with the user's line."""

import numpy as np
import pytest

from graphc import ops
from graphc.errors import BroadcastError, DTypeError, GraphcError, InternalError, TraceError
from graphc.interpret import interpret
from graphc.ir.builder import Builder, broadcast_shapes, canonical_attribute
from graphc.ir.dims import symbol
from graphc.ir.graph import Provenance
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import float32, int32, parse_type
from graphc.ir.verifier import verify
from graphc.source import Span

N = symbol("N")


def leaf(builder, name, text, kind="input"):
    return builder.leaf(kind, name, parse_type(text))


def test_an_op_outside_of_a_graph():
    with pytest.raises(InternalError, match="while no graph is being built"):
        ops.tanh(np.zeros(3))


def test_builders_nest():
    with Builder("outer") as outer:
        x = leaf(outer, "x", "f32[3]")
        with Builder("inner") as inner:
            ops.tanh(leaf(inner, "x", "f32[3]"))
            assert Builder.current() is inner
        assert Builder.current() is outer
        ops.exp(x)
    assert Builder.active() is None
    assert [n.op.name for n in outer.nodes] == ["exp"] and [n.op.name for n in inner.nodes] == ["tanh"]


def test_an_exception_leaves_no_builder_behind():
    with pytest.raises(ZeroDivisionError), Builder("g"):
        _ = 1 / 0
    assert Builder.active() is None


@pytest.mark.parametrize("a", [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (4, 1, 3), (0, 3), (1, 0)])
@pytest.mark.parametrize("b", [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 1), (0, 3), (5,)])
def test_broadcasting_is_numpys(a, b):
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(TypeRuleError, match="do not broadcast"):
            broadcast_shapes([a, b])
        return
    assert broadcast_shapes([a, b]) == expected
    with Builder("g") as builder:
        x, y = leaf(builder, "x", f"f64{list(a)}"), leaf(builder, "y", f"f64{list(b)}")
        z = x - y
    graph = verify(builder.finish([z], ["z"]))
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=a), rng.normal(size=b)
    np.testing.assert_array_equal(interpret(graph, [left, right])[0], left - right)


def test_symbolic_broadcasting():
    assert broadcast_shapes([(N, 1), (4,)]) == (N, 4)
    assert broadcast_shapes([(N, 3), (N, 3), ()]) == (N, 3)
    with pytest.raises(TypeRuleError, match=r"\{0\} and \{1\} differ at axis -1 \(N and 4\)"):
        broadcast_shapes([(N,), (4,)])


@pytest.mark.parametrize("number", [2, 2.5, True, np.float32(0.5), np.int64(3)])
def test_numbers_take_the_dtype_of_the_tensor(number):
    with Builder("g") as builder:
        x = leaf(builder, "x", "f32[3]")
        assert (x + number).type == (number * x).type == x.type
    assert all(v.dtype == float32 for node in builder.nodes for v in node.outputs)


def test_what_cannot_be_lifted():
    with Builder("g") as builder:
        x, i, b = leaf(builder, "x", "f32[3]"), leaf(builder, "i", "i32[3]"), leaf(builder, "b", "bool[3]")
        with pytest.raises(DTypeError, match="the number 0.5 does not fit a tensor of int32"):
            _ = i + 0.5
        with pytest.raises(DTypeError, match="the number 0.5 does not fit a tensor of bool"):
            ops.equal(b, 0.5)
        with pytest.raises(TraceError, match="operand 2 is a str, not a tensor or a number"):
            _ = x + "1"
        with pytest.raises(TraceError, match="operand 2 is a ndarray"):
            ops.add(x, np.zeros(3))
        with pytest.raises(GraphcError, match="needs at least one tensor"):
            ops.add(1, 2)
        assert ops.where(b, x, 0.0).type == x.type and ops.where(b, 1, i).type == i.type


def test_operands_and_attributes_are_counted():
    with Builder("g") as builder:
        x = leaf(builder, "x", "f32[3]")
        for build, message in (
            (lambda: ops.tanh(x, x), "tanh takes 1 operands, 2 are given"),
            (lambda: ops.add(x), "add takes 2 operands, 1 are given"),
            (lambda: ops.sum_(x), "sum needs the attribute axes"),
            (lambda: ops.sum_(x, axes=(0,), keep=True), "sum has no attribute keep"),
            (lambda: ops.tanh(x, axes=(0,)), "tanh has no attribute axes"),
        ):
            with pytest.raises(GraphcError, match=message):
                build()
    assert ops.add_n.arity == (1, None) and ops.linear.arity == (2, 3) and ops.equal.arity == (2, 2)


def test_there_is_no_such_op():
    with pytest.raises(AttributeError, match="there is no op 'tahn'"):
        _ = ops.tahn


def test_names():
    with Builder("g", taken=["add"]) as builder:
        x = leaf(builder, "x", "f32[3]")
        first, second = x + x, x + x
        with builder.at(Provenance(module="layer.0", variable="")):
            inner = x * x
        with builder.at(Provenance(variable="h 1/ü")):
            named, again = ops.exp(x), ops.exp(x)
        with builder.at(Provenance(role="backward", forward="h")):
            backward = ops.exp(x)
        pooled = ops.max_pool(
            leaf(builder, "p", "f32[1,1,4]"),
            kernel=(2,),
            strides=(2,),
            padding=((0, 0),),
            dilation=(1,),
            ceil=False,
        )
    assert [v.name for v in (first, second, inner)] == ["add_2", "add_3", "layer.0.mul"]
    assert [v.name for v in (named, again, backward)] == ["h_1__", "h_1___2", "d_h.exp"]
    assert [v.name for v in pooled] == ["max_pool", "max_pool.1"]
    verify(builder.finish([backward], ["y"]))


def test_an_error_has_the_line_the_operands_and_where_they_come_from():
    span = Span("net.py", 7, 4, 7, 9)
    with Builder("g") as builder:
        x = leaf(builder, "x", "f32[N,3]")
        with builder.at(Provenance(Span("net.py", 3, 0, 3, 1))):
            h = ops.tanh(x)
        w = leaf(builder, "w", "f32[4,5]", "parameter")
        with builder.at(Provenance(span)), pytest.raises(GraphcError) as caught:
            ops.matmul(h, w)
    error = caught.value
    assert error.span == span and "3 (tanh) and 4 (w)" in error.message
    assert [(f.name, f.type) for f in error.facts] == [("tanh", "float32[N,3]"), ("w", "float32[4,5]")]
    assert "from tanh at" in error.facts[0].note and "net.py:3" in error.facts[0].note
    assert error.facts[1].note == "parameter of the graph"


def test_broadcast_error_names_the_kind():
    with (
        Builder("g") as builder,
        pytest.raises(BroadcastError, match=r"x and y differ at axis -1 \(3 and 4\)"),
    ):
        ops.add(leaf(builder, "x", "f32[2,3]"), leaf(builder, "y", "f32[4]"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, [2, 3]], (1, (2, 3))),
        (np.int64(3), 3),
        (np.dtype("int32"), int32),
        (N, N),
        ("s", "s"),
        (None, None),
    ],
)
def test_attributes_are_made_plain(value, expected):
    result = canonical_attribute(value)
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize("value", [{1: 2}, np.zeros(3), lambda: 0, 1j, {1, 2}])
def test_what_is_no_attribute(value):
    with pytest.raises(TypeRuleError, match="an attribute cannot be a"):
        canonical_attribute(value)


def test_faulty_declarations_are_refused():
    def members(**changes):
        return {"__doc__": "An op.", "reference": lambda x: x, "infer": lambda x: x} | changes

    with pytest.raises(TypeError, match="op tanh is declared twice"):
        op(Kind.ELEMENTWISE)(type("tanh", (), members()))
    with pytest.raises(TypeError, match="op new: no such member: refrence"):
        op(Kind.ELEMENTWISE)(type("new", (), members(refrence=lambda x: x)))
    with pytest.raises(TypeError, match="op new has no docstring"):
        op(Kind.ELEMENTWISE)(type("new", (), members(__doc__=None)))


def test_a_graph_knows_the_least_sizes_its_nodes_need():
    def limits(make):
        with Builder("g") as b:
            y = make(b.leaf("input", "x", parse_type("f32[N,4]")))
        return b.finish([y], ["y"]).dims

    n = symbol("N")
    assert limits(lambda x: ops.sum(x, axes=(0,))) == {}
    assert limits(lambda x: ops.max(x, axes=(0,))) == {"N": (1, None)}
    assert limits(lambda x: ops.argmin(x, axis=0)) == {"N": (1, None)}
    assert limits(lambda x: ops.max(x, axes=(1,))) == {}
    assert limits(lambda x: ops.slice(x, starts=(3, 0), stops=(n, 4), steps=(1, 1))) == {"N": (3, None)}
    spaced = {"low": (0, 0), "high": (0, 0), "interior": (2, 0), "value": 0.0}
    assert limits(lambda x: ops.pad(x, **spaced)) == {"N": (1, None)}  # 3·N - 2 elements
    assert limits(
        lambda x: ops.max(ops.slice(x, starts=(1, 0), stops=(n, 4), steps=(1, 1)), axes=(0, 1))
    ) == {"N": (2, None)}
