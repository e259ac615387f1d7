"""Rules of movement: reshapes, transposes, slices, pads of each other, and reductions over nothing.

All are exact: no number changes, only where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.ir.graph import Value
from graphc.ops import (
    broadcast_to,
    concat,
    matmul,
    max_,
    min_,
    pad,
    reshape,
    reverse,
    slice_,
    sum_,
    transpose,
)
from graphc.passes.rules import Rule

X = np.arange(2.0 * 3 * 4).reshape(2, 3, 4)
ONE = np.arange(3.0).reshape(3, 1)


def cases(*cases: tuple[Any, ...]) -> Any:
    """Samples of a rule: (array, ..., {attributes}) each."""

    def draw() -> Iterator[tuple[tuple, dict]]:
        for *arrays, attributes in cases:
            yield tuple(arrays), attributes

    return draw


def is_swap(permutation: tuple[int, ...]) -> bool:
    """Whether only the last two axes change places."""
    rank = len(permutation)
    return rank >= 2 and permutation == (*range(rank - 2), rank - 1, rank - 2)


def through(x: Value, *, a: tuple, b: tuple, c: tuple, d: tuple, e: tuple, f: tuple) -> Value | None:
    """One slice for a slice (d:e:f) of a slice (a:b:c)."""
    stops = []
    for start, stop, step, first, end, stride in zip(a, b, c, d, e, f):
        if not all(isinstance(n, int) for n in (start, stop, step, first, end, stride)):
            if (first, stride) != (0, 1):
                return None
            stops.append(stop if step == 1 else start + (end - 1) * step + 1)
        else:
            count = max(0, -(-(end - first) // stride))
            stops.append(start + (first + (count - 1) * stride) * step + 1 if count else start + first * step)
    starts = tuple(start + first * step for start, step, first in zip(a, c, d))
    stops = [
        min(stop, size) if isinstance(stop, int) and isinstance(size, int) else stop
        for stop, size in zip(stops, x.shape)
    ]
    return slice_(
        x, starts=starts, stops=tuple(stops), steps=tuple(step * stride for step, stride in zip(c, f))
    )


def whole(x: Value, *, a: tuple, b: tuple, c: tuple) -> Value | None:
    """x, when the slice a:b:c takes all of it."""
    takes_all = all(
        start == 0 and step == 1 and stop == size for start, stop, step, size in zip(a, b, c, x.shape)
    )
    return x if takes_all else None


def unpad(
    x: Value, *, low: tuple, high: tuple, interior: tuple, value: float, a: tuple, b: tuple, c: tuple
) -> Value | None:
    """x, when the slice a:b:c takes exactly what was padded."""
    fits = all(
        start == before and step == between + 1 and stop == before + (size - 1) * step + 1
        for start, stop, step, before, between, size in zip(a, b, c, low, interior, x.shape)
    )
    return x if fits else None


def transposed(x: Value, w: Value, p: tuple, tx: bool, tw: bool, which: int) -> Value | None:
    """A product that reads an operand transposed instead of transposing it first."""
    if not is_swap(p):
        return None
    return matmul(x, w, transpose_x=tx != (which == 0), transpose_w=tw != (which == 1))


def over_units(name: str, reduce: Any) -> Rule:
    """A reduction over axes of size 1 computes nothing."""

    def left(x: Any, *, axes: Any) -> Any:
        return reduce(x, axes=axes)

    def right(x: Value, *, axes: tuple[int, ...]) -> Value | None:
        kept = tuple(d for i, d in enumerate(x.shape) if i not in axes)
        return reshape(x, shape=kept) if all(x.shape[axis] == 1 for axis in axes) else None

    samples = cases((ONE, {"axes": (1,)}), (X, {"axes": ()}))
    return Rule(f"{name} over axes of size 1 = reshape", "exact", left, right, "number", samples=samples)


def repeated_number(x: Value) -> bool:
    return x.type.rank == 0


MOVEMENT_RULES = (
    # reshape
    Rule(
        "reshape to its own shape = x",
        "exact",
        lambda x, *, s: reshape(x, shape=s),
        lambda x, *, s: x if x.shape == s else None,
        "any",
        samples=cases((X, {"s": (2, 3, 4)})),
    ),
    Rule(
        "reshape(reshape x) = reshape x",
        "exact",
        lambda x, *, r, s: reshape(reshape(x, shape=r), shape=s),
        lambda x, *, r, s: reshape(x, shape=s),
        "any",
        samples=cases((X, {"r": (6, 4), "s": (4, 6)})),
    ),
    # broadcast_to
    Rule(
        "broadcast to its own shape = x",
        "exact",
        lambda x, *, s: broadcast_to(x, shape=s),
        lambda x, *, s: x if x.shape == s else None,
        "any",
        samples=cases((X, {"s": (2, 3, 4)})),
    ),
    Rule(
        "broadcast(broadcast x) = broadcast x",
        "exact",
        lambda x, *, r, s: broadcast_to(broadcast_to(x, shape=r), shape=s),
        lambda x, *, r, s: broadcast_to(x, shape=s),
        "any",
        samples=cases((ONE, {"r": (3, 4), "s": (2, 3, 4)}), (ONE, {"r": (2, 3, 1), "s": (2, 3, 5)})),
    ),
    Rule(
        "a number repeated, then reshaped = the number repeated",
        "exact",
        lambda x, *, r, s: reshape(broadcast_to(x, shape=r), shape=s),
        lambda x, *, r, s: broadcast_to(x, shape=s) if repeated_number(x) else None,
        "any",
        samples=cases((np.asarray(2.5), {"r": (2, 3), "s": (6,)})),
    ),
    Rule(
        "a number repeated, then transposed = the number repeated",
        "exact",
        lambda x, *, r, p: transpose(broadcast_to(x, shape=r), permutation=p),
        lambda x, *, r, p: broadcast_to(x, shape=tuple(r[i] for i in p)) if repeated_number(x) else None,
        "any",
        samples=cases((np.asarray(2.5), {"r": (2, 3), "p": (1, 0)})),
    ),
    Rule(
        "a number repeated, then reversed = the number repeated",
        "exact",
        lambda x, *, r, a: reverse(broadcast_to(x, shape=r), axes=a),
        lambda x, *, r, a: broadcast_to(x, shape=r) if repeated_number(x) else None,
        "any",
        samples=cases((np.asarray(2.5), {"r": (2, 3), "a": (1,)})),
    ),
    # transpose
    Rule(
        "transpose in the order it has = x",
        "exact",
        lambda x, *, p: transpose(x, permutation=p),
        lambda x, *, p: x if p == tuple(range(len(p))) else None,
        "any",
        samples=cases((X, {"p": (0, 1, 2)})),
    ),
    Rule(
        "transpose(transpose x) = transpose x",
        "exact",
        lambda x, *, p, q: transpose(transpose(x, permutation=p), permutation=q),
        lambda x, *, p, q: transpose(x, permutation=tuple(p[i] for i in q)),
        "any",
        samples=cases((X, {"p": (1, 2, 0), "q": (0, 2, 1)}), (X, {"p": (1, 2, 0), "q": (2, 0, 1)})),
    ),
    Rule(
        "transpose that moves only axes of size 1 = reshape",
        "exact",
        lambda x, *, p: transpose(x, permutation=p),
        lambda x, *, p: (
            reshape(x, shape=tuple(x.shape[i] for i in p))
            if [i for i in p if x.shape[i] != 1] == [i for i in range(len(p)) if x.shape[i] != 1]
            else None
        ),
        "any",
        samples=cases((ONE, {"p": (1, 0)}), (X.reshape(2, 1, 12), {"p": (0, 2, 1)})),
    ),
    Rule(
        "xᵀ·w = matmul(x, w) read transposed",
        "exact",
        lambda x, w, *, p, tx, tw: matmul(transpose(x, permutation=p), w, transpose_x=tx, transpose_w=tw),
        lambda x, w, *, p, tx, tw: transposed(x, w, p, tx, tw, 0),
        samples=cases(
            (np.ones((5, 3)), np.ones((5, 2)), {"p": (1, 0), "tx": False, "tw": False}),
            (np.ones((2, 3, 5)), np.ones((2, 5)), {"p": (0, 2, 1), "tx": True, "tw": True}),
        ),
    ),
    Rule(
        "x·wᵀ = matmul(x, w) read transposed",
        "exact",
        lambda x, w, *, p, tx, tw: matmul(x, transpose(w, permutation=p), transpose_x=tx, transpose_w=tw),
        lambda x, w, *, p, tx, tw: transposed(x, w, p, tx, tw, 1),
        samples=cases((np.ones((3, 5)), np.ones((2, 5)), {"p": (1, 0), "tx": False, "tw": False})),
    ),
    # slice, pad, reverse, concat
    Rule(
        "slice of everything = x",
        "exact",
        lambda x, *, a, b, c: slice_(x, starts=a, stops=b, steps=c),
        whole,
        "any",
        samples=cases((X, {"a": (0, 0, 0), "b": (2, 3, 4), "c": (1, 1, 1)})),
    ),
    Rule(
        "slice(slice x) = slice x",
        "exact",
        lambda x, *, a, b, c, d, e, f: slice_(
            slice_(x, starts=a, stops=b, steps=c), starts=d, stops=e, steps=f
        ),
        through,
        "any",
        samples=cases(
            (np.arange(20.0), {"a": (3,), "b": (18,), "c": (2,), "d": (1,), "e": (7,), "f": (3,)}),
            (np.arange(20.0), {"a": (0,), "b": (20,), "c": (3,), "d": (2,), "e": (2,), "f": (1,)}),
            (np.arange(20.0), {"a": (1,), "b": (20,), "c": (1,), "d": (0,), "e": (19,), "f": (2,)}),
        ),
    ),
    Rule(
        "slice of exactly what was padded = x",
        "exact",
        lambda x, *, low, high, interior, value, a, b, c: slice_(
            pad(x, low=low, high=high, interior=interior, value=value), starts=a, stops=b, steps=c
        ),
        unpad,
        "any",
        samples=cases(
            (
                np.arange(6.0).reshape(2, 3),
                {
                    "low": (1, 0),
                    "high": (0, 2),
                    "interior": (0, 1),
                    "value": 0.0,
                    "a": (1, 0),
                    "b": (3, 5),
                    "c": (1, 2),
                },
            )
        ),
    ),
    Rule(
        "pad by nothing = x",
        "exact",
        lambda x, *, low, high, interior, value: pad(x, low=low, high=high, interior=interior, value=value),
        lambda x, *, low, high, interior, value: x if not any((*low, *high, *interior)) else None,
        "any",
        samples=cases((X, {"low": (0, 0, 0), "high": (0, 0, 0), "interior": (0, 0, 0), "value": 1.0})),
    ),
    Rule(
        "reverse along no axis = x",
        "exact",
        lambda x, *, a: reverse(x, axes=a),
        lambda x, *, a: x if all(x.shape[axis] == 1 for axis in a) else None,
        "any",
        samples=cases((X, {"a": ()}), (ONE, {"a": (1,)})),
    ),
    Rule(
        "reverse(reverse x) = reverse x",
        "exact",
        lambda x, *, a, b: reverse(reverse(x, axes=a), axes=b),
        lambda x, *, a, b: reverse(x, axes=tuple(sorted(set(a) ^ set(b)))),
        "any",
        samples=cases((X, {"a": (0, 1), "b": (1, 2)}), (X, {"a": (1,), "b": (1,)})),
    ),
    Rule(
        "concat of one = x",
        "exact",
        lambda x, *, a: concat(x, axis=a),
        lambda x, *, a: x,
        "any",
        samples=cases((X, {"a": 1})),
    ),
    # reductions over axes of size 1
    over_units("sum", sum_),
    over_units("max", max_),
    over_units("min", min_),
)
