"""Metamorphic relations: what does not change a graph's numbers does not change them after the passes either.

Each relation is put behind random values of random graphs.  Those a pass should see through must also leave no trace:
the optimised graph is as small as without them.
"""

from collections.abc import Callable

import numpy as np
import pytest

from graphc import ops
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import rewrite
from graphc.ir.verifier import verify
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import inference_passes, run_passes
from tests.fuzz.comparing import bound, compare
from tests.fuzz.random_graphs import random_case
from tests.passes.partitions import check_partition

SEEDS = range(8)


def turned(x: Value) -> Value:
    order = tuple(reversed(range(x.type.rank)))
    return ops.transpose(ops.transpose(x, permutation=order), permutation=order)


def flattened(x: Value) -> Value:
    return ops.reshape(ops.reshape(x, shape=(x.type.size,)), shape=x.shape)


def reversed_twice(x: Value) -> Value:
    axes = tuple(range(x.type.rank))
    return ops.reverse(ops.reverse(x, axes=axes), axes=axes)


def padded(x: Value) -> Value:
    ones = (1,) * x.type.rank
    wide = ops.pad(x, low=ones, high=ones, interior=(0,) * x.type.rank, value=0.0)
    return ops.slice(wide, starts=ones, stops=tuple(d + 1 for d in x.shape), steps=ones)


def halves(x: Value) -> Value:
    last = x.shape[-1]
    if not isinstance(last, int) or last < 2:
        return x
    rank, parts = x.type.rank, []
    for low, high in ((0, last // 2), (last // 2, last)):
        starts, stops = (*(0,) * (rank - 1), low), (*x.shape[:-1], high)
        parts.append(ops.slice(x, starts=starts, stops=stops, steps=(1,) * rank))
    return ops.concat(*parts, axis=rank - 1)


def dead(x: Value) -> Value:
    ops.sum(ops.exp(x), axes=tuple(range(x.type.rank)))
    return x


def copied(x: Value) -> Value:
    """The node once more, which no other reader shares."""
    assert x.node is not None
    return Builder.current().emit(x.node.op, x.node.inputs, x.node.attributes)[x.index]


SEEN_THROUGH: dict[str, Callable[[Value], Value]] = {
    "times one": lambda x: x * 1.0,
    "minus zero": lambda x: x - 0.0,
    "two signs": lambda x: ops.neg(-x),
    "transpose pair": turned,
    "flatten and back": flattened,
    "reverse twice": reversed_twice,
    "pad and slice": padded,
    "true choice": lambda x: ops.where(ops.equal(ops.constant(value=1.0, dtype=x.dtype), 1.0), x, x + 1.0),
    "dead branch": dead,
    "copied node": copied,
}
ONLY_EQUAL: dict[str, Callable[[Value], Value]] = {
    "split and concat": halves,
    "two halves": lambda x: x * 0.5 + x * 0.5,
    "stop_gradient": lambda x: ops.stop_gradient(x),
    "maximum with itself": lambda x: ops.maximum(x, ops.minimum(x, x)),
}


def insert(graph: Graph, relation: Callable[[Value], Value], seed: int) -> Graph:
    """The relation behind every third or so of the floating-point values of rank 1 or more."""
    rng = np.random.default_rng(seed)

    def rule(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        value = node.outputs[0]
        fits = value.dtype.is_float and value.type.rank >= 1 and len(node.outputs) == 1 and rng.random() < 0.4
        if not fits:
            return None
        (copy,) = Builder.current().emit(node.op, operands, node.attributes)
        return (relation(copy),)

    return verify(rewrite(graph, rule, "test")[0])


@pytest.mark.parametrize("name", sorted(SEEN_THROUGH | ONLY_EQUAL))
def test_relation(name):
    for seed in SEEDS:
        case = random_case(1000 + seed, (5, 30))
        changed = insert(case.graph, (SEEN_THROUGH | ONLY_EQUAL)[name], seed)
        plain, after = (run_passes(graph, inference_passes()).graph for graph in (case.graph, changed))
        label = f"seed {1000 + seed}, {name}"
        compare(verify(after), case.inputs, bound(case.graph, case.inputs, seed), label)
        if name in SEEN_THROUGH:
            assert len(after.nodes) <= len(plain.nodes), label
        check_partition(fuse(after), case.inputs, run=False)
