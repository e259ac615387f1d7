"""Images and sequences of another size, by the nearest element, straight lines or cubic curves: a composite.

Every axis is resized by itself.  An element of the result lies at a coordinate of x; the elements around it are taken
by position and put together with weights, so the gradient adds up at the positions.
"""

import numpy as np

from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import float64, int64
from graphc.ops.creation import iota
from graphc.ops.elementwise import cast, maximum, minimum
from graphc.ops.indexing import gather
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.rounding import ceil, floor
from graphc.ops.rules import same_float

MODES = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@op(
    Kind.COMPOSITE,
    formula="y = x at other places",
    symbol="resize",
    derivative={0: "the weights"},
    onnx="Resize",
)
class resize:
    """x with other sizes along `axes`.

    sizes        the new sizes
    scales       new size over old size, where rounding has made them differ; 0 for their quotient
    mode         nearest, linear, cubic (the curve of Keys, Cubic convolution interpolation, 1981, with a = -3/4)
    coordinates  where the middle of an element lies; "half_pixel" keeps the borders of the image where they are,
                 "align_corners" the middles of the corners, "asymmetric" the upper left corner
    nearest      how a coordinate is rounded in mode nearest.
    """

    defaults = {"scales": (), "mode": "nearest", "coordinates": "half_pixel", "nearest": "round_prefer_floor"}

    def infer(x, *, axes, sizes, scales, mode, coordinates, nearest):
        for name, value, known in (
            ("mode", mode, MODES),
            ("coordinates", coordinates, COORDINATES),
            ("nearest", nearest, NEAREST),
        ):
            if value not in known:
                raise TypeRuleError(f"{name} is one of {', '.join(known)}, not {value!r}")
        same_float(x)
        if list(axes) != sorted(set(axes)) or any(not 0 <= axis < x.rank for axis in axes):
            raise TypeRuleError(f"axes {axes} do not fit {{0}} of {x.rank} dimensions")
        if len(sizes) != len(axes) or scales and len(scales) != len(axes):
            raise TypeRuleError(f"{len(axes)} axes need as many sizes, and as many scales")
        for axis, size in zip(axes, sizes):
            if not (
                isinstance(size, int) and size >= 1 and isinstance(x.shape[axis], int) and x.shape[axis] >= 1
            ):
                raise TypeRuleError(f"axis {axis} of size {x.shape[axis]} cannot be resized to {size}")
        new = dict(zip(axes, sizes))
        return x.with_shape(tuple(new.get(i, d) for i, d in enumerate(x.shape)))

    def samples():
        rng = np.random.default_rng(131)
        x = rng.normal(size=(2, 3, 4, 5))
        yield (x,), {"axes": (2, 3), "sizes": (8, 15)}
        yield (x,), {"axes": (2, 3), "sizes": (7, 3), "coordinates": "asymmetric", "nearest": "floor"}
        yield (x,), {"axes": (2, 3), "sizes": (2, 9), "nearest": "ceil"}
        yield (
            (x,),
            {"axes": (2, 3), "sizes": (6, 3), "nearest": "round_prefer_ceil", "coordinates": "align_corners"},
        )
        for mode in ("linear", "cubic"):
            for coordinates in COORDINATES:
                yield (x,), {"axes": (2, 3), "sizes": (7, 3), "mode": mode, "coordinates": coordinates}
            yield (
                (x[0, 0, 0],),
                {"axes": (0,), "sizes": (1,), "mode": mode, "coordinates": "pytorch_half_pixel"},
            )
        yield (x[0],), {"axes": (2,), "sizes": (11,), "scales": (2.3,), "mode": "linear"}

    def body(x, *, axes, sizes, scales, mode, coordinates, nearest):
        for number, (axis, size) in enumerate(zip(axes, sizes)):
            scale = (scales[number] if scales else 0) or size / x.shape[axis]
            x = _along(x, axis, size, scale, mode, coordinates, nearest)
        return x


def _along(x, axis, size, scale, mode, coordinates, nearest):
    """x resized along one axis."""
    old = x.shape[axis]
    if old == size and scale == 1:
        return x
    rounds = coordinates == "half_pixel" and nearest.startswith("round")
    if mode == "nearest" and size % old == 0 and scale == size // old:
        if rounds or (coordinates == "asymmetric" and nearest == "floor"):
            return _repeated(x, axis, size // old)
    place = iota(shape=(size,), axis=0, dtype=float64)
    match coordinates:
        case "align_corners":
            at = place * ((old - 1) / (size - 1)) if size > 1 else place
        case "asymmetric":
            at = place * (1 / scale)
        case "pytorch_half_pixel" if size == 1:
            at = place
        case _:
            at = (place + 0.5) * (1 / scale) - 0.5
    if mode == "nearest":
        return _taken(x, axis, _rounded(at, nearest))
    first = floor(at)
    t = at - first
    total = None
    for offset, weight in _linear(t) if mode == "linear" else _cubic(t):
        part = _taken(x, axis, first + offset)
        spread = reshape(cast(weight, dtype=x.dtype), shape=(size, *(1,) * (x.type.rank - axis - 1)))
        part = part * broadcast_to(spread, shape=part.shape)
        total = part if total is None else total + part
    return total


def _repeated(x, axis, times):
    """Each element `times` times in a row."""
    shape = x.shape
    wide = broadcast_to(
        reshape(x, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :])),
        shape=(*shape[: axis + 1], times, *shape[axis + 1 :]),
    )
    return reshape(wide, shape=(*shape[:axis], shape[axis] * times, *shape[axis + 1 :]))


def _rounded(at, nearest):
    match nearest:
        case "floor":
            return floor(at)
        case "ceil":
            return ceil(at)
        case "round_prefer_floor":
            return ceil(at - 0.5)
    return floor(at + 0.5)


def _taken(x, axis, place):
    """The elements at whole coordinates; beyond the ends those at the ends."""
    inside = minimum(maximum(place, 0.0), float(x.shape[axis] - 1))
    return gather(x, cast(inside, dtype=int64), axis=axis)


def _linear(t):
    return (0.0, 1.0 - t), (1.0, t)


def _cubic(t):
    a = -0.75
    u = 1.0 - t
    yield -1.0, ((t + 1.0) * a - 5 * a) * ((t + 1.0) * (t + 1.0)) + (t + 1.0) * (8 * a) - 4 * a
    yield 0.0, (t * (a + 2) - (a + 3)) * (t * t) + 1.0
    yield 1.0, (u * (a + 2) - (a + 3)) * (u * u) + 1.0
    yield 2.0, ((u + 1.0) * a - 5 * a) * ((u + 1.0) * (u + 1.0)) + (u + 1.0) * (8 * a) - 4 * a
