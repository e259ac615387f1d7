"""Loops as the user writes them: `scan`.

The body is recorded once, into a graph of its own.  A tensor or array from outside that it uses becomes one more input
of that graph, and the loop gets it as a fixed operand; so gradients flow to it, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ir.op import REGISTRY
from graphc.ir.types import TensorType
from graphc.source import is_internal
from graphc.tensor import functions as f
from graphc.tensor.recording import Recorder, Recording, here, open_trace, record, recorder, supported_dtype
from graphc.tensor.sizes import OpenSize
from graphc.tensor.trees import leaves_of, like

Body = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    body: Body,
    init: Any,
    xs: Any = None,
    length: Any = None,
    *,
    reverse: bool = False,
    unroll: bool = False,
) -> tuple[Any, Any]:
    """A loop with a state: `(carry, y) = body(carry, x)` for each x of xs; gives the last carry and all y, stacked.

    init     the first carry: an array, or nested tuples, lists and dictionaries of arrays; so are xs and y.  The body
             must return the carry with the shapes and dtypes it gets.
    xs       the body gets one element along the first axis at a time; None: it gets None, `length` times
    length   the number of steps, when xs does not say it; it may be left open
    reverse  begin with the last element; y stay in the order of xs
    unroll   write every step into the graph, for pictures of short loops; the length must be a number

        carry = init
        for t in range(length):
            carry, y = body(carry, xs[t])

    The loop is one node of the graph, and runs as a loop in native code.  Raises ShapeError when first axes differ or
    the carry changes its type, UsageError without a length, UnsupportedError for random numbers in the body.

    >>> import numpy as np
    >>> total, sums = scan(lambda c, x: (c + x, c + x), np.zeros(2), np.ones((3, 2)))
    >>> np.asarray(total).tolist(), np.asarray(sums)[:, 0].tolist()
    ([3.0, 3.0], [1.0, 2.0, 3.0])
    """
    carry = [f.as_tensor(leaf) for leaf in leaves_of(init)]
    sequences = [f.as_tensor(leaf) for leaf in leaves_of(xs)] if xs is not None else []
    steps = _length(sequences, length)
    if unroll:
        return _unrolled(body, like(init, carry), xs, sequences, steps, reverse)
    outer = recorder()
    inner = _Body(outer, body)
    with inner.running():
        state = [inner.leaf("carry", c.type) for c in carry]
        elements = [inner.leaf("x", x.type.with_shape(x.type.shape[1:])) for x in sequences]
        inner.depth = 1 if is_internal(_file_of(body)) else 0
        result = body(like(init, state), None if xs is None else like(xs, elements))
        inner.depth = 0
        new, ys = _checked(result, init)
        outputs = [inner.value_of(f.as_tensor(leaf)) for leaf in (*leaves_of(new), *_parts(ys))]
    if inner.refusals:
        raise inner.refusals[0]
    for before, after in zip(carry, outputs):
        if before.type != after.type:
            raise ShapeError(
                f"a carry of the loop is {before.type} before a step and {after.type} after it",
                span=here(),
                fix="give `init` the type the body returns, or convert what it returns: .astype, .reshape",
            )
    if not outputs:
        raise UsageError("the body of a scan returns nothing", span=here(), fix="return carry, y")
    graph = inner.builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])
    owners = [owner for owner, _ in inner.captured.values()]
    found = record(
        REGISTRY["scan"], *carry, *sequences, *owners,
        body=graph, carries=len(carry), length=steps, reverse=reverse, sequences=len(sequences),
    )  # fmt: skip
    results = found if isinstance(found, tuple) else (found,)
    return like(init, results[: len(carry)]), _like(ys, results[len(carry) :])


class _Body(Recording):
    """The trace of a body within another trace, or outside of any; `captured` are what it uses from there."""

    def __init__(self, outer: Recorder, body: Body):
        name = getattr(body, "__name__", "step")
        super().__init__(name if name.isidentifier() else "step", training=True)
        self.captured: dict[int, tuple[Any, Value]] = {}
        self.modules, self.scopes, self.paths = outer.modules, outer.scopes, outer.paths
        self.role = outer.role
        trace = open_trace()
        if trace is not None:
            self.training, self.known, self.refusals = trace.training, trace.known, trace.refusals
            self.dims, self.ranges = trace.dims, trace.ranges

    def leaf(self, name: str, type: TensorType) -> Any:
        return self.wrap(self.builder.leaf("input", name, type))

    def value_of(self, operand: Any) -> Value:
        if not isinstance(operand, np.ndarray) and operand.recording is self:
            value: Value = operand.value
            return value
        if id(operand) not in self.captured:
            array = isinstance(operand, np.ndarray)
            type = TensorType(supported_dtype(operand), operand.shape) if array else operand.type
            name = self.known.get(id(operand)) or ("array" if array else operand.shown_name)
            self.captured[id(operand)] = operand, self.builder.leaf("input", name or "fixed", type)
        return self.captured[id(operand)][1]

    def seed(self) -> Any:
        raise UnsupportedError(
            "random numbers in the body of a scan",
            span=here(),
            cause="the body is recorded once: every step would draw the same ones",
            fix="draw them for all steps before the loop, and pass them in xs",
        )

    def update(self, buffer: Any, new: Any) -> None:
        raise UnsupportedError(
            "a buffer that changes in the body of a scan", span=here(), fix="make it a part of the carry"
        )


def _length(sequences: list[Any], length: Any) -> Dim:
    wanted = [] if length is None else [length.dim if isinstance(length, OpenSize) else int(length)]
    for x in sequences:
        if x.ndim == 0:
            raise ShapeError("xs of a scan need an axis to run along", span=here(), facts=f.fact(x))
        wanted.append(x.type.shape[0])
    if not wanted:
        raise UsageError("a scan without xs needs its length", span=here(), fix="scan(body, init, length=10)")
    if any(size != wanted[0] for size in wanted):
        raise ShapeError(
            f"a scan over {' and '.join(map(str, dict.fromkeys(wanted)))} steps",
            span=here(),
            facts=[fact for x in sequences for fact in f.fact(x)],
        )
    return wanted[0]


def _checked(result: Any, init: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise UsageError("the body of a scan must return (carry, y)", span=here(), fix="return carry, y")
    if len(leaves_of(result[0])) != len(leaves_of(init)):
        raise UsageError(
            f"the carry has {len(leaves_of(init))} arrays, the body returns {len(leaves_of(result[0]))}",
            span=here(),
        )
    return result


def _parts(ys: Any) -> list[Any]:
    return [] if ys is None else leaves_of(ys)


def _like(ys: Any, found: Any) -> Any:
    return None if ys is None else like(ys, found)


def _file_of(body: Body) -> str:
    code = getattr(getattr(body, "__func__", body), "__code__", None)
    return code.co_filename if code is not None else ""


def _unrolled(
    body: Body, carry: Any, xs: Any, sequences: list[Any], length: Dim, reverse: bool
) -> tuple[Any, Any]:
    if not isinstance(length, int):
        raise UnsupportedError(
            f"an unrolled loop of {length} steps",
            span=here(),
            cause="the graph holds every step",
            fix=f"give the length as a number, --dim {length}=20, or leave out unroll=True",
        )
    pieces = [f.unbind(x, 0) for x in sequences]
    rows: list[Any] = []
    ys = None
    for t in reversed(range(length)) if reverse else range(length):
        carry, ys = _checked(body(carry, None if xs is None else like(xs, [p[t] for p in pieces])), carry)
        rows.append([f.as_tensor(leaf) for leaf in _parts(ys)])
    if not rows:
        raise ShapeError(
            "an unrolled loop of no steps has no results", span=here(), fix="leave out unroll=True"
        )
    ordered = rows[::-1] if reverse else rows
    return carry, _like(ys, [f.stack(list(each), 0) for each in zip(*ordered)])
