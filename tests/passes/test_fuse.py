"""Fusion: partitions hold what the contract says, and running their kernels gives the interpreter's numbers."""

import numpy as np
import pytest

from graphc.interpret import evaluate
from graphc.ir.graph import Graph
from graphc.passes.canonicalize import canonicalize
from graphc.passes.fuse import fuse
from tests.passes import element_backend, networks


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
    return {v: found[v] for v in graph.inputs}, {v.name: found[v] for v in graph.parameters + graph.constants}


def check_partition(graph: Graph) -> None:
    """A partition covers the graph, is acyclic, reads and writes what it must and no more, and changes no number."""
    partition = fuse(graph)
    inputs, data = arrays_for(graph)
    values = evaluate(graph, {v.name: a for v, a in inputs.items()}, data)
    written = {v for v in graph.leaves}
    places: dict = {}
    for kernel in partition.kernels:
        inside = {v for node in kernel.nodes for v in node.outputs}
        for value in kernel.inputs:
            assert value in written, f"{kernel} reads %{value.name} before it is written"
        needed = {v for node in kernel.nodes for v in node.inputs}
        assert set(kernel.inputs) <= needed and needed <= inside | set(kernel.inputs)
        assert len(set(kernel.inputs)) == len(kernel.inputs) and len(set(kernel.outputs)) == len(
            kernel.outputs
        )
        written |= set(kernel.outputs)
        for node in kernel.nodes:
            places.setdefault(node, []).append(kernel)
    assert set(places) >= set(graph.nodes)
    reads = {v for kernel in partition.kernels for v in kernel.inputs} | set(graph.outputs)
    for kernel in partition.kernels:
        assert set(kernel.outputs) <= reads
    leaves = {v: values[v] for v in graph.leaves}
    memory = element_backend.run(partition, leaves, graph.bind({v.name: a for v, a in inputs.items()}))
    for value, array in memory.items():
        np.testing.assert_allclose(array, values[value], rtol=1e-5, atol=1e-6, err_msg=repr(value))


@pytest.mark.parametrize("network", networks.ALL, ids=lambda f: f.__name__)
def test_partition_of_a_network(network):
    graph = network()
    check_partition(graph)
    check_partition(canonicalize(graph)[0])
