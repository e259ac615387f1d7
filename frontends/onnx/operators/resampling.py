"""Images in another size: Resize, Upsample, GridSample, Col2Im.

Resizing is linear and the axes are independent, so that each axis is one small matrix, worked out when the model is
loaded: y = A·x along the axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphc import ops
from graphc.frontends.onnx.call import Call, normal_axis
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.frontends.onnx.tensors import check_bytes
from graphc.ir.dims import product
from graphc.ir.graph import Value
from graphc.ir.types import float64, int64


def coordinate(
    mode: str, place: np.ndarray, scale: float, before: int, after: int, start: float, stop: float
) -> np.ndarray:
    """Where an element of the result stands in the original, by the rules of ONNX's Resize."""
    if after == 1 and mode == "pytorch_half_pixel":
        return np.zeros(len(place))
    if mode == "half_pixel_symmetric":
        adjustment = after / (scale * before)
        centre = before / 2
        offset = centre * (1 - adjustment)
        return offset + (place + 0.5) / scale - 0.5
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (place + 0.5) / scale - 0.5
    if mode == "align_corners":
        length = scale * before  # as it is before rounding
        return place * (before - 1) / (length - 1) if length != 1 else place * 0
    if mode == "asymmetric":
        return place / scale
    if mode == "tf_crop_and_resize":
        if after == 1:
            return np.full(len(place), 0.5 * (start + stop) * (before - 1))
        return start * (before - 1) + place * (stop - start) * (before - 1) / (after - 1)
    raise OnnxError(f"Resize has no coordinate transformation {mode!r}")


def nearest(where: np.ndarray, rounding: str) -> np.ndarray:
    match rounding:
        case "round_prefer_floor":
            return np.ceil(where - 0.5)
        case "round_prefer_ceil":
            return np.floor(where + 0.5)
        case "floor":
            return np.floor(where)
        case "ceil":
            return np.ceil(where)
    raise OnnxError(f"Resize has no rounding {rounding!r}")


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys, Cubic convolution interpolation for digital image processing, 1981."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def axis_matrix(call: Call, scale: float, before: int, after: int, start: float, stop: float) -> np.ndarray:
    """A[after, before] with y = A·x along an axis, and NaN rows where the result is extrapolated."""
    mode = call.attribute("mode", "nearest")
    where = coordinate(
        call.attribute("coordinate_transformation_mode", "half_pixel" if call.version > 10 else "asymmetric"),
        np.arange(after, dtype=np.float64),
        scale,
        before,
        after,
        start,
        stop,
    )
    matrix = np.zeros((after, before))
    if mode == "nearest":
        rounding = call.attribute("nearest_mode", "round_prefer_floor" if call.version > 10 else "floor")
        taken = np.clip(nearest(where, rounding), 0, before - 1).astype(int)
        matrix[np.arange(after), taken] = 1
        return _outside(call, matrix, where, before)
    reach = 1 if mode == "linear" else 2
    if mode not in ("linear", "cubic"):
        raise OnnxError(f"{call.name} has no mode {mode!r}")
    stretch = max(1 / scale, 1.0) if call.attribute("antialias", 0) else 1.0
    a = call.attribute("cubic_coeff_a", -0.75)
    exclude = bool(call.attribute("exclude_outside", 0))
    span = math.ceil(reach * stretch)
    for row, centre in enumerate(where):
        first = math.floor(centre) - span + 1
        places = (
            np.arange(first, first + 2 * span) if stretch == 1 else np.arange(first - 1, first + 2 * span + 1)
        )
        distance = (places - centre) / stretch
        weights = _triangle(distance) if mode == "linear" else _cubic(distance, a)
        if exclude or stretch != 1 and call.attribute("antialias", 0) and exclude:
            weights = np.where((places < 0) | (places >= before), 0.0, weights)
        total = weights.sum()
        if total and (exclude or stretch != 1):
            weights = weights / total
        np.add.at(matrix[row], np.clip(places, 0, before - 1), weights)
    return _outside(call, matrix, where, before)


