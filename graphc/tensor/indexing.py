"""`x[...]` and `x[...] = y`: integers, slices, None, Ellipsis; and positions that are themselves a tensor.

A graph's values never change.  Writing makes a new value and points the tensor at it, which is what the user sees as
long as no other tensor would share the memory in NumPy; where one does, the write is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError, TraceError, UnsupportedError
from graphc.ir.dims import Dim, SymbolicDim
from graphc.ir.op import REGISTRY
from graphc.tensor import shaping
from graphc.tensor.promotion import cast
from graphc.tensor.recording import entry, here, open_trace, record
from graphc.tensor.sizes import OpenSize, dim_of

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """What an index asks of one axis: elements start, start + step, ... below stop, from the back if reversed."""

    start: int
    stop: Dim
    step: int = 1
    reversed: bool = False  # the axis is reversed first
    back: bool = False  # ... and the result once more
    dropped: bool = False  # a single position: the axis disappears


@entry
def take(x: Tensor, index: Any) -> Tensor:
    """x[index]"""
    items = _items(x, index)
    positions = [i for i, item in enumerate(items) if _is_positions(item)]
    if positions:
        return _take_positions(x, items, positions)
    result = x
    shape: list[Dim] = []
    parts = _parts(x, items)
    for axis, part in enumerate(parts):
        result = _cut(result, axis, part)
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        if not parts[axis].dropped:
            shape.append(result.type.shape[axis])
        axis += 1
    if tuple(shape) != result.type.shape or result is x:
        result = shaping.reshape(result, tuple(shape))
    return shaping.view_of(result, x)


def _cut(x: Tensor, axis: int, part: Part) -> Tensor:
    size = x.type.shape[axis]
    if part.reversed:
        x = shaping.flip(x, axis)
    if (part.start, part.stop, part.step) != (0, size, 1):
        x = shaping.piece(x, axis, part.start, part.stop, part.step)
    return shaping.flip(x, axis) if part.back else x


def _items(x: Tensor, index: Any) -> list[Any]:
    """One item for each axis of x, and the Nones between them."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [np.asarray(item) if isinstance(item, (list, range)) else item for item in items]
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > x.ndim:
        raise ShapeError(f"{used} indices for {x.ndim} dimensions", span=here(), facts=shaping.fact(x))
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise ShapeError("an index can have only one ...", span=here())
    place = dots[0] if dots else len(items)
    items[place : place + len(dots)] = [slice(None)] * (x.ndim - used)
    for item in items:
        if isinstance(item, (bool, np.bool_)) or getattr(getattr(item, "dtype", None), "kind", "") == "b":
            raise UnsupportedError(
                "an index of booleans: how many elements it picks is not known while tracing",
                span=here(),
                fix="graphc.where(mask, x, 0.0) keeps the shape",
            )
    return items


def _is_positions(item: Any) -> bool:
    from graphc.tensor.tensor import Tensor

    return isinstance(item, Tensor) or isinstance(item, np.ndarray) and item.ndim > 0


def _parts(x: Tensor, items: list[Any]) -> list[Part]:
    sizes = iter(x.type.shape)
    return [_part(x, item, next(sizes)) for item in items if item is not None]


def _part(x: Tensor, item: Any, size: Dim) -> Part:
    if isinstance(item, slice):
        return _part_of_slice(x, item, size)
    at = dim_of(item, "an index")
    if not isinstance(at, int):
        raise UnsupportedError(
            f"the position {at}, which is left open", span=here(), fix="count from the end: x[-1]"
        )
    if not _holds(size, at + 1 if at >= 0 else -at):
        raise ShapeError(
            f"index {at} is out of range for a size of {size}", span=here(), facts=shaping.fact(x)
        )
    if isinstance(size, int):
        return Part(at % size, at % size + 1, dropped=True)
    at, back = (at, False) if at >= 0 else (-at - 1, True)
    return Part(at, at + 1, reversed=back, dropped=True)


def _holds(size: Dim, least: int) -> bool:
    """Whether an axis has at least so many elements; for one left open, from now on."""
    if isinstance(size, int):
        return size >= least
    trace = open_trace()
    return trace is not None and trace.require(size, least)


