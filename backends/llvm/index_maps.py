"""Movement ops as maps from the index of their output to the index of their operand.

A map may come with conditions: outside of them the output is the padding, or belongs to another operand. What a
reshape does is found axis group by axis group, so that `[N,784] -> [N,28,28]` leaves the batch index alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.backends.llvm.affine import ZERO, Form, Index, Ranges, number, ravel
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node


@dataclass(frozen=True, slots=True)
class Condition:
    """`form >= 0`, or `form` divisible by `divisor` when one is given."""

    form: Form
    divisor: int = 0


Guard = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an output element comes from: operand `operand` at `index`, provided the conditions hold."""

    operand: int
    index: Index
    guard: Guard = ()


def sources(node: Node, index: Index, ranges: Ranges) -> list[Source]:
    """All places the element of a movement op's output at `index` may come from; at most one guard holds.

    Conditions that always hold are left out, and so are sources whose conditions never hold.
    """
    found = []
    for source in _MAPS[node.op.name](node, index, ranges):
        guard, possible = [], True
        for condition in source.guard:
            holds = ranges.nonnegative(condition.form) if not condition.divisor else _divides(condition)
            possible = possible and holds is not False
            if holds is None:
                guard.append(condition)
        if possible:
            found.append(Source(source.operand, source.index, tuple(guard)))
    return found


def moves(name: str) -> bool:
    """Whether an op is one of those above."""
    return name in _MAPS


def _divides(condition: Condition) -> bool | None:
    form, by = condition.form, condition.divisor
    parts = [c for _, c in form.terms]
    if all(isinstance(c, int) and c % by == 0 for c in parts) and isinstance(form.constant, int):
        return form.constant % by == 0
    return None


def _reshape(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    yield Source(0, reshape_index(index, node.output.shape, node.inputs[0].shape, ranges))


def reshape_index(index: Index, shape: Sequence[Dim], operand: Sequence[Dim], ranges: Ranges) -> Index:
    """The index in `operand` of the element at `index` of `shape`, both of one size."""
    result: list[Form] = [ZERO] * len(operand)
    for to_axes, from_axes in _groups(shape, operand):
        linear = ravel(tuple(index[a] for a in to_axes), [shape[a] for a in to_axes])
        for axis, form in zip(from_axes, ranges.unravel(linear, [operand[a] for a in from_axes])):
            result[axis] = form
    return tuple(result)


def _groups(shape: Sequence[Dim], operand: Sequence[Dim]) -> list[tuple[list[int], list[int]]]:
    """The finest pairing of runs of axes with equal sizes; axes of size 1 belong to none."""
    left = [a for a in range(len(shape)) if shape[a] != 1]
    right = [a for a in range(len(operand)) if operand[a] != 1]
    ends = {product(operand[a] for a in right[i:]): i for i in range(len(right), -1, -1)}
    groups, last_left, last_right = [], len(left), len(right)
    for i in range(len(left) - 1, -1, -1):
        j = ends.get(product(shape[a] for a in left[i:]))
        if j is not None and j < last_right:
            groups.append((left[i:last_left], right[j:last_right]))
            last_left, last_right = i, j
    if last_left or last_right:  # sizes of 0 pair with nothing; such arrays have no element to look for
        groups.append((left[:last_left], right[:last_right]))
    return groups[::-1]


def _transpose(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    permutation = node.attributes["permutation"]
    yield Source(0, tuple(index[permutation.index(axis)] for axis in range(len(permutation))))


def _broadcast_to(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    shape = node.inputs[0].shape
    kept = index[len(index) - len(shape) :]
    yield Source(0, tuple(ZERO if size == 1 else form for form, size in zip(kept, shape)))


def _slice(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    starts, steps = node.attributes["starts"], node.attributes["steps"]
    yield Source(0, tuple(form * step + start for form, start, step in zip(index, starts, steps)))


def _pad(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    low, interior = node.attributes["low"], node.attributes["interior"]
    inside, guard = [], []
    for form, before, between, size in zip(index, low, interior, node.inputs[0].shape):
        shifted, step = form - before, between + 1
        guard += [Condition(shifted), Condition(number((size - 1) * step) - shifted)]
        if step > 1:
            guard.append(Condition(shifted, step))
            # Under the guard the division is exact, so the loop need not be cut for it.
            shifted = Ranges(ranges.extents, may_split=False).divide(shifted, step)
        inside.append(shifted)
    yield Source(0, tuple(inside), tuple(guard))


def _reverse(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    axes, shape = node.attributes["axes"], node.output.shape
    yield Source(0, tuple(number(shape[a] - 1) - form if a in axes else form for a, form in enumerate(index)))


def _concat(node: Node, index: Index, ranges: Ranges) -> Iterator[Source]:
    axis = node.attributes["axis"]
    offset: Dim = 0
    for operand, value in enumerate(node.inputs):
        size = value.shape[axis]
        here = index[axis] - offset
        guard = (Condition(here), Condition(number(size - 1) - here))
        yield Source(operand, (*index[:axis], here, *index[axis + 1 :]), guard)
        offset = offset + size


Map = Callable[[Node, Index, Ranges], "Iterator[Source]"]

_MAPS: dict[str, Map] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "pad": _pad,
    "reverse": _reverse,
    "concat": _concat,
}


def fill_value(node: Node) -> Any:
    """What stands where no source does."""
    return node.attributes.get("value", 0)
