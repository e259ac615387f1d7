"""Element types and tensors of ONNX as those of graphc."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto

from graphc.frontends.onnx.errors import OnnxError, OnnxLimitError, UnsupportedOperator
from graphc.ir.types import MAX_RANK, DType, dtype_of

MAX_BYTES = 8 << 30
"""No tensor of an untrusted model may be larger: 8 GiB."""

_FIELDS = {  # where a TensorProto that is not raw keeps elements of a dtype
    "float32": "float_data",
    "float64": "double_data",
    "int8": "int32_data",
    "int16": "int32_data",
    "int32": "int32_data",
    "int64": "int64_data",
    "uint8": "int32_data",
    "uint16": "int32_data",
    "uint32": "uint64_data",
    "uint64": "uint64_data",
    "bool": "int32_data",
}


def element_type(code: int, what: str) -> DType:
    """The dtype of an ONNX element type.  Raises OnnxError for none, UnsupportedOperator for one graphc has not."""
    if code not in TensorProto.DataType.values() or code == TensorProto.UNDEFINED:
        raise OnnxError(f"{what} has the element type {code}, which does not exist")
    name = TensorProto.DataType.Name(code).lower()
    try:
        return dtype_of({"float": "float32", "double": "float64"}.get(name, name))
    except ValueError:
        raise UnsupportedOperator(f"{what} has the element type {name}, which graphc does not have") from None


def checked_shape(dims: list[int], itemsize: int, what: str) -> tuple[int, ...]:
    """The sizes as a tuple.  Raises OnnxError for a size below 0, OnnxLimitError for too many bytes."""
    if len(dims) > MAX_RANK:
        raise OnnxLimitError(f"{what} has {len(dims)} dimensions; {MAX_RANK} are allowed")
    if any(size < 0 for size in dims):
        raise OnnxError(f"{what} has a size below 0: {list(dims)}")
    check_bytes(math.prod(dims) * itemsize, what)
    return tuple(dims)


def check_bytes(count: int, what: str) -> None:
    """Raise OnnxLimitError when `what` would be larger than a tensor may be."""
    if count > MAX_BYTES:
        raise OnnxLimitError(f"{what} needs {count / 1e9:.3g} GB; {MAX_BYTES / 1e9:.3g} GB are allowed")


def array_of(tensor: TensorProto, what: str, raw: bytes | None = None) -> np.ndarray:
    """The array of a TensorProto; `raw` are its bytes when they stand in another file.

    Raises OnnxError when the elements do not fill the shape.
    """
    dtype = element_type(tensor.data_type, what)
    shape = checked_shape(list(tensor.dims), dtype.itemsize, what)
    if tensor.HasField("segment"):
        raise OnnxError(f"{what} is stored in segments, which ONNX does not define")
    count = math.prod(shape)
    if raw is None and tensor.HasField("raw_data"):
        raw = tensor.raw_data
    if raw is not None:
        if len(raw) != count * dtype.itemsize:
            raise OnnxError(
                f"{what} has {len(raw)} bytes; {dtype}{list(shape)} takes {count * dtype.itemsize}"
            )
        array = np.frombuffer(raw, dtype.numpy.newbyteorder("<")).astype(dtype.numpy)
    else:
        stored = getattr(tensor, _FIELDS[dtype.name])
        if len(stored) != count:
            raise OnnxError(f"{what} has {len(stored)} elements; the shape {list(shape)} takes {count}")
        array = np.asarray(stored).astype(dtype.numpy)
    return array.reshape(shape)


def onnx_type(dtype: DType) -> int:
    """The ONNX code of a dtype."""
    return onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy)