def _part_of_slice(x: Tensor, item: slice, size: Dim) -> Part:
    if isinstance(size, int) and not any(isinstance(b, OpenSize) for b in (item.start, item.stop)):
        bounds: Any = [
            None if b is None else dim_of(b, "a bound") for b in (item.start, item.stop, item.step)
        ]
        places = range(size)[slice(*bounds)]
        if places.step > 0:
            return Part(places.start, max(places.stop, places.start), places.step)
        flipped = range(size - 1 - places.start, size - 1 - places.stop, -places.step)
        return Part(flipped.start, max(flipped.stop, flipped.start), flipped.step, reversed=True)
    step = 1 if item.step is None else dim_of(item.step, "a step")
    start = None if item.start is None else dim_of(item.start, "a bound")
    stop = None if item.stop is None else dim_of(item.stop, "a bound")
    if step == -1 and start is None and stop is None:
        return Part(0, size, reversed=True)
    if isinstance(step, int) and step > 0:
        part = _open_slice(start, stop, step, size)
        if part is not None:
            return part
    shown = ":".join("" if b is None else str(b) for b in (start, stop, item.step))
    raise UnsupportedError(
        f"the slice [{shown}] of an axis of size {size}, which is left open",
        span=here(),
        facts=shaping.fact(x),
        fix=f'give the range that decides it, dims={{"{size}": (2, 4096)}}, or a fixed size',
    )


def _open_slice(start: Dim | None, stop: Dim | None, step: int, size: Dim) -> Part | None:
    """A slice of an axis whose size is left open; None when it cannot be written without knowing the size."""
    if isinstance(start, SymbolicDim):
        return None
    if start is not None and start < 0:  # the last elements
        if step == 1 and stop is None and _holds(size, -start):
            return Part(0, -start, reversed=True, back=True)
        return None
    first = start or 0
    if stop is None or stop == size:
        end: Dim = size
    elif isinstance(stop, int) and stop >= 0:
        return Part(first, max(stop, first), step) if _holds(size, stop) else None
    else:
        end = size + stop if isinstance(stop, int) else stop
    within = end == size or _holds(size - end, 0)
    return Part(first, end, step) if within and _holds(end - first, 0) else None


def _take_positions(x: Tensor, items: list[Any], places: list[int]) -> Tensor:
    """Positions given by arrays or tensors: one of them, or a row number and a column for each."""
    from graphc.tensor.tensor import Tensor

    has_new_axis = any(item is None for item in items)
    if not has_new_axis and len(places) == 1:
        axis = places[0]
        rest = [slice(None) if i == axis else item for i, item in enumerate(items)]
        if any(not isinstance(item, slice) for item in rest):
            raise UnsupportedError(
                "positions and single numbers in one index", span=here(), fix="index in two steps"
            )
        plain = all(item == slice(None) for item in rest)
        return record(REGISTRY["gather"], x if plain else take(x, tuple(rest)), items[axis], axis=axis)
    if not has_new_axis and places == [0, 1] and _counts_rows(items[0], x.type.shape[0]) and x.ndim == 2:
        column = items[1] if isinstance(items[1], Tensor) else shaping.as_tensor(items[1])
        return shaping.squeeze(
            record(REGISTRY["gather_elements"], x, shaping.unsqueeze(column, 1), axis=1), axis=1
        )
    raise UnsupportedError(
        "this combination of positions in one index",
        span=here(),
        facts=shaping.fact(x),
        fix="index one axis at a time, or pick one element of each row: x[np.arange(n), labels]",
    )


def _counts_rows(item: Any, size: Dim) -> bool:
    """Whether an index is 0, 1, 2, ... over the whole axis."""
    if isinstance(item, np.ndarray):
        return isinstance(size, int) and item.shape == (size,) and bool((item == np.arange(size)).all())
    node = item.value.node
    return node is not None and node.op.name == "iota" and item.type.shape == (size,)


# Writing -----------------------------------------------------------------------------------------------------------


