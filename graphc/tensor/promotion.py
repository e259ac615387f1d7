"""NumPy's rules for mixed dtypes: operands are cast to the one dtype NumPy would compute in.

Python's own numbers take the dtype of the tensor (NEP 50); NumPy scalars and arrays bring theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, UnsupportedError
from graphc.ir.dims import SymbolicDim
from graphc.ir.graph import Value
from graphc.ir.op import REGISTRY
from graphc.ir.types import DType, dtype_of
from graphc.tensor.recording import here, record
from graphc.tensor.sizes import OpenSize

FLOAT_ONLY = {"div", "exp", "exp2", "expm1", "log", "log1p", "log2", "sqrt", "sigmoid", "erf", "atan2"}
FLOAT_ONLY |= {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"}
BOOLEAN = {"logical_and", "logical_or", "logical_xor", "logical_not"}


def elementwise(name: str, *operands: Any) -> Any:
    """The op on operands of mixed dtypes; Python's NotImplemented when one is no number at all."""
    operands = tuple(_plain(operand) for operand in operands)
    if any(operand is NotImplemented for operand in operands):
        return NotImplemented
    first = 1 if name == "where" else 0
    dtype = dtype_of(bool) if name in BOOLEAN else common_dtype(name, operands[first:])
    return record(_converted, *operands, name=name, dtype=dtype)


def _converted(*operands: Any, name: str, dtype: DType) -> Value:
    """The op after the conversions it needs, on values and numbers."""
    first = 1 if name == "where" else 0
    ready = [_cast(operand, dtype) for operand in operands[first:]]
    if not any(isinstance(operand, Value) for operand in ready):
        ready[0] = REGISTRY["constant"](value=ready[0], dtype=dtype)
    if first:
        condition = _cast(operands[0], dtype_of(bool))
        ready.insert(
            0,
            condition
            if isinstance(condition, Value)
            else REGISTRY["constant"](value=condition, dtype=dtype_of(bool)),
        )
    result: Value = REGISTRY[name](*ready)
    return result


def cast(tensor: Any, dtype: DType) -> Any:
    """The tensor as another dtype; itself when it has it already."""
    return tensor if tensor.type.dtype == dtype else record(REGISTRY["cast"], tensor, dtype=dtype)


def constant_like(value: Any, dtype: DType | None = None) -> Any:
    """A tensor without dimensions for a number; of NumPy's dtype for it unless one is given."""
    value = _plain(value)
    if value is NotImplemented:
        raise UnsupportedError("only numbers, arrays and tensors can be computed with", span=here())
    if dtype is None:
        dtype = common_dtype("constant", (np.asarray(0 if isinstance(value, OpenSize) else value),))
    return record(_constant, value, dtype=dtype)


def _constant(value: Any, *, dtype: DType) -> Value:
    number = _cast(value, dtype)
    return number if isinstance(number, Value) else REGISTRY["constant"](value=number, dtype=dtype)


def _plain(operand: Any) -> Any:
    """A tensor, an array, a plain number or an open size; NotImplemented for anything else."""
    from graphc.tensor.tensor import Tensor

    if isinstance(operand, SymbolicDim):
        return OpenSize(operand, {})
    if isinstance(operand, (Tensor, OpenSize, bool, int, float, np.generic)):
        if isinstance(operand, np.generic) and operand.dtype.kind not in "biuf":
            raise UnsupportedError(f"numbers of dtype {operand.dtype} are not supported", span=here())
        return operand
    if isinstance(operand, np.ndarray):
        if operand.dtype.kind not in "biuf":
            raise UnsupportedError(f"arrays of dtype {operand.dtype} are not supported", span=here())
        return getattr(operand, "traced", None) or operand
    if isinstance(operand, complex):
        raise UnsupportedError(f"the complex number {operand} is not supported", span=here())
    if isinstance(operand, (list, tuple)):
        return _plain(np.asarray(operand)) if not _holds_tensor(operand) else NotImplemented
    return NotImplemented


def _holds_tensor(items: Any) -> bool:
    from graphc.tensor.tensor import Tensor

    return any(isinstance(i, Tensor) or isinstance(i, (list, tuple)) and _holds_tensor(i) for i in items)


def _weak(operand: Any) -> Any:
    """What NumPy's promotion looks at: a dtype, or a plain Python number."""
    if isinstance(operand, OpenSize):
        return 1
    if isinstance(operand, (np.ndarray, np.generic)):
        return operand.dtype
    if isinstance(operand, (bool, int, float)):
        return operand
    return operand.type.dtype.numpy


def common_dtype(name: str, operands: tuple[Any, ...]) -> DType:
    """The dtype NumPy computes `name` in."""
    try:
        common = np.result_type(*[_weak(operand) for operand in operands])
    except OverflowError as error:
        raise UnsupportedError(f"a whole number is out of range: {error}", span=here()) from None
    if name in FLOAT_ONLY and common.kind != "f":
        if name != "div" and common.itemsize < 4:
            raise DTypeError(
                f"{name} of {common} would give float16, which is not supported",
                span=here(),
                fix='cast first: .astype("float32")',
            )
        common = np.dtype(np.float64)
    try:
        return dtype_of(common)
    except ValueError as error:
        raise DTypeError(str(error), span=here()) from None


def _cast(operand: Any, dtype: DType) -> Any:
    """A value of the dtype, or a plain number of it."""
    match operand:
        case Value():
            return operand if operand.type.dtype == dtype else REGISTRY["cast"](operand, dtype=dtype)
        case OpenSize(dim=dim):
            return REGISTRY["dim_size"](dim=dim, dtype=dtype)
    try:
        return dtype.numpy.type(operand).item()
    except OverflowError:
        raise UnsupportedError(f"the number {operand} does not fit {dtype}", span=here()) from None
