"""Shapes: reshape, permute, cut, join, repeat, pad, and the sizes themselves."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from graphc import ops
from graphc.frontends.onnx.call import Call, Operand, normal_axes, normal_axis
from graphc.frontends.onnx.errors import OnnxError, UnsupportedOperator
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.frontends.onnx.sizes import sizes_array
from graphc.frontends.onnx.tensors import array_of, check_bytes, checked_shape
from graphc.ir.builder import Builder, broadcast_shapes
from graphc.ir.dims import Dim, exact_divide, product
from graphc.ir.graph import Value
from graphc.ir.types import int64


@onnx_operator("Constant")
def constant(call: Call) -> Value:
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if len(call.attributes) != 1:
        raise OnnxError(f"Constant has {len(call.attributes)} values; it takes one")
    ((name, value),) = call.attributes.items()
    if name == "value":
        return call.importer.constant(call.importer.folder.array(value, "a constant"))
    if name not in kinds:
        raise call.unsupported(f"{name.removeprefix('value_').replace('_', ' ')} values")
    return call.importer.constant(np.asarray(value, kinds[name]))


@onnx_operator("ConstantOfShape")
def constant_of_shape(call: Call) -> Value:
    """One number in a shape; it stays one number until something has to read it."""
    given: TensorProto | None = call.attribute("value")
    number = np.zeros(1, np.float32) if given is None else array_of(given, "the value of ConstantOfShape")
    if number.size != 1:
        raise OnnxError(f"ConstantOfShape repeats one number; {number.size} are given")
    shape = call.sizes(0)
    _check_sizes(call, shape, number.itemsize)
    from graphc.ir.types import dtype_of

    return Builder.current().constant(number.item(), dtype_of(number), shape)


def _check_sizes(call: Call, shape: tuple[Dim, ...], itemsize: int) -> None:
    checked_shape([d if isinstance(d, int) else 1 for d in shape], itemsize, f"the result of {call.name}")


@onnx_operator("Shape")
def shape(call: Call) -> Operand:
    sizes = call[0].shape
    found = sizes_array(sizes[slice(call.attribute("start", 0), call.attribute("end"))])
    return found if found.dtype == object else call.importer.constant(found)


@onnx_operator("Size")
def size(call: Call) -> Operand:
    total = call[0].type.size
    if isinstance(total, int):
        return call.importer.constant(np.array(total, np.int64))
    found = np.empty((), object)
    found[()] = total
    return found


@onnx_operator("Reshape")
def reshape(call: Call) -> Value:
    x = call[0]
    wanted = tuple(call.attribute("shape")) if call.version < 5 else call.sizes(1)
    keep_zero = bool(call.attribute("allowzero", 0))
    if keep_zero and 0 in wanted and -1 in wanted:
        raise OnnxError("Reshape to a shape with both 0 and -1")
    sizes: list[Dim] = []
    for axis, n in enumerate(wanted):
        if n == 0 and not keep_zero:
            if axis >= x.type.rank:
                raise OnnxError(f"Reshape: size 0 at axis {axis} copies a size that {x.type} does not have")
            n = x.shape[axis]
        elif isinstance(n, int) and n < -1:
            raise OnnxError(f"Reshape to a size of {n}")
        sizes.append(n)
    return ops.reshape(x, shape=filled(call, x, sizes))


def filled(call: Call, x: Value, sizes: list[Dim]) -> tuple[Dim, ...]:
    """The sizes with the one that is -1 worked out."""
    unknown = [axis for axis, n in enumerate(sizes) if isinstance(n, int) and n == -1]
    if not unknown:
        return tuple(sizes)
    others = product(n for axis, n in enumerate(sizes) if axis != unknown[0])
    rest = None if len(unknown) > 1 or others == 0 else exact_divide(x.type.size, others)
    if rest is None:
        raise OnnxError(f"{call.name}: {x.type} has {x.type.size} elements, which do not fill {list(sizes)}")
    sizes[unknown[0]] = rest
    return tuple(sizes)


@onnx_operator("Flatten")
def flatten(call: Call) -> Value:
    x, axis = call[0], call.attribute("axis", 1)
    if not -x.type.rank <= axis <= x.type.rank:
        raise OnnxError(f"Flatten: there is no axis {axis} in {x.type}")
    axis += x.type.rank if axis < 0 else 0
    return ops.reshape(x, shape=(product(x.shape[:axis]), product(x.shape[axis:])))


def _axes(call: Call) -> tuple[int, ...] | None:
    if call.has(1):
        return call.ints(1)
    given = call.attribute("axes")
    return None if given is None else tuple(given)


@onnx_operator("Squeeze")
def squeeze(call: Call) -> Value:
    x, given = call[0], _axes(call)
    axes = (
        tuple(i for i, d in enumerate(x.shape) if d == 1)
        if given is None
        else normal_axes(given, x.type.rank, "Squeeze")
    )
    if any(x.shape[axis] != 1 for axis in axes):
        raise OnnxError(f"Squeeze of {x.type} along {list(axes)}: not all of these sizes are 1")
    return ops.reshape(x, shape=tuple(d for i, d in enumerate(x.shape) if i not in axes))


@onnx_operator("Unsqueeze")
def unsqueeze(call: Call) -> Value:
    x, given = call[0], _axes(call)
    axes = normal_axes(given or (), x.type.rank + len(given or ()), "Unsqueeze")
    rest = iter(x.shape)
    total = x.type.rank + len(axes)
    return ops.reshape(x, shape=tuple(1 if i in axes else next(rest) for i in range(total)))


@onnx_operator("Transpose")
def transpose(call: Call) -> Value:
    x = call[0]
    order = call.attribute("perm") or tuple(reversed(range(x.type.rank)))
    return ops.transpose(x, permutation=tuple(order))


@onnx_operator("Concat")
def concat(call: Call) -> Value:
    values = call.all()
    axis = call.axis(values[0].type.rank, default=1)
    return values[0] if len(values) == 1 else ops.concat(*values, axis=axis)


@onnx_operator("Split")
def split(call: Call) -> list[Value]:
    x, count = call[0], len(call.node.output)
    axis = call.axis(x.type.rank)
    size = x.shape[axis]
    given = call.ints(1) if call.has(1) else call.attribute("split")
    if given is None:
        parts = call.attribute("num_outputs", count)
        if not isinstance(size, int) or parts < 1:
            raise call.unsupported(f"{parts} parts of the size {size}")
        width = -(-size // parts)
        given = [max(min(width, size - i * width), 0) for i in range(parts)]
    if any(n < 0 for n in given) or (isinstance(size, int) and sum(given) != size) or len(given) < count:
        raise OnnxError(f"Split: {list(given)} do not make up the {size} of axis {axis} in {count} parts")
    results, start = [], 0
    for n in given:
        results.append(part(x, axis, start, start + n))
        start += n
    return results


def part(x: Value, axis: int, start: int, stop: Dim, step: int = 1) -> Value:
    """The slice start:stop:step along one axis."""
    if start == 0 and stop == x.shape[axis] and step == 1:
        return x
    return ops.slice(
        x,
        starts=tuple(start if i == axis else 0 for i in range(x.type.rank)),
        stops=tuple(stop if i == axis else d for i, d in enumerate(x.shape)),
        steps=tuple(step if i == axis else 1 for i in range(x.type.rank)),
    )


@onnx_operator("Slice")
def slice_(call: Call) -> Value:
    x = call[0]
    rank = x.type.rank
    if call.version < 10:
        starts, stops = call.attribute("starts"), call.attribute("ends")
        axes, steps = call.attribute("axes"), None
    else:
        starts, stops = call.ints(1), call.sizes(2)
        axes = call.ints(3) if call.has(3) else None
        steps = call.ints(4) if call.has(4) else None
    axes = tuple(range(len(starts))) if axes is None else tuple(normal_axis(a, rank, "Slice") for a in axes)
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(stops) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        raise OnnxError("Slice: starts, ends, axes and steps must have one number for each axis, once")
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        x = _sliced(call, x, axis, start, stop, step)
    return x


def _sliced(call: Call, x: Value, axis: int, start: int, stop: Dim, step: int) -> Value:
    size = x.shape[axis]
    if step == 0:
        raise OnnxError("Slice with a step of 0")
    if not isinstance(stop, int):
        if step > 0 and start >= 0 and not isinstance(size, int):
            return part(x, axis, start, stop, step)
        raise call.unsupported(f"{start}:{stop}:{step} of the size {size}", "load the model with fixed sizes")
    if isinstance(size, int):
        taken = range(*slice(start, max(stop, -(2**62)) if step < 0 else stop, step).indices(size))
        if step < 0 and stop < -size:
            taken = range(min(start, size - 1) if start >= 0 else start + size, -1, step)
        if len(taken) == 0:
            return part(x, axis, 0, 0)
        if step > 0:
            return part(x, axis, taken[0], taken[-1] + 1, step)
        return ops.reverse(part(x, axis, taken[-1], taken[0] + 1, -step), axes=(axis,))
    whole = stop >= 2**31 - 1
    if step > 0 and start >= 0 and (whole or stop < 0):
        return part(x, axis, start, size if whole else size + stop, step)
    if step == -1 and start in (-1, 2**63 - 1) and stop < -(2**30):
        return ops.reverse(x, axes=(axis,))
    raise call.unsupported(
        f"{start}:{stop}:{step} of the open size {size}", "load the model with fixed sizes"
    )


@onnx_operator("Expand")
def expand(call: Call) -> Value:
    x = call[0]
    if x.type.rank == 0 and not call.sizes(1):
        return x
    shape = broadcast_shapes([x.shape, call.sizes(1)])
    _check_sizes(call, shape, x.dtype.itemsize)
    return Builder.current().broadcast(x, shape)


@onnx_operator("Tile")
def tile(call: Call) -> Value:
    x = call[0]
    if call.version < 6:
        repeats = [1] * x.type.rank
        repeats[normal_axis(call.ints(2)[0], x.type.rank, "Tile")] = call.ints(1)[0]
    else:
        repeats = list(call.ints(1))
    if len(repeats) != x.type.rank or any(n < 0 for n in repeats):
        raise OnnxError(f"Tile: repeats {repeats} do not fit {x.type}")
    sizes = tuple(d * n for d, n in zip(x.shape, repeats, strict=True))
    _check_sizes(call, sizes, x.dtype.itemsize)
    spread = tuple(n for pair in zip(repeats, x.shape, strict=True) for n in pair)
    single = tuple(n for d in x.shape for n in (1, d))
    return ops.reshape(ops.broadcast_to(ops.reshape(x, shape=single), shape=spread), shape=sizes)


@onnx_operator("Pad")
def pad(call: Call) -> Value:
    """Numbers around a tensor: a constant, its own elements mirrored or wrapped, or its edge."""
    x = call[0]
    rank = x.type.rank
    if call.version < 11:
        pads, value = (
            tuple(call.attribute("pads") or call.attribute("paddings") or ()),
            call.attribute("value", 0.0),
        )
    else:
        pads, value = call.ints(1), None
    axes = tuple(normal_axis(a, rank, "Pad") for a in call.ints(3)) if call.has(3) else tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise OnnxError(f"Pad: {len(pads)} widths for {len(axes)} axes")
    widths = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        widths[axis] = (pads[place], pads[place + len(axes)])
    mode = call.attribute("mode", "constant")
    for axis, (low, high) in enumerate(widths):
        if low < 0 or high < 0:
            x = part(x, axis, max(-low, 0), x.shape[axis] - max(-high, 0))
    widths = [(max(low, 0), max(high, 0)) for low, high in widths]
    check_bytes(
        math.prod(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True) if isinstance(n, int)),
        "the result of Pad",
    )
    if mode != "constant":
        if mode not in ("edge", "wrap", "reflect"):
            raise OnnxError(f"Pad has no mode {mode!r}")
        return ops.extend(x, low=tuple(a for a, _ in widths), high=tuple(b for _, b in widths), mode=mode)
    return _filled_pad(call, x, widths, value)


def _filled_pad(call: Call, x: Value, widths: list[tuple[int, int]], value: float | None) -> Value:
    attributes = {
        "low": tuple(a for a, _ in widths),
        "high": tuple(b for _, b in widths),
        "interior": (0,) * len(widths),
    }
    if value is None and call.has(2) and not call.is_known(2):
        from graphc.ir.types import bool_

        inside = ops.pad(Builder.current().constant(True, bool_, x.shape), **attributes, value=False)
        return ops.where(inside, ops.pad(x, **attributes), ops.reshape(call[2], shape=()))
    if value is None:
        value = call.known(2).item() if call.has(2) else 0
    return ops.pad(x, **attributes, value=value)


@onnx_operator("Range")
def range_(call: Call) -> Value:
    ends = call.sizes(1) if call[1].dtype == int64 else ()
    if (
        len(ends) == 1
        and not isinstance(ends[0], int)
        and (call.known(0) == 0).all()
        and (call.known(2) == 1).all()
    ):
        return ops.iota(shape=ends, axis=0, dtype=int64)
    start, limit, step = (call.known(i).reshape(()) for i in range(3))
    if step == 0:
        raise OnnxError("Range with a step of 0")
    steps = (float(limit) - float(start)) / float(step)
    if not math.isfinite(steps):
        raise OnnxError(f"Range from {start} to {limit} by {step}")
    count = max(math.ceil(steps), 0)
    check_bytes(count * start.dtype.itemsize, "the result of Range")
    ramp = ops.iota(shape=(count,), axis=0, dtype=int64)
    dtype = call[0].dtype
    return ops.cast(ramp, dtype=dtype) * call[2] + call[0]


@onnx_operator("DepthToSpace", "SpaceToDepth")
def blocks(call: Call) -> Value:
    """Channels become blocks of pixels, or blocks of pixels channels."""
    x, b = call[0], call.attribute("blocksize")
    if x.type.rank != 4 or b < 1:
        raise OnnxError(f"{call.name} of {x.type} by blocks of {b}")
    n, c, h, w = x.shape
    if call.name == "SpaceToDepth":
        rows, columns = _part_of(call, h, b), _part_of(call, w, b)
        x = ops.reshape(x, shape=(n, c, rows, b, columns, b))
        order = (0, 3, 5, 1, 2, 4) if call.attribute("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
        return ops.reshape(ops.transpose(x, permutation=order), shape=(n, c * b * b, rows, columns))
    channels = _part_of(call, c, b * b)
    if call.attribute("mode", "DCR") == "DCR":
        x = ops.transpose(ops.reshape(x, shape=(n, b, b, channels, h, w)), permutation=(0, 3, 4, 1, 5, 2))
    else:
        x = ops.transpose(ops.reshape(x, shape=(n, channels, b, b, h, w)), permutation=(0, 1, 4, 2, 5, 3))
    return ops.reshape(x, shape=(n, channels, h * b, w * b))


def _part_of(call: Call, size: Dim, divisor: int) -> Dim:
    found = exact_divide(size, divisor)
    if found is None:
        raise OnnxError(f"{call.name}: {size} is no multiple of {divisor}")
    return found


@onnx_operator("EyeLike")
def eye_like(call: Call) -> Value:
    x, offset = call[0], call.attribute("k", 0)
    if x.type.rank != 2:
        raise OnnxError(f"EyeLike of {x.type}; it takes a matrix")
    row = ops.iota(shape=x.shape, axis=0, dtype=int64)
    column = ops.iota(shape=x.shape, axis=1, dtype=int64)
    return ops.cast(ops.equal(row + offset, column), dtype=call.dtype("dtype", x.dtype))


@onnx_operator("Trilu")
def triangle(call: Call) -> Value:
    limit = 1 << 40  # beyond any matrix
    offset = int(call.known(1).reshape(())) if call.has(1) else 0
    return ops.triangle(
        call[0], diagonal=max(-limit, min(offset, limit)), upper=bool(call.attribute("upper", 1))
    )


@onnx_operator("Dropout")
def dropout(call: Call) -> list[Value]:
    """Nothing, as in inference; training needs random numbers of ONNX's own, which it does not define."""
    training = bool(call.known(2).reshape(())) if call.has(2) else not call.attribute("is_test", 1)
    ratio = float(call.known(1).reshape(())) if call.has(1) else call.attribute("ratio", 0.5)
    if training and ratio != 0:
        raise UnsupportedOperator(f"Dropout (opset {call.version}) in training mode")
    from graphc.ir.types import bool_

    kind = bool_ if call.version >= 10 else call[0].dtype
    mask = Builder.current().constant(1, kind, call[0].shape) if call.wants(1) else None
    return [call[0], mask] if mask is not None else [call[0]]
