"""Checks of a partition by the contract in graphc/passes/fuse.py, independent of how it was made."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphc.interpret import evaluate
from graphc.ir.graph import Node
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel, Partition
from tests.passes import element_backend
from tests.passes.element_backend import CREATION, is_unit_reshape


def check_partition(partition: Partition, inputs: Mapping[str, np.ndarray], *, run: bool = True) -> None:
    """Covers the graph, is acyclic, reads and writes what it must and no more; run: gives the interpreter's numbers."""
    graph = partition.graph
    written = set(graph.leaves)
    places: dict[Node, list[Kernel]] = {}
    for number, kernel in enumerate(partition.kernels):
        assert kernel.name == f"k{number}"
        inside = {v for node in kernel.nodes for v in node.outputs}
        for value in kernel.inputs:
            assert value in written, f"{kernel} reads %{value.name} before it is written"
        needed = {v for node in kernel.nodes for v in node.inputs}
        assert set(kernel.inputs) <= needed, f"{kernel} reads more than it needs"
        assert needed <= inside | set(kernel.inputs), f"{kernel} needs more than it reads"
        assert len(set(kernel.inputs)) == len(kernel.inputs) and len(set(kernel.outputs)) == len(
            kernel.outputs
        )
        assert not written & set(kernel.outputs), f"{kernel} writes what is written already"
        written |= set(kernel.outputs)
        for node in kernel.nodes:
            places.setdefault(node, []).append(kernel)
    reads = {v for kernel in partition.kernels for v in kernel.inputs} | set(graph.outputs)
    assert reads <= written
    for kernel in partition.kernels:
        assert kernel.outputs and set(kernel.outputs) <= reads, f"{kernel} writes what nobody reads"
    for node in graph.nodes:
        assert node in places or is_cheap(node), f"{node!r} is in no kernel"
        assert is_cheap(node) or len(places[node]) == 1, f"{node!r} is computed more than once"
    for refusal in partition.refusals:
        producer, consumer = (graph.value(name).node for name in (refusal.producer, refusal.consumer))
        assert producer is not None and consumer is not None
        copied = is_cheap(producer) or is_cheap(consumer)
        assert copied or not set(places[producer]) & set(places[consumer]), refusal
    if run:
        values = evaluate(graph, inputs)
        leaves = {v: values[v] for v in graph.leaves}
        memory = element_backend.run(partition, leaves, graph.bind(inputs))
        for value, array in memory.items():
            if value.dtype.is_float:
                eps = np.finfo(array.dtype).eps
                scale = max(1.0, np.abs(values[value]).max(initial=0))
                np.testing.assert_allclose(
                    array, values[value], rtol=2**10 * eps, atol=2**10 * eps * scale, err_msg=repr(value)
                )
            else:
                np.testing.assert_array_equal(array, values[value], err_msg=repr(value))


def is_cheap(node: Node) -> bool:
    number = node.op.kind is Kind.ELEMENTWISE and node.outputs[0].type.rank == 0
    return node.op.name in (*CREATION, "broadcast_to") or is_unit_reshape(node) or number
