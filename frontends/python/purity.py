"""Tells whether two traces of one program gave the same graph."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from graphc.errors import TraceError
from graphc.ir.graph import Graph
from graphc.ir.printer import print_node


class ImpureError(TraceError):
    """The program does not do the same each time it is traced.

    It was traced twice and the graphs differ: it reads random numbers, the clock, or something it changes itself (a
    counter, a list that grows).  Whatever it read would be frozen into the compiled model.  Pass such values as inputs;
    for random numbers in training use `dropout`, whose seed is an input.
    """

    code = "GC0204"


def check_same(first: Graph, second: Graph) -> None:
    """Raise ImpureError at the first node, or array, in which the graphs differ."""
    for number, (a, b) in enumerate(zip_longest(first.nodes, second.nodes)):
        if a is None or b is None or print_node(a) != print_node(b):
            node = a or b
            assert node is not None
            shown = [print_node(n) if n is not None else "nothing" for n in (a, b)]
            raise ImpureError(
                f"the program was traced twice and differs at node {number + 1}",
                span=node.provenance.span,
                facts=[("first", shown[0]), ("second", shown[1])],
                fix="random numbers, the time and changing state cannot be part of a graph: pass them as inputs",
            )
    for leaf, other in zip_longest(first.constants + first.parameters, second.constants + second.parameters):
        same = leaf is not None and other is not None and (leaf.name, leaf.type) == (other.name, other.type)
        if not same or not np.array_equal(
            first.data[leaf.name], second.data[leaf.name], equal_nan=leaf.dtype.is_float
        ):
            name = (leaf or other).name
            users = first.users.get(leaf, ()) if leaf is not None else ()
            raise ImpureError(
                f"the program was traced twice, and the array {name} differs",
                span=users[0].provenance.span if users else None,
                fix="random numbers, the time and changing state cannot be part of a graph: pass them as inputs",
            )
    if first.output_names != second.output_names or [v.name for v in first.outputs] != [
        v.name for v in second.outputs
    ]:
        raise ImpureError("the program was traced twice and returns different results")