def _outside(call: Call, matrix: np.ndarray, where: np.ndarray, before: int) -> np.ndarray:
    if call.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        matrix[(where < 0) | (where > before - 1)] = np.nan
    return matrix


@onnx_operator("Resize")
def resize(call: Call) -> Value:
    x = call[0]
    if call.version < 11:
        return resized(call, x, list(range(x.type.rank)), [float(s) for s in call.known(1)], None, None)
    axes = call.attribute("axes")
    axes = list(range(x.type.rank)) if axes is None else [normal_axis(a, x.type.rank, "Resize") for a in axes]
    scales = [float(s) for s in call.known(2)] if call.has(2) and call.known(2).size else None
    sizes = list(call.ints(3)) if call.has(3) else None
    region = [float(r) for r in call.known(1)] if call.has(1) and call.known(1).size else None
    return resized(call, x, axes, scales, sizes, region)


@onnx_operator("Upsample")
def upsample(call: Call) -> Value:
    x = call[0]
    if call.version < 7:
        scales = [1.0, 1.0, call.attribute("height_scale"), call.attribute("width_scale")]
    else:
        scales = call.attribute("scales") if call.version < 9 else [float(s) for s in call.known(1)]
    if call.attribute("mode", "nearest") == "bilinear":
        call.attributes = {**call.attributes, "mode": "linear"}
    call.attributes = {
        **call.attributes,
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return resized(call, x, list(range(x.type.rank)), list(scales), None, None)


def resized(
    call: Call,
    x: Value,
    axes: list[int],
    scales: Sequence[float] | None,
    sizes: list[int] | None,
    region: list[float] | None,
) -> Value:
    """x with each of the axes multiplied by its matrix."""
    before = [x.shape[axis] for axis in axes]
    given = scales if scales is not None else sizes
    if given is None or len(given) != len(axes) or any(s <= 0 or not math.isfinite(s) for s in given):
        raise OnnxError(f"{call.name}: {len(axes)} scales or sizes above 0 are needed, not {given}")
    if scales is None:
        assert sizes is not None
        scales, sizes = _by_policy(call, [int(n) for n in before if isinstance(n, int)], sizes, len(before))
    else:
        sizes = [math.floor(n * s) if isinstance(n, int) else -1 for n, s in zip(before, scales, strict=True)]
    fill = call.attribute("extrapolation_value", 0.0)
    dtype = x.dtype
    x = x if dtype.is_float else ops.cast(x, dtype=float64)
    outside: list[tuple[int, np.ndarray]] = []
    for place, axis in enumerate(axes):
        n, scale, after = before[place], scales[place], sizes[place]
        start, stop = (region[place], region[place + len(axes)]) if region else (0.0, 1.0)
        crops = call.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
        if (
            scale == 1
            and (n == after or not isinstance(n, int))
            and not (crops and (start, stop) != (0.0, 1.0))
        ):
            continue
        if not isinstance(n, int):
            raise call.unsupported(f"the open size {n}", "load the model with fixed sizes")
        check_bytes(after * n * 8, "the matrix of a resized axis")
        matrix = axis_matrix(call, scale, n, after, start, stop)
        lost = np.isnan(matrix).any(axis=1)
        if lost.any():
            outside.append((axis, lost))
            matrix[lost] = 0
        x = along_axis(call, x, axis, matrix)
    for axis, lost in outside:
        mask = call.importer.constant(lost.reshape([-1 if i == axis else 1 for i in range(x.type.rank)]))
        x = ops.where(mask, fill, x)
    if dtype.is_float:
        return x
    limits = np.iinfo(dtype.numpy)
    return ops.cast(ops.minimum(ops.maximum(x, float(limits.min)), float(limits.max)), dtype=dtype)


def _by_policy(call: Call, before: list[int], sizes: list[int], count: int) -> tuple[list[float], list[int]]:
    if len(before) != count:
        raise call.unsupported("given sizes of open ones", "load the model with fixed sizes")
    policy = call.attribute("keep_aspect_ratio_policy", "stretch")
    ratios = [after / n for n, after in zip(before, sizes, strict=True)]
    if policy == "stretch":
        return ratios, sizes
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [scale] * count, [math.floor(n * scale + 0.5) for n in before]


def along_axis(call: Call, x: Value, axis: int, matrix: np.ndarray) -> Value:
    """A·x along one axis; a matrix that only picks elements is a gather."""
    picks = ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(axis=1) == 1).all()
    if picks:
        return ops.gather(x, call.importer.constant(matrix.argmax(axis=1).astype(np.int64)), axis=axis)
    rank = x.type.rank
    order = (*(i for i in range(rank) if i != axis), axis)
    moved = ops.transpose(x, permutation=order)
    weight = call.importer.constant(matrix.astype(x.dtype.numpy))
    rows = ops.reshape(moved, shape=(product(moved.shape[:-1]), moved.shape[-1]))
    y = ops.reshape(ops.matmul(rows, weight, transpose_w=True), shape=(*moved.shape[:-1], matrix.shape[0]))
    return ops.transpose(y, permutation=tuple(order.index(i) for i in range(rank)))


