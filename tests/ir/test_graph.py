"""Graphs: the verifier's rules, rewriting, pruning, users, composites, views for analysis."""

import numpy as np
import pytest

from graphc import ops
from graphc.interpret import interpret
from graphc.ir.analysis import ancestor_masks, to_networkx
from graphc.ir.builder import Builder
from graphc.ir.composite import body_graph, inline
from graphc.ir.graph import Graph, Node, Provenance, Value
from graphc.ir.op import REGISTRY, Kind, Op
from graphc.ir.parser import parse_graph
from graphc.ir.rewriter import compose, prune, rewrite
from graphc.ir.types import TensorType, float32, float64, parse_type
from graphc.ir.verifier import VerificationError, verify

TEXT = """graph g {
  input %x: f32[N,3]
  param %w: f32[5,3]
  const %c: f32[3]
  %b: f32[N,3] = broadcast_to %c {shape=(N, 3)}
  %s: f32[N,3] = add %x, %b
  %y: f32[N,5] = linear %s, %w
  %z: f32[N,5] = tanh %y
  %dead: f32[N,5] = exp %y
  return %z as "z"
}"""


@pytest.fixture
def graph():
    data = {"w": np.ones((5, 3), "f"), "c": np.arange(3, dtype="f")}
    return verify(parse_graph(TEXT).with_(data=data))


def node(op, inputs, type, name, attributes=()):
    return Node(op, tuple(inputs), dict(attributes), (type,), (name,))


def broken(graph, rule):
    """The graph with one rule of the specification violated."""
    x, w = graph.inputs[0], graph.parameters[0]
    s, y = graph.value("s"), graph.value("y")
    tanh = REGISTRY["tanh"]
    match rule:
        case 1:
            return graph.with_(nodes=(*graph.nodes, node(tanh, [y], y.type, "z")))
        case 2:
            return graph.with_(inputs=(x, w), parameters=())
        case 3:
            return graph.with_(nodes=graph.nodes[1:])
        case 4:
            other = Op("tanh", Kind.ELEMENTWISE, "Not the registered one.", tanh.infer, tanh.reference)
            return graph.with_(nodes=(*graph.nodes, node(other, [y], y.type, "t")))
        case 5:
            return graph.with_(nodes=(*graph.nodes, node(tanh, [y], s.type, "t")))
        case 6:
            free = TensorType(float32, parse_type("f32[M]").shape)
            attributes = {"shape": free.shape, "axis": 0, "dtype": float32}
            return graph.with_(nodes=(*graph.nodes, node(REGISTRY["iota"], [], free, "t", attributes)))
        case 7:
            return graph.with_(outputs=(Value("z", y.type),))
        case 8:
            return graph.with_(data={**graph.data, "w": np.ones((5, 3))})
    raise AssertionError(rule)


@pytest.mark.parametrize("rule", range(1, 9))
def test_each_rule_of_a_well_formed_graph(graph, rule):
    with pytest.raises(VerificationError, match=f"rule {rule}"):
        verify(broken(graph, rule))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda g: g.with_(inputs=(Value("a b", g.inputs[0].type, leaf="input"),)), 1),
        (lambda g: g.with_(nodes=tuple(reversed(g.nodes))), 3),
        (lambda g: g.with_(outputs=g.outputs * 2, output_names=("z", "z")), 7),
        (lambda g: g.with_(data={**g.data, "w": np.ones((3, 5), "f")}), 8),
        (lambda g: g.with_(data={**g.data, "v": np.ones(3, "f")}), 8),
        (lambda g: g.with_(data={**g.data, "x": np.ones((2, 3), "f")}), 8),
    ],
)
def test_neighbours_of_the_rules(graph, change, rule):
    with pytest.raises(VerificationError, match=f"rule {rule}"):
        verify(change(graph))


def test_attributes_that_are_not_plain(graph):
    y = graph.value("y")
    summed = node(REGISTRY["sum"], [y], parse_type("f32[5]"), "t", {"axes": [0]})
    with pytest.raises(VerificationError, match="rule 4"):
        verify(graph.with_(nodes=(*graph.nodes, summed)))
    missing = node(REGISTRY["sum"], [y], parse_type("f32[5]"), "t", {})
    with pytest.raises(VerificationError, match="rule 5.*needs the attribute axes"):
        verify(graph.with_(nodes=(*graph.nodes, missing)))


