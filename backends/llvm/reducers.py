"""How elements are put together along a row: sum, maximum, minimum, position of the maximum.

A reducer carries a few elements, one row's state in every lane. `step` takes an element more; `join` puts two states
together, the first from earlier elements; `across` folds the lanes of a vector by a fixed tree, lane i with lane
i + half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.llvm.elements import Element, Elements
from graphc.backends.llvm.emitter import constant, vector
from graphc.errors import UnsupportedError
from graphc.ir.graph import Node
from graphc.ir.types import DType, int64

State = list[Element]


@dataclass(frozen=True, slots=True)
class Reducer:
    """The reduction of one node.

    start   the state before the first element, by dtype
    merge   two elements together
    """

    dtype: DType
    start: Any
    merge: Callable[[Elements, Element, Element], Element]

    def initial(self, b: Elements, count: int) -> State:
        return [b.number(self.start, self.dtype, count)]

    def step(
        self, b: Elements, state: State, x: Element, position: Element, present: Element | None
    ) -> State:
        """One element more where `present` holds; `position` is its index along the row."""
        if present is not None:
            x = b.select(present, x, b.constant(self.start, x))
        return self.join(b, state, [x])

    def join(self, b: Elements, first: State, second: State) -> State:
        return [self.merge(b, first[0], second[0])]


class Arg(Reducer):
    """The first position of the best element, which NaN is; `merge` says whether the second is better."""

    __slots__ = ()

    def initial(self, b: Elements, count: int) -> State:
        # Lane i begins with position i: lanes nothing was seen in lose against lane 0, where the row begins.
        lane = constant(list(range(count)), vector("i64", count)) if count else constant(0, "i64")
        return [b.number(self.start, self.dtype, count), Element(lane, int64)]

    def step(
        self, b: Elements, state: State, x: Element, position: Element, present: Element | None
    ) -> State:
        best, where = state
        better = self.merge(b, best, x)
        if self.dtype.is_float:
            better = b.or_(better, b.and_(b.is_nan(x), b.not_(b.is_nan(best))))
        if present is not None:
            better = b.and_(better, present)
        return [b.select(better, x, best), b.select(better, position, where)]

    def join(self, b: Elements, first: State, second: State) -> State:
        (x, at_x), (y, at_y) = first, second
        better, same = self.merge(b, x, y), b.equal(y, x)
        if self.dtype.is_float:
            nan_x, nan_y = b.is_nan(x), b.is_nan(y)
            better = b.or_(better, b.and_(nan_y, b.not_(nan_x)))
            same = b.or_(same, b.and_(nan_x, nan_y))
        better = b.or_(better, b.and_(same, b.less(at_y, at_x)))
        return [b.select(better, y, x), b.select(better, at_y, at_x)]


def reducer(node: Node) -> Reducer:
    """The reducer of a reduction node."""
    dtype = node.inputs[0].dtype
    lowest, highest = _ends(dtype)
    match node.op.name:
        case "sum":
            return Reducer(dtype, 0, Elements.add)
        case "prod":
            return Reducer(dtype, 1, Elements.mul)
        case "max":
            return Reducer(dtype, lowest, Elements.maximum)
        case "min":
            return Reducer(dtype, highest, Elements.minimum)
        case "argmax":
            return Arg(dtype, lowest, Elements.less)
        case "argmin":
            return Arg(dtype, highest, Elements.greater)
    raise UnsupportedError(f"no native code for {node.op.name}")


def axes_of(node: Node) -> tuple[int, ...]:
    """The axes a reduction removes."""
    return node.attributes["axes"] if "axes" in node.attributes else (node.attributes["axis"],)


def across(b: Elements, r: Reducer, state: State) -> State:
    """The state of all lanes together, as scalars."""
    count = state[0].lanes
    while count > 1:
        count //= 2
        low, high = list(range(count)), list(range(count, 2 * count))
        halves = [[_pick(b, x, lanes) for x in state] for lanes in (low, high)]
        state = r.join(b, *halves)
    return state


def _pick(b: Elements, x: Element, lanes: Sequence[int]) -> Element:
    if len(lanes) == 1:
        return Element(b.f.extract(x.reg, lanes[0]), x.dtype)
    return Element(b.f.shuffle(x.reg, x.reg, lanes), x.dtype)


def reducer_start(name: str, dtype: DType) -> Any:
    """The number a maximum or minimum begins with: no element is worse."""
    return _ends(dtype)[name == "min"]


def _ends(dtype: DType) -> tuple[Any, Any]:
    if dtype.is_float:
        return -np.inf, np.inf
    if dtype.kind == "bool":
        return False, True
    return np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
