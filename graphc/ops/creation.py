"""Ops without operands: constants and index ramps."""

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import TensorType, bool_, dtype_of
from graphc.ops.rules import check_dtype, check_shape, fits


@op(Kind.CREATION, formula="constant", symbol="c", onnx="Constant", no_gradient="a constant")
class constant:
    """One number; larger arrays are parameters or constants of the graph."""

    def infer(*, value, dtype):
        check_dtype(dtype)
        if not isinstance(value, (bool, int, float)) or not fits(value, dtype):
            raise TypeRuleError(f"the constant {value!r} is no {dtype}", kind=DTypeError)
        return TensorType(dtype, ())

    def samples():
        yield (), {"value": 1.5, "dtype": dtype_of("float32")}
        yield (), {"value": True, "dtype": dtype_of("bool")}

    def reference(*, value, dtype):
        return np.asarray(value, dtype.numpy)


@op(Kind.CREATION, formula="0, 1, 2, ... along an axis", symbol="iota", no_gradient="whole numbers")
class iota:
    """y[i0, ..., ik] = i_axis."""

    def infer(*, shape, axis, dtype):
        check_dtype(dtype)
        check_shape(shape)
        if not 0 <= axis < len(shape):
            raise TypeRuleError(f"axis {axis} does not fit the {len(shape)} dimensions {list(shape)}")
        if dtype == bool_:
            raise TypeRuleError("there is no ramp of bool", kind=DTypeError)
        return TensorType(dtype, shape)

    def samples():
        yield (), {"shape": (3, 5), "axis": 1, "dtype": dtype_of("int32")}
        yield (), {"shape": (4,), "axis": 0, "dtype": dtype_of("float32")}
        yield (), {"shape": (2, 3, 4), "axis": 0, "dtype": dtype_of("int64")}
        yield (), {"shape": (0, 3), "axis": 0, "dtype": dtype_of("uint8")}

    def reference(*, shape, axis, dtype):
        ramp = np.arange(shape[axis], dtype=dtype.numpy)
        return np.broadcast_to(
            ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape
        ).copy()


@op(Kind.CREATION, formula="the size of a dimension", symbol="#", no_gradient="a whole number")
class dim_size:
    """The value of a symbolic dimension as a number: 1/N in a mean over a batch of N."""

    def infer(*, dim, dtype):
        check_dtype(dtype)
        check_shape((dim,))
        return TensorType(dtype, ())

    def samples():
        yield (), {"dim": 5, "dtype": dtype_of("float32")}

    def reference(*, dim, dtype):
        return np.asarray(dim, dtype.numpy)
