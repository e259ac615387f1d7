"""The chain rule in words: every term is a value of the backward graph, and its words say what that graph computes."""

import numpy as np
import pytest

from graphc import api
from graphc.autodiff import differentiate
from graphc.interpret import evaluate
from graphc.ir.op import REGISTRY
from graphc.view import make_picture
from graphc.view.chain_rule import ChainRule, applied
from graphc.view.hidden import is_hidden
from graphc.view.units import gradients_of


def rule_of(function, **types: str) -> ChainRule:
    joint = differentiate(api.graph_of(function, types), list(types))
    return ChainRule(joint, gradients_of(joint))


def said(rule: ChainRule) -> dict[str, list[str]]:
    forward = [n for n in rule.graph.nodes if n.provenance.role == "forward" and not is_hidden(n)]
    found: dict[str, list[str]] = {}
    for node in reversed(forward):
        for term in rule.terms(node):
            found.setdefault(term.operand.name, []).append(term.text)
    return found


def test_a_matrix_product_says_what_is_transposed_and_summed() -> None:
    rule = rule_of(lambda x, w: x @ w, x="float64[N,3]", w="float64[3,2]")
    (node,) = (n for n in rule.graph.nodes if n.op.name == "matmul" and n.provenance.role == "forward")
    dx, dw = rule.terms(node)
    out = node.output.name
    assert (dx.text, dw.text) == (f"∇{out} · wᵀ", f"xᵀ · ∇{out}")
    assert dw.notes == ("[N,3] and [N,2] to [3,2], summed over N",)


def test_a_broadcast_is_the_reason_of_a_sum() -> None:
    rule = rule_of(lambda x, b: x + b, x="float64[N,3]", b="float64[3]")
    (node,) = (n for n in rule.graph.nodes if n.op.name == "add" and n.provenance.role == "forward")
    x, b = rule.terms(node)
    out = node.output.name
    assert (x.text, x.notes) == (f"∇{out}", ())
    assert (b.text, b.notes) == (f"Σ ∇{out}", ("summed over N, because it was broadcast to [N,3]",))


def test_a_value_used_twice_has_two_terms() -> None:
    rule = rule_of(lambda x, y: x * y + x, x="float64[3]", y="float64[3]")
    texts = said(rule)
    assert len(texts["x"]) == 2 and len(texts["y"]) == 1
    assert any("· y" in text for text in texts["x"])


@pytest.mark.parametrize("seed", range(3))
def test_the_terms_add_up_to_the_gradient(seed: int) -> None:
    def function(x, y, z):
        q = x * y + x
        return (q * z + q * x - y / z).sum()

    rule = rule_of(function, x="float64[4]", y="float64[4]", z="float64[4]")
    rng = np.random.default_rng(seed)
    values = evaluate(rule.graph, {name: rng.normal(size=4) for name in "xyz"})
    totals: dict[str, np.ndarray] = {}
    for node in rule.graph.nodes:
        if node.provenance.role == "forward" and not is_hidden(node):
            for term in rule.terms(node):
                totals[term.operand.name] = totals.get(term.operand.name, 0) + values[term.value]
    for value, gradient in rule.gradient.items():
        if value.name in totals:
            np.testing.assert_allclose(totals[value.name], values[gradient], rtol=1e-13)
    assert {"x", "y", "z"} <= totals.keys()


def test_every_formula_takes_its_operands() -> None:
    for op in REGISTRY.values():
        count = op.arity[1] or 3
        text = applied(op, [f"operand{i}" for i in range(count)])
        assert all(f"operand{i}" in text for i in range(count)), (op.name, text)


def test_the_story_goes_forward_then_backward_and_shows_everything_once() -> None:
    joint = differentiate(
        api.graph_of(lambda x, y, z: (x + y) * z * x, dict.fromkeys("xyz", "float64[]")), ["x", "y", "z"]
    )
    values = evaluate(joint, {"x": np.array(-2.0), "y": np.array(5.0), "z": np.array(-4.0)})
    steps = make_picture(joint, values=values, known={}).steps
    phases = [step.backward for step in steps]
    assert phases == sorted(phases)
    shown = [name for step in steps if step.backward for name in step.shows]
    assert len(shown) == len(set(shown))
    (addition,) = (step for step in steps if step.at == "a-x")
    assert addition.text == "∇x = 8 + (−12) = −4: x is used twice, and what comes back adds up"
