"""The passes in order: what the log keeps, what folds when, and that nothing recurses or runs away."""

import sys

import numpy as np
import pytest

from graphc import ops
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.graph import Provenance
from graphc.ir.types import parse_type
from graphc.ir.verifier import verify
from graphc.passes.dce import dce
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fuse import MAX_NODES, fuse
from graphc.passes.pipeline import (
    before_autodiff,
    grades_for,
    inference_passes,
    run_passes,
    training_passes,
)
from graphc.source import Span
from tests.passes import networks

CONV = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def normalised_convolution(*, bias=True, second_reader=False):
    rng = np.random.default_rng(3)
    with Builder("net") as b:
        x = b.leaf("input", "x", parse_type("f32[N,2,5,5]"))
        leaves = {"w": (3, 2, 3, 3), "b": (3,), "scale": (3,), "shift": (3,), "mean": (3,)}
        w, c, scale, shift, mean = (
            b.leaf("parameter", name, parse_type(f"f32[{','.join(map(str, shape))}]"))
            for name, shape in leaves.items()
        )
        variance = b.leaf("constant", "variance", parse_type("f32[3]"))
        y = ops.conv(x, w, **CONV)
        y = y + ops.reshape(c, shape=(3, 1, 1)) if bias else y
        z = ops.batch_norm(y, scale, shift, mean, variance)
    data = {name: rng.normal(size=shape).astype("f4") for name, shape in leaves.items()}
    data["variance"] = rng.uniform(0.5, 2, 3).astype("f4")
    outputs = [z, y] if second_reader else [z]
    return b.finish(outputs, [f"y{i}" for i in range(len(outputs))], data=data)


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_disappears_into_the_convolution(bias):
    graph = normalised_convolution(bias=bias)
    log = run_passes(graph, inference_passes(), check=True)
    assert [node.op.name for node in log.graph.nodes] == ["conv", "reshape", "broadcast_to", "add"]
    assert not log.graph.parameters and {v.name for v in log.graph.constants} == set(log.graph.data)
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype("f4")
    (before,), (after,) = interpret(graph, [x]), interpret(log.graph, [x])
    weight, scale = (
        np.abs(graph.data["w"]).reshape(3, -1).sum(1),
        graph.data["scale"] / np.sqrt(graph.data["variance"]),
    )
    # k·eps·Σ|w||x| of the convolution, times the factor of its channel, and the roundings of the norm
    allowed = np.finfo("f4").eps * 25 * (np.abs(scale) * (weight * np.abs(x).max() + 5) + 5)
    assert (np.abs(before - after) <= allowed.reshape(3, 1, 1)).all()


def test_folded_weights_are_rounded_once():
    graph = normalised_convolution()
    log = run_passes(graph, inference_passes())
    f = graph.data["scale"].astype(float) / np.sqrt(graph.data["variance"].astype(float) + 1e-5)
    weight = log.graph.data["w.folded"]
    assert np.array_equal(weight, (graph.data["w"].astype(float) * f.reshape(3, 1, 1, 1)).astype("f4"))


def test_batch_norm_stays_when_the_convolution_has_other_readers_or_weights_are_trained():
    kept = run_passes(normalised_convolution(second_reader=True), inference_passes()).graph
    assert any(node.op.name == "mul" for node in kept.nodes)
    trained = run_passes(normalised_convolution(), training_passes()).graph
    assert {"w", "scale", "mean"} <= {v.name for v in trained.parameters}
    without_data = run_passes(normalised_convolution().with_(data={}), inference_passes()).graph
    assert {"w", "scale", "mean"} <= {v.name for v in without_data.parameters}


def test_constants_fold_to_arrays_no_larger_than_their_sources():
    with Builder("fold") as b:
        x = b.leaf("input", "x", parse_type("f64[N,400]"))
        c = b.leaf("constant", "c", parse_type("f64[400]"))
        column = ops.reshape(ops.exp(c), shape=(400, 1))
        y = ops.matmul(x, ops.tanh(ops.broadcast_to(column, shape=(400, 400))))
    graph = b.finish([y], ["y"], data={"c": np.linspace(-1, 1, 400)})
    folded, _ = fold_constants(graph)
    assert sum(array.nbytes for array in folded.data.values()) == 400 * 8
    assert [node.op.name for node in folded.nodes] == ["reshape", "broadcast_to", "tanh", "matmul"]


def test_an_index_that_does_not_exist_is_an_error_when_the_graph_runs_not_before():
    from graphc.errors import GraphcError

    with Builder("outside") as b:
        x = b.leaf("input", "x", parse_type("f32[]"))
        c, i = b.leaf("constant", "c", parse_type("f32[2]")), b.leaf("constant", "i", parse_type("i64[1]"))
        y = ops.gather(c, i, axis=0) + x
    graph = b.finish([y], ["y"], data={"c": np.zeros(2, "f4"), "i": np.array([7])})
    folded, _ = fold_constants(graph)
    with pytest.raises(GraphcError, match="out of range"):
        interpret(folded, [np.float32(0)])