def test_queries(graph):
    assert [n.name for n in graph.users[graph.value("y")]] == ["z", "dead"]
    assert graph.users[graph.value("z")] == ()
    assert graph.bind({"x": np.zeros((4, 3))}) == {"N": 4}
    assert graph.value("s").node.output is graph.value("s")
    with pytest.raises(KeyError):
        graph.value("nothing")
    assert repr(graph) == TEXT


def test_a_node_that_reads_a_value_twice_is_one_user():
    g = parse_graph("graph g {\n input %x: f32[3]\n %y: f32[3] = mul %x, %x\n return %y\n}")
    assert g.users[g.inputs[0]] == g.nodes


def test_rewriting_shares_what_did_not_change(graph):
    def swap(node, operands):
        return ops.sigmoid(*operands) if node.op.name == "tanh" else None

    after, mapping = rewrite(graph, swap, "swap")
    verify(after)
    assert [n.op.name for n in after.nodes] == ["broadcast_to", "add", "linear", "sigmoid"]
    assert after.nodes[0] is graph.nodes[0] and after.nodes[2] is graph.nodes[2]
    assert mapping[graph.value("z")] is after.outputs[0] and mapping[graph.value("y")] is graph.value("y")
    assert after.nodes[-1].provenance.made_by == "swap"
    assert after.output_names == ("z",) and set(after.data) == {"w", "c"}


def test_rewriting_passes_new_operands_on(graph):
    def double(node, operands):
        return ops.add(operands[0], operands[0]) if node.op.name == "add" else None

    after, mapping = rewrite(graph, double, "double")
    verify(after)
    assert [n.op.name for n in after.nodes] == ["add", "linear", "tanh"]
    assert after.constants == () and set(after.data) == {"w"}
    x = np.ones((2, 3), "f")
    expected = np.tanh(2 * x @ np.ones((3, 5), "f"))
    np.testing.assert_allclose(interpret(after, [x])[0], expected, rtol=1e-6)
    third, second = rewrite(after, lambda node, operands: None, "nothing")
    assert third.nodes == after.nodes
    both = compose(mapping, second)
    assert both[graph.value("z")] is third.outputs[0]


def test_rewriting_keeps_provenance():
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type("f32[3]"))
        with builder.at(Provenance(module="layer1", variable="h")):
            y = ops.tanh(x)
    g = builder.finish([y], ["y"])
    after, _ = rewrite(g, lambda node, operands: ops.exp(*operands), "pass")
    assert after.nodes[0].provenance == Provenance(module="layer1", variable="h", made_by="pass")


def test_pruning(graph):
    small = prune(graph)
    assert [n.name for n in small.nodes] == ["b", "s", "y", "z"]
    assert prune(small) is small


def test_a_body_is_inlined_with_its_operands():
    types = [parse_type("f64[N,3]")]
    body = body_graph(REGISTRY["softmax"], types, {"axis": 1})
    assert body is body_graph(REGISTRY["softmax"], types, {"axis": 1}), "bodies are made once"
    with Builder("g") as builder:
        x = builder.leaf("input", "x", types[0])
        outputs, made = inline(body, [ops.exp(x)])
    g = verify(builder.finish(outputs, ["y"]))
    assert len(made) == len(body.nodes) and g.nodes[1:] == tuple(made)
    a = np.random.default_rng(0).normal(size=(4, 3))
    e = np.exp(np.exp(a))
    np.testing.assert_allclose(interpret(g, [a])[0], e / e.sum(1, keepdims=True), rtol=1e-12)


def test_a_deep_graph_needs_no_deep_stack():
    with Builder("deep") as builder:
        y = builder.leaf("input", "x", parse_type("f64[2]"))
        for _ in range(5000):
            y = ops.tanh(y)
    g = verify(builder.finish([y], ["y"]))
    assert len(prune(g).nodes) == 5000
    after, _ = rewrite(g, lambda node, operands: None, "nothing")
    assert interpret(after, [np.ones(2)])[0].shape == (2,)


def test_views_for_analysis(graph):
    masks = ancestor_masks(graph.nodes)
    assert masks == [0b1, 0b11, 0b111, 0b1111, 0b10111]
    view = to_networkx(graph)
    assert set(view.nodes) == {"x", "w", "c", "b", "s", "y", "z", "dead"}
    assert sorted(view.in_edges("y")) == [("s", "y"), ("w", "y")]
    assert view.nodes["w"]["kind"] == "parameter" and view.nodes["y"]["op"] == "linear"


def test_leaves_of_a_graph():
    g = Graph("g", (), (), (), (), (), ())
    assert verify(g).leaves == () and list(g.values()) == [] and float64 != float32
