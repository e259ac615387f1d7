"""What a graph needs of its symbolic sizes: no axis is shorter than nothing, no maximum is taken over nothing.

`x[1:]` of x[N] has N - 1 elements, which N = 0 does not allow; a maximum over a batch needs a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphc.ir.dims import Dim, linear_in, symbols_of
from graphc.ir.graph import Node
from graphc.ir.op import Kind

OF_NOTHING = ("sum", "prod")  # reductions with a value for no elements
Limits = dict[str, tuple[int, int | None]]


def tightened(nodes: Iterable[Node], dims: Mapping[str, tuple[int, int | None]]) -> Limits:
    """The ranges of symbols with the least size raised to what every node needs."""
    limits = dict(dims)
    nodes = list(nodes)
    for body in (body for node in nodes for body in node.bodies):
        for name, (least, _) in body.dims.items():
            low, high = limits.get(name, (0, None))
            limits[name] = max(low, least), high
    needed = dict.fromkeys(
        (d, 0) for n in nodes for v in n.outputs for d in v.shape if not isinstance(d, int)
    )
    needed |= dict.fromkeys((node.inputs[0].shape[axis], 1) for node in nodes for axis in _not_empty(node))
    for dim, size in needed:
        for name, least in _least(dim, size):
            low, high = limits.get(name, (0, None))
            if least > low:
                limits[name] = least, high
    return limits


def _not_empty(node: Node) -> tuple[int, ...]:
    """Axes of the first operand that need an element: of an extremum, and where padding goes between elements."""
    attributes = node.attributes
    if node.op.kind is Kind.REDUCTION and node.op.name not in OF_NOTHING:
        axes: tuple[int, ...] = attributes["axes"] if "axes" in attributes else (attributes["axis"],)
        return axes
    if node.op.name == "pad":
        return tuple(axis for axis, between in enumerate(attributes["interior"]) if between)
    return ()


def _least(dim: Dim, size: int) -> list[tuple[str, int]]:
    """The symbol of a·N + b, and the least N >= 0 for which that is at least `size`."""
    symbols = symbols_of(dim)
    pair = linear_in(dim, symbols[0]) if len(symbols) == 1 else None
    if pair is None or pair[0] <= 0:
        return []
    slope, rest = pair
    return [(symbols[0], max(0, -((rest - size) // slope)))]
