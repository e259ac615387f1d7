"""Fusion: partitions hold what the contract says, and running their kernels gives the interpreter's numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir.graph import Graph
from graphc.passes.canonicalize import canonicalize
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import run_passes, training_passes
from tests.fuzz.random_graphs import random_case
from tests.passes import networks
from tests.passes.partitions import check_partition


def arrays_for(graph: Graph, seed: int = 0) -> tuple[dict, dict]:
    rng = np.random.default_rng(seed)
    found = {}
    for leaf in graph.leaves:
        shape = tuple(2 if not isinstance(d, int) else d for d in leaf.shape)
        ints = leaf.dtype.kind != "float"
        found[leaf] = (
            rng.integers(0, 3, shape).astype(leaf.dtype.numpy)
            if ints
            else rng.normal(size=shape).astype(leaf.dtype.numpy)
        )
    return {v.name: found[v] for v in graph.inputs}, {
        v.name: found[v] for v in graph.parameters + graph.constants
    }


@pytest.mark.parametrize("network", networks.ALL, ids=lambda f: f.__name__)
def test_partition_of_a_network(network):
    for graph in (network(), canonicalize(network())[0]):
        inputs, data = arrays_for(graph)
        check_partition(fuse(graph.with_(data=data)), inputs)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_partition_of_any_graph(seed):
    case = random_case(seed, (5, 25))
    graph = run_passes(case.graph, training_passes()).graph
    check_partition(fuse(graph), case.inputs, run=len(graph.nodes) < 60)