def update(x: Tensor, new: Tensor, sign: str) -> Any:
    """`x += y`: x becomes the new value, in the dtype and shape it has."""
    if new is NotImplemented:
        return NotImplemented
    name = x.shown_name
    if sign == "out=":
        _check_alone(x, f"out={name}", "use the result of the function")
    else:
        _check_alone(x, f"{name} {sign} ...", f"write {name} = {name} {sign[:-1]} ...")
    if new.type.shape != x.type.shape:
        message = f"{sign} would change the shape of {x.shown_name}"
        raise ShapeError(message, span=here(), facts=shaping.fact(x, new), fix=f"write x = x {sign[:-1]} y")
    if new.type.dtype.is_float and not x.type.dtype.is_float:
        raise ShapeError(
            f"{sign} cannot put {new.type.dtype} numbers into {x.type.dtype}", span=here(), fix="cast x first"
        )
    _become(x, cast(new, x.type.dtype))
    return x


def _become(x: Tensor, new: Tensor) -> None:
    x._value = new.value
    x._array = new._array


def _check_alone(x: Tensor, what: str, fix: str) -> None:
    """Refuse a write that NumPy's user would see elsewhere: in the caller's array, or in a view."""
    inside = x.recording is not None or open_trace() is not None
    leaf = not x.owned and (x.value.node is None if x.recording is not None else inside or x.requires_grad)
    reason = "it is an input or parameter, and the caller's array stays as it is" if leaf else ""
    base = x.base() if x.base is not None else None
    if base is not None or any(view() is not None for view in x.views):
        reason = "another tensor shares its memory, where the write would have to show too"
    if reason:
        raise TraceError(f"in-place write: {what}", span=here(), facts=shaping.fact(x), cause=reason, fix=fix)


@entry
def write(x: Tensor, index: Any, new: Any) -> None:
    """x[index] = new, by cutting x and putting it together again around the new part."""
    fix = "build the result from its parts: graphc.concatenate, graphc.stack or graphc.where"
    _check_alone(x, f"{x.shown_name}[...] = ...", fix)
    items = _items(x, index)
    if any(_is_positions(item) for item in items):
        raise UnsupportedError("writing to positions that are a tensor or array", span=here(), fix=fix)
    parts = _parts(x, items)
    if any(part.step != 1 or part.reversed for part in parts):
        raise UnsupportedError("writing to every second element, or from the back", span=here(), fix=fix)
    region = tuple(part.stop - part.start for part in parts)
    value = cast(shaping.as_tensor(new), x.type.dtype)
    value = _fit(x, value, items, parts, region)
    _become(x, _put(x, parts, value))


def _fit(x: Tensor, value: Tensor, items: list[Any], parts: list[Part], region: tuple[Dim, ...]) -> Tensor:
    """The value broadcast to the region it is written to, the dropped axes back as 1."""
    kept = tuple(size for size, part in zip(region, parts) if not part.dropped)
    pending = iter(part for part in parts if not part.dropped)
    target: list[Dim] = []
    for item in items:
        if item is None:
            target.append(1)
        elif isinstance(item, slice):
            part = next(pending)
            target.append(part.stop - part.start)
    while value.ndim > len(target) and value.type.shape[0] == 1:
        value = shaping.squeeze(value, axis=0)
    value = shaping.broadcast_to(value, tuple(target))
    assert len(kept) <= len(target)
    return value if value.type.shape == region else shaping.reshape(value, region)


def _put(x: Tensor, parts: list[Part], value: Tensor) -> Tensor:
    """From the innermost axis outwards: what stands before, the new part, what stands after."""
    shape = x.type.shape
    partial = [axis for axis, part in enumerate(parts) if (part.start, part.stop) != (0, shape[axis])]
    frames = [x]
    for axis in partial[:-1]:
        frames.append(shaping.piece(frames[-1], axis, parts[axis].start, parts[axis].stop))
    for axis in reversed(partial):
        frame = frames.pop()
        pieces = [
            shaping.piece(frame, axis, 0, parts[axis].start) if parts[axis].start != 0 else None,
            value,
            shaping.piece(frame, axis, parts[axis].stop, shape[axis])
            if parts[axis].stop != shape[axis]
            else None,
        ]
        value = shaping.concatenate([part for part in pieces if part is not None], axis)
    return value
