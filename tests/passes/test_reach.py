"""Masks of merging groups say what a search through the merged graph says."""

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.passes.reach import Groups


@st.composite
def acyclic(draw):
    count = draw(st.integers(2, 14))
    return [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(count)]


def merged(operands, groups):
    graph = networkx.DiGraph()
    graph.add_nodes_from({groups.group(i) for i in range(len(operands))})
    for i, reads in enumerate(operands):
        graph.add_edges_from(
            (groups.group(j), groups.group(i)) for j in reads if groups.group(j) != groups.group(i)
        )
    return graph


@settings(max_examples=150, deadline=None)
@given(acyclic(), st.data())
def test_masks_agree_with_search(operands, data):
    groups = Groups(operands)
    for _ in range(len(operands)):
        graph = merged(operands, groups)
        assert networkx.is_directed_acyclic_graph(graph)
        for g in graph:
            above = {groups.group(i) for i in range(len(operands)) if groups.above[g] >> i & 1}
            below = {groups.group(i) for i in range(len(operands)) if groups.below[g] >> i & 1}
            assert above == networkx.ancestors(graph, g) and below == networkx.descendants(graph, g)
            assert {i for i in range(len(operands)) if groups.group(i) == g} == {
                i for i in range(len(operands)) if groups.members[g] >> i & 1
            }
        names = sorted(graph)
        if len(names) < 2:
            return
        a, b = data.draw(st.permutations(names))[:2]
        paths = [p for x, y in ((a, b), (b, a)) for p in networkx.all_simple_paths(graph, x, y) if len(p) > 2]
        blocking = groups.between(a, b)
        assert (blocking is None) == (not paths)
        assert groups.related(a, b) == (networkx.has_path(graph, a, b) or networkx.has_path(graph, b, a))
        if blocking is None:
            groups.merge(a, b)
        else:
            assert groups.group(blocking) in {g for path in paths for g in path[1:-1]}
