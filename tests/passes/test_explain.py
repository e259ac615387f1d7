"""The story of a compilation as text."""

import pytest

from graphc.errors import UsageError
from graphc.explain import explain, print_partition, why_not
from graphc.ir.parser import parse_graph
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import inference_passes, run_passes

TEXT = """
graph small(N: 1..64) {
  input %x: f32[N,4]
  param %w: f32[3,4]
  %n: f32[N,4] = neg %x
  %m: f32[N,4] = neg %n
  %p: f32[N,3] = matmul %m, %w {transpose_w=True, transpose_x=False}
  %e: f32[N,3] = exp %p
  %s: f32[N] = sum %e {axes=(1,)}
  %l: f32[N] = log %s
  return %l as "y"
}
"""


@pytest.fixture(scope="module")
def story():
    log = run_passes(parse_graph(TEXT), inference_passes())
    return log, fuse(log.graph)


def test_every_pass_and_every_change_is_told(story):
    text = explain(*story)
    assert "note %l: ln Σ e^x = logsumexp(x)" in text
    assert "after stabilize: 4 nodes, 2 fewer" in text
    assert "  ~ %l: f32[N] = log %s  ->  %logsumexp: f32[N] = logsumexp %p {axes=(1,)}" in text
    assert "  - %e: f32[N,3] = exp %p" in text
    assert "  - %m: f32[N,4] = neg %n  ->  %x" in text
    assert "fuse: " in text and " is not fused into " in text
    assert "after fold_batch_norm: 4 nodes, nothing changed" in text
    order = [text.index(f"after {step.name}:") for step in story[0].steps]
    assert order == sorted(order)


def test_one_pass_alone(story):
    text = explain(*story, only="canonicalize")
    assert text.startswith("after canonicalize:") and "after expand" not in text
    assert explain(*story, only="fuse").startswith("fuse:")
    with pytest.raises(UsageError, match="no pass 'canonicalise' ran"):
        explain(*story, only="canonicalise")


def test_why_not(story):
    partition = story[1]
    assert "a reduction needs the whole result of matmul" in explain(*story, only="fuse")
    refusal = partition.refusals[0]
    assert refusal.reason in why_not(partition, refusal.producer, refusal.consumer)
    kernel = next(k for k in partition.kernels if len(k.nodes) > 1)
    assert "in one kernel" in why_not(partition, kernel.nodes[0].name, kernel.nodes[1].name)
    with pytest.raises(UsageError, match="no kernel computes"):
        why_not(partition, "nothing", refusal.consumer)


def test_kernels_as_text(story):
    text = print_partition(story[1])
    assert text.startswith("k0 contraction (%x, %w) -> (%p) {\n  %p: f32[N,3] = matmul")
    assert text.count("{\n") == text.count("\n}") == len(story[1].kernels)
