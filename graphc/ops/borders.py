"""Images and sequences continued beyond their borders, and matrices cut along a diagonal: composites."""

import numpy as np

from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import int64
from graphc.ops.creation import iota
from graphc.ops.elementwise import greater_equal, less_equal, where, zeros_like
from graphc.ops.movement import broadcast_to, concat, reverse, slice_

COMPOSITE = Kind.COMPOSITE
MODES = ("reflect", "edge", "wrap", "symmetric")


def cut(x, axis, start, stop):
    """x[start:stop] along one axis."""
    starts = tuple(start if i == axis else 0 for i in range(x.type.rank))
    stops = tuple(stop if i == axis else d for i, d in enumerate(x.shape))
    return slice_(x, starts=starts, stops=stops, steps=(1,) * x.type.rank)


@op(COMPOSITE, formula="y = x continued", symbol="extend", derivative={0: "how often it is repeated"})
class extend:
    """`low` elements more before x and `high` behind it along each axis, repeated from x itself.

    mode   reflect: mirrored at the last element, which is not repeated (PyTorch's "reflect")
           symmetric: mirrored behind the last element
           edge: the last element again (PyTorch's "replicate")
           wrap: from the other end (PyTorch's "circular")
    The gradient of an element is the sum over all its copies.
    """

    def infer(x, *, low, high, mode):
        if mode not in MODES:
            raise TypeRuleError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        if not len(low) == len(high) == x.rank:
            raise TypeRuleError(f"{{0}} has {x.rank} dimensions, the widths {len(low)}")
        spare = {"reflect": 1, "edge": None, "wrap": 0, "symmetric": 0}[mode]
        for axis, (size, *widths) in enumerate(zip(x.shape, low, high)):
            for width in widths:
                if not isinstance(width, int) or width < 0:
                    raise TypeRuleError("widths are whole numbers >= 0")
                if (
                    isinstance(size, int)
                    and width
                    and (size == 0 or spare is not None and width > size - spare)
                ):
                    raise TypeRuleError(
                        f"{width} elements more along axis {axis} of {size} elements: mode {mode}"
                    )
        return x.with_shape(tuple(a + size + b for size, a, b in zip(x.shape, low, high)))

    def samples():
        rng = np.random.default_rng(113)
        for mode in MODES:
            yield (rng.normal(size=7),), {"low": (3,), "high": (2,), "mode": mode}
            yield (rng.normal(size=(2, 5, 4)),), {"low": (0, 2, 1), "high": (0, 0, 3), "mode": mode}
        yield (rng.normal(size=(3, 1)),), {"low": (0, 4), "high": (0, 2), "mode": "edge"}
        yield (np.zeros((0, 3)),), {"low": (0, 1), "high": (0, 1), "mode": "reflect"}

    def reference(x, *, low, high, mode):
        return np.pad(x, tuple(zip(low, high)), mode=mode)

    def body(x, *, low, high, mode):
        for axis, (before, behind) in enumerate(zip(low, high)):
            parts = [x]
            if before:
                parts.insert(0, _margin(x, axis, before, mode, True))
            if behind:
                parts.append(_margin(x, axis, behind, mode, False))
            x = concat(*parts, axis=axis) if len(parts) > 1 else x
        return x


def _margin(x, axis, width, mode, first):
    """What stands before an axis, or behind it."""
    size = x.shape[axis]
    start = 0 if first else size - width
    match mode:
        case "edge":
            one = cut(x, axis, 0, 1) if first else cut(x, axis, size - 1, size)
            return broadcast_to(one, shape=tuple(width if i == axis else d for i, d in enumerate(x.shape)))
        case "wrap":
            return cut(x, axis, size - width, size) if first else cut(x, axis, 0, width)
        case "reflect":
            start = start + 1 if first else start - 1
    return reverse(cut(x, axis, start, start + width), axes=(axis,))


@op(
    COMPOSITE,
    formula="y = x on one side of a diagonal, else 0",
    symbol="tri",
    derivative={0: "[kept]"},
    onnx="Trilu",
)
class triangle:
    """The elements of matrices x[..., n, m] on one side of a diagonal, 0 elsewhere.

    upper  those with column - row >= diagonal, else those with column - row <= diagonal; 0 is the main diagonal.
    """

    defaults = {"diagonal": 0, "upper": True}

    def infer(x, *, diagonal, upper):
        if x.rank < 2:
            raise TypeRuleError(f"{{0}} has {x.rank} dimensions, a matrix has 2")
        return x

    def samples():
        rng = np.random.default_rng(127)
        yield (rng.normal(size=(4, 5)),), {}
        yield (rng.normal(size=(2, 5, 3)),), {"upper": False, "diagonal": -1}
        yield (rng.normal(size=(3, 3)),), {"diagonal": 2}
        yield (np.full((2, 2), np.inf),), {"upper": False}

    def reference(x, *, diagonal, upper):
        return np.triu(x, diagonal) if upper else np.tril(x, diagonal)

    def body(x, *, diagonal, upper):
        rank = x.type.rank
        row, column = (iota(shape=x.shape, axis=axis, dtype=int64) for axis in (rank - 2, rank - 1))
        side = column - row
        kept = greater_equal(side, diagonal) if upper else less_equal(side, diagonal)
        return where(kept, x, zeros_like(x))
