"""Movement: reshape, transpose, broadcast, slice, pad, concatenate, reverse.

They compute nothing; a backend turns them into strides or into index arithmetic of a fused loop.
"""

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.dims import SymbolicDim, product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ops.rules import check_shape, fits, same_type

MOVEMENT = Kind.MOVEMENT


def free(*types, **attributes):
    """Moving elements costs no floating-point operation."""
    return 0


@op(
    MOVEMENT,
    formula="y = x in another shape",
    symbol="reshape",
    derivative={0: "1"},
    onnx="Reshape",
    flops=free,
)
class reshape:
    """The same elements in row-major order under another shape.  The gradient is reshaped back."""

    def infer(x, *, shape):
        check_shape(shape)
        if product(shape) != x.size:
            raise TypeRuleError(
                f"cannot reshape {{0}} of {x.size} elements to {list(shape)} of {product(shape)}"
            )
        return x.with_shape(shape)

    in_place = (0,)

    def samples():
        yield (np.arange(12.0).reshape(3, 4),), {"shape": (2, 6)}
        yield (np.arange(12.0).reshape(3, 4),), {"shape": (3, 2, 2)}
        yield (np.arange(6.0),), {"shape": (1, 6, 1)}
        yield (np.zeros((0, 3)),), {"shape": (3, 0)}

    def reference(x, *, shape):
        return x.reshape(shape)

    def vjp(ct, x, y, *, shape):
        return reshape(ct, shape=x.shape)


@op(
    MOVEMENT,
    formula="y = x with axes permuted",
    symbol="T",
    derivative={0: "1"},
    onnx="Transpose",
    flops=free,
)
class transpose:
    """Axes in another order: output axis i is input axis permutation[i].  The gradient is permuted back."""

    def infer(x, *, permutation):
        if sorted(permutation) != list(range(x.rank)):
            raise TypeRuleError(f"{permutation} is not an order of the {x.rank} axes of {{0}}")
        return x.with_shape(tuple(x.shape[axis] for axis in permutation))

    def samples():
        yield (np.arange(12.0).reshape(3, 4),), {"permutation": (1, 0)}
        yield (np.arange(2.0 * 3 * 5).reshape(2, 3, 5),), {"permutation": (2, 0, 1)}

    def reference(x, *, permutation):
        return x.transpose(permutation)

    def vjp(ct, x, y, *, permutation):
        back = tuple(sorted(range(len(permutation)), key=lambda axis: permutation[axis]))
        return transpose(ct, permutation=back)


@op(MOVEMENT, formula="y = x repeated to a shape", symbol="↦", derivative={0: "1"}, onnx="Expand", flops=free)
class broadcast_to:
    """Repetition along axes of size 1 and along new leading axes.

    The gradient is the sum over everything that was repeated; this is the only place where that rule stands.
    """

    def infer(x, *, shape):
        check_shape(shape)
        if x.rank > len(shape):
            raise TypeRuleError(f"cannot broadcast {{0}} to the {len(shape)} dimensions {list(shape)}")
        for size, wanted in zip(reversed(x.shape), reversed(shape)):
            if size != wanted and size != 1:
                raise TypeRuleError(
                    f"cannot broadcast {{0}} to {list(shape)}: size {size} is neither 1 nor {wanted}"
                )
        return x.with_shape(shape)

    def samples():
        yield (np.arange(4.0),), {"shape": (3, 4)}
        yield (np.arange(3.0).reshape(3, 1),), {"shape": (2, 3, 5)}
        yield (np.asarray(2.5),), {"shape": (7,)}
        yield (np.arange(4.0).reshape(1, 4),), {"shape": (1, 4)}

    def reference(x, *, shape):
        return np.broadcast_to(x, shape)

    def vjp(ct, x, y, *, shape):
        from graphc.ops.reduction import sum_

        lead = len(shape) - x.type.rank
        axes = tuple(range(lead)) + tuple(
            lead + i for i, size in enumerate(x.shape) if size == 1 and shape[lead + i] != 1
        )
        return reshape(sum_(ct, axes=axes), shape=x.shape) if axes else ct