@onnx_operator("GridSample")
def grid_sample(call: Call) -> Value:
    """x[N, C, *S] read at the points grid[N, *T, d]; -1 and 1 are the two ends of an axis."""
    x, grid = call[0], call[1]
    count = x.type.rank - 2
    sizes = x.shape[2:]
    if grid.type.rank != x.type.rank or grid.shape[-1] != count or not all(isinstance(n, int) for n in sizes):
        raise OnnxError(f"GridSample: a grid {grid.type} does not fit {x.type}")
    mode = call.attribute("mode", "linear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    border, corners = call.attribute("padding_mode", "zeros"), bool(call.attribute("align_corners", 0))
    if mode == "cubic" and count != 2:
        raise call.unsupported(f"cubic interpolation in {count} dimensions")
    points = [_component(grid, count - 1 - axis) for axis in range(count)]  # x comes first in the grid
    points = [_unnormalized(p, n, corners) for p, n in zip(points, sizes, strict=True)]
    if mode == "nearest":
        points = [ops.round(p) for p in points]
        return _sampled(call, x, [[(p, None)] for p in points], border, corners)
    if border != "zeros" and mode == "linear":
        points = [_bordered(p, n, border, corners) for p, n in zip(points, sizes, strict=True)]
    taps = [_cubic_taps(p) if mode == "cubic" else _linear_taps(p) for p in points]
    return _sampled(call, x, taps, border, corners)


Tap = tuple[Value, Value | None]


def _component(grid: Value, index: int) -> Value:
    from graphc.frontends.onnx.operators.movement import part

    axis = grid.type.rank - 1
    return ops.reshape(part(grid, axis, index, index + 1), shape=grid.shape[:-1])


def _unnormalized(p: Value, size: int, corners: bool) -> Value:
    return (p + 1.0) * ((size - 1) / 2) if corners else ((p + 1.0) * float(size) - 1.0) / 2.0


def _bordered(p: Value, size: int, border: str, corners: bool) -> Value:
    if border == "border":
        return ops.minimum(ops.maximum(p, 0.0), float(size - 1))
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    width = high - low
    if width <= 0:
        return p * 0.0
    distance = ops.abs(p - low)
    turns = ops.floor(distance / width)
    rest = distance - turns * width
    odd = ops.not_equal(turns - ops.floor(turns / 2.0) * 2.0, 0.0)
    mirrored = ops.where(odd, high - rest, rest + low)
    return ops.minimum(ops.maximum(mirrored, 0.0), float(size - 1)) if not corners else mirrored


def _linear_taps(p: Value) -> list[Tap]:
    low = ops.floor(p)
    share = p - low
    return [(low, 1.0 - share), (low + 1.0, share)]


def _cubic_taps(p: Value, a: float = -0.75) -> list[Tap]:
    low = ops.floor(p)
    t = p - low
    s = 1.0 - t

    def near(d: Value) -> Value:
        return (d * (a + 2) - (a + 3)) * d * d + 1.0

    def far(d: Value) -> Value:
        return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a

    return [(low - 1.0, far(t + 1.0)), (low, near(t)), (low + 1.0, near(s)), (low + 2.0, far(s + 1.0))]


def _sampled(call: Call, x: Value, taps: list[list[Tap]], border: str, corners: bool) -> Value:
    """The weighted sum over all combinations of the taps of each axis."""
    n, c, *sizes = x.shape
    planes = ops.reshape(x, shape=(n, c, product(sizes)))
    target = taps[0][0][0].shape[1:]
    total: Value | None = None
    chosen = [0] * len(taps)
    while True:
        tap = [axis_taps[i] for axis_taps, i in zip(taps, chosen, strict=True)]
        term = _term(call, planes, tap, sizes, border, corners, (n, c, *target))
        total = term if total is None else total + term
        for axis in reversed(range(len(taps))):
            chosen[axis] += 1
            if chosen[axis] < len(taps[axis]):
                break
            chosen[axis] = 0
        else:
            return total


def _term(call, planes, tap, sizes, border, corners, shape):  # type: ignore[no-untyped-def]
    n, c, *target = shape
    position: Value | None = None
    weight: Value | None = None
    inside: Value | None = None
    for (place, share), size in zip(tap, sizes, strict=True):
        if border == "zeros":
            within = ops.logical_and(ops.greater_equal(place, 0.0), ops.less_equal(place, float(size - 1)))
            inside = within if inside is None else ops.logical_and(inside, within)
        else:
            place = _bordered(place, size, border, corners)
            place = ops.round(place)
        index = ops.cast(ops.minimum(ops.maximum(place, 0.0), float(size - 1)), dtype=int64)
        position = index if position is None else position * size + index
        if share is not None:
            weight = share if weight is None else weight * share
    assert position is not None
    spread = (n, 1, product(target))
    index = ops.broadcast_to(ops.reshape(position, shape=spread), shape=(n, c, product(target)))
    term = ops.reshape(ops.gather_elements(planes, index, axis=2), shape=shape)
    one = (n, 1, *target)
    if inside is not None:
        term = ops.where(ops.reshape(inside, shape=one), term, 0.0)
    return term if weight is None else term * ops.reshape(weight, shape=one)


@onnx_operator("Col2Im")
def col2im(call: Call) -> Value:
    """Windows added back into an image: the transposed convolution with each window's own unit kernel."""
    x, image, block = call[0], call.ints(1), call.ints(2)
    rank = len(image)
    dilations = tuple(call.attribute("dilations") or (1,) * rank)
    strides = tuple(call.attribute("strides") or (1,) * rank)
    pads = call.attribute("pads") or [0] * (2 * rank)
    padding = tuple(zip(pads[:rank], pads[rank:], strict=True))
    taps = math.prod(block)
    if x.type.rank != 3 or len(block) != rank or not isinstance(x.shape[1], int) or x.shape[1] % taps:
        raise OnnxError(f"Col2Im: blocks {list(block)} of an image {list(image)} do not fit {x.type}")
    counts = tuple(
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, (low, high), d, k, s in zip(image, padding, dilations, block, strides, strict=True)
    )
    channels = x.shape[1] // taps
    c = ops.reshape(x, shape=(x.shape[0] * channels, taps, *counts))
    unit = np.eye(taps, dtype=x.dtype.numpy).reshape(taps, 1, *block)
    y = ops.conv_dx(
        c,
        call.importer.constant(unit),
        size=image,
        strides=strides,
        padding=padding,
        dilation=dilations,
        groups=1,
    )
    return ops.reshape(y, shape=(x.shape[0], channels, *image))
