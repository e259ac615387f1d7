"""A planted fault is found in a small graph."""

from graphc.ir.op import REGISTRY
from graphc.ir.verifier import verify
from tests.fuzz.random_graphs import random_case
from tests.fuzz.shrink import shrink


def test_a_planted_fault_shrinks_to_the_nodes_that_cause_it():
    shrunk = 0
    for seed in range(30):
        case = random_case(seed, (30, 60))

        def fails(graph, inputs):
            """The fault: a product of something that was negated or made absolute."""
            verify(graph)
            return any(
                node.op is REGISTRY["mul"]
                and any(v.node and v.node.op.name in ("neg", "abs") for v in node.inputs)
                for node in graph.nodes
            )

        graph, inputs = shrink(case.graph, case.inputs, fails)
        if fails(case.graph, case.inputs):
            assert fails(graph, inputs) and len(graph.nodes) <= 4, seed
            assert set(inputs) == {v.name for v in graph.inputs}
            shrunk += 1
        else:
            assert graph is case.graph
    assert shrunk >= 3