@op(MOVEMENT, formula="y = x[start:stop:step]", symbol="[:]", derivative={0: "1"}, onnx="Slice", flops=free)
class slice_:
    """Every step-th element from start up to stop, along each axis; steps are positive.

    The gradient is put back into zeros.
    """

    def infer(x, *, starts, stops, steps):
        if not len(starts) == len(stops) == len(steps) == x.rank:
            raise TypeRuleError(f"{{0}} has {x.rank} dimensions, the slice {len(starts)}")
        shape = []
        for size, start, stop, step in zip(x.shape, starts, stops, steps):
            whole = type(start) in (int, SymbolicDim) and type(step) is int and step >= 1
            if not whole or isinstance(start, int) and start < 0:
                raise TypeRuleError("a slice starts at a whole number >= 0 and has a step >= 1")
            known = all(isinstance(d, int) for d in (size, start, stop))
            if isinstance(size, int) and not (known and start <= stop <= size):
                raise TypeRuleError(f"slice {start}:{stop} lies outside a size of {size}")
            shape.append((stop - start + step - 1) // step)
        return x.with_shape(tuple(shape))

    def samples():
        x = np.arange(30.0).reshape(5, 6)
        yield (x,), {"starts": (1, 0), "stops": (4, 6), "steps": (1, 1)}
        yield (x,), {"starts": (0, 1), "stops": (5, 6), "steps": (2, 3)}
        yield (np.arange(7.0),), {"starts": (3,), "stops": (3,), "steps": (1,)}

    def reference(x, *, starts, stops, steps):
        return x[tuple(slice(*bounds) for bounds in zip(starts, stops, steps))]

    def vjp(ct, x, y, *, starts, stops, steps):
        widths = []
        for size, start, count, step in zip(x.shape, starts, y.shape, steps):
            last = start + (count - 1) * step
            widths.append((start, 0 if count == 0 else size - 1 - last))
            if count == 0:
                return broadcast_to(reshape(sum_of_nothing(ct), shape=(1,) * len(x.shape)), shape=x.shape)
        return pad(
            ct,
            low=tuple(w[0] for w in widths),
            high=tuple(w[1] for w in widths),
            interior=tuple(s - 1 for s in steps),
        )


def sum_of_nothing(ct):
    from graphc.ops.reduction import sum_

    return sum_(ct, axes=tuple(range(ct.type.rank)))


@op(MOVEMENT, formula="y = x with zeros around it", symbol="pad", derivative={0: "1"}, onnx="Pad", flops=free)
class pad:
    """`low` zeros (or `value`) before, `high` after, `interior` between neighbours, per axis.

    The gradient is the slice that undoes it.
    """

    defaults = {"value": 0.0}

    def infer(x, *, low, high, interior, value):
        if not len(low) == len(high) == len(interior) == x.rank:
            raise TypeRuleError(f"{{0}} has {x.rank} dimensions, the padding {len(low)}")
        if any(isinstance(w, int) and w < 0 for w in (*low, *high, *interior)):
            raise TypeRuleError("padding widths are >= 0")
        if not fits(value, x.dtype):
            raise TypeRuleError(f"the padding value {value} does not fit {{0}} of {x.dtype}", kind=DTypeError)
        return x.with_shape(
            tuple(
                before + (size + (size - 1) * between if size != 0 else 0) + after
                for size, before, after, between in zip(x.shape, low, high, interior)
            )
        )

    def samples():
        x = np.arange(1.0, 7.0).reshape(2, 3)
        yield (x,), {"low": (1, 0), "high": (0, 2), "interior": (0, 0), "value": 0.0}
        yield (x,), {"low": (0, 1), "high": (1, 0), "interior": (1, 2), "value": -1.5}

    def reference(x, *, low, high, interior, value):
        shape = tuple(
            a + (n + (n - 1) * i if n else 0) + b for n, a, b, i in zip(x.shape, low, high, interior)
        )
        y = np.full(shape, value, x.dtype)
        y[
            tuple(
                slice(a, a + n * (i + 1), i + 1) if n else slice(0, 0)
                for n, a, i in zip(x.shape, low, interior)
            )
        ] = x
        return y

    def vjp(ct, x, y, *, low, high, interior, value):
        stops = tuple(a + (n - 1) * (i + 1) + 1 if n != 0 else a for n, a, i in zip(x.shape, low, interior))
        return slice_(ct, starts=low, stops=stops, steps=tuple(i + 1 for i in interior))


@op(MOVEMENT, formula="y = x₁, x₂, ... along an axis", symbol="concat", onnx="Concat", flops=free)
class concat:
    """Tensors one after the other along an axis.  Each gets its own slice of the gradient."""

    def infer(*types, axis):
        first = types[0]
        if not 0 <= axis < first.rank:
            raise TypeRuleError(f"axis {axis} does not fit {{0}} of {first.rank} dimensions")
        same_type(*(t.with_shape(()) for t in types))
        for position, other in enumerate(types[1:], 1):
            if other.rank != first.rank or any(
                a != b for i, (a, b) in enumerate(zip(first.shape, other.shape)) if i != axis
            ):
                raise TypeRuleError(
                    f"cannot concatenate {{0}} and {{{position}}} along axis {axis}: other sizes differ"
                )
        total = 0
        for t in types:
            total = total + t.shape[axis]
        return first.with_shape(tuple(total if i == axis else d for i, d in enumerate(first.shape)))

    def samples():
        yield (np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(2, 4)), {"axis": 1}
        yield (np.arange(3.0), np.arange(4.0), np.arange(1.0)), {"axis": 0}

    def reference(*arrays, axis):
        return np.concatenate(arrays, axis=axis)

    def vjp(ct, *operands, axis):
        *inputs, y = operands
        parts, offset = [], 0
        for x in inputs:
            starts = tuple(offset if i == axis else 0 for i in range(x.type.rank))
            stops = tuple(offset + d if i == axis else d for i, d in enumerate(x.shape))
            parts.append(slice_(ct, starts=starts, stops=stops, steps=(1,) * x.type.rank))
            offset = offset + x.shape[axis]
        return tuple(parts)


@op(MOVEMENT, formula="y = x backwards", symbol="reverse", derivative={0: "1"}, flops=free)
class reverse:
    """Elements in reverse order along axes.  The gradient is reversed too."""

    def infer(x, *, axes):
        if any(not 0 <= axis < x.rank for axis in axes):
            raise TypeRuleError(f"axes {axes} do not fit {{0}} of {x.rank} dimensions")
        return x

    def samples():
        yield (np.arange(6.0).reshape(2, 3),), {"axes": (1,)}
        yield (np.arange(24.0).reshape(2, 3, 4),), {"axes": (0, 2)}

    def reference(x, *, axes):
        return np.flip(x, axes)

    def vjp(ct, x, y, *, axes):
        return reverse(ct, axes=axes)