def test_parameters_nobody_reads_are_dropped_only_when_asked():
    graph = networks.mlp()
    with Builder("more") as b:
        b.adopt(graph.leaves)
        spare = b.leaf("parameter", "spare", parse_type("f32[3]"))
        for node in graph.nodes:
            b.append(node)
    more = b.finish(graph.outputs, graph.output_names)
    assert spare in dce(more)[0].parameters and spare not in dce(more, parameters=True)[0].parameters


def test_the_log_leads_from_the_end_to_the_beginning():
    graph = networks.mlp_step()
    log = run_passes(graph, training_passes(), check=True)
    assert [step.name for step in log.steps] == ["expand", "canonicalize", "fold_constants", "cse", "dce"]
    assert [log.mapping[v] for v in graph.outputs] == list(log.graph.outputs)
    for new, olds in log.origins.items():
        assert all(old.type == new.type for old in olds)
    assert (run_passes(graph, training_passes()[:2]) + run_passes(graph, training_passes()[2:])).steps[
        2
    ].name == "fold_constants"


def test_gradients_keep_their_names_through_the_passes():
    graph = networks.mlp_step()
    log = run_passes(graph, training_passes())
    after = log.graph
    assert after.gradients and all(
        v in after.by_name and d in after.by_name for v, d in after.gradients.items()
    )
    assert after.value(after.gradients["w1"]) is after.outputs[1]


def test_stabilize_makes_a_note_with_the_line_and_strict_does_nothing():
    with Builder("naive") as b:
        x = b.leaf("input", "x", parse_type("f32[N,10]"))
        with b.at(Provenance(span=Span("loss.py", 7))):
            y = ops.log(ops.softmax(x, axis=1))
    graph = b.finish([y], ["y"])
    log = run_passes(graph, before_autodiff())
    (note,) = log.notes
    assert str(note).startswith("loss.py:7: %log: ln softmax(x) = log_softmax(x)")
    assert [node.op.name for node in log.graph.nodes] == ["log_softmax"]
    assert log.graph.nodes[0].provenance.span == Span("loss.py", 7)
    assert log.graph.nodes[0].provenance.made_by == "stabilize"
    strict = run_passes(graph, before_autodiff(grades_for("strict")))
    assert strict.graph is graph or [n.op.name for n in strict.graph.nodes] == ["softmax", "log"]
    assert not strict.notes


def chain(length):
    with Builder("chain") as b:
        x = b.leaf("input", "x", parse_type("f32[N,3]"))
        y = x
        for n in range(length):
            y = ops.tanh(y) if n % 3 else y * 1.5
    return b.finish([y], ["y"])


def test_a_long_chain_needs_no_stack_and_kernels_stay_small():
    graph = chain(2000)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        log = run_passes(graph, inference_passes())
        partition = fuse(log.graph)
    finally:
        sys.setrecursionlimit(before)
    verify(log.graph)
    assert len(partition.kernels) == -(-2000 // MAX_NODES)
    assert any("more than" in refusal.reason for refusal in partition.refusals)


def test_notes_are_silent_without_a_listener():
    from graphc.passes.stabilize import stabilize

    with Builder("naive") as b:
        x = b.leaf("input", "x", parse_type("f32[N]"))
        y = ops.log(ops.sigmoid(x))
    after, _ = stabilize(b.finish([y], ["y"]))
    assert [node.op.name for node in after.nodes] == ["neg", "softplus", "neg"]


@pytest.mark.parametrize("numerics", ["strict", "default", "fast"])
@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_bodies_that_take_back_a_rounding_keep_doing_so(name, numerics):
    """Cancelling ln against e^x inside expm1 would undo it."""
    with Builder(name) as b:
        y = getattr(ops, name)(b.leaf("input", "x", parse_type("f32[N]")))
    graph = run_passes(b.finish([y], ["y"]), inference_passes(grades_for(numerics))).graph
    x = np.linspace(1e-6, 0.5, 1000, dtype="f4")
    (got,) = interpret(graph, [x])
    exact = getattr(np, name)(x.astype("f8"))
    assert (np.abs(got - exact) <= 4 * np.finfo("f4").eps * exact).all()


def test_a_sigmoid_that_is_needed_anyway_is_not_computed_twice():
    with Builder("slope") as b:
        p = ops.sigmoid(b.leaf("input", "x", parse_type("f32[N]")))
        slope, loss, alone = (
            p * (1.0 - p),
            ops.log(1.0 - p),
            1.0 - ops.sigmoid(b.leaf("input", "z", parse_type("f32[N]"))),
        )
    after = run_passes(b.finish([slope, loss, alone], ["slope", "loss", "alone"]), before_autodiff()).graph
    names = [node.op.name for node in after.nodes if node.op.name not in ("constant", "broadcast_to")]
    assert names == ["sigmoid", "sub", "mul", "softplus", "neg", "neg", "sigmoid"]
