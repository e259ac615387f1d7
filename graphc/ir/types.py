"""Types: element types, and tensor types with symbolic dimensions.

A type is set by an op's rule when its node is made and derived again by the verifier; it is
never edited.  `float32[N,784]` in messages, `f32[N,784]` in `.gir` text; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from graphc.ir.dims import Dim, SymbolicDim, parse_dim, product, substitute, symbols_of

MAX_RANK = 32


@dataclass(frozen=True)
class DType:
    """An element type: its name, its short name in `.gir`, its kind and its size in bytes."""

    name: str
    short: str
    kind: Literal["float", "int", "uint", "bool"]
    itemsize: int

    @cached_property
    def numpy(self) -> np.dtype:
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


float32 = DType("float32", "f32", "float", 4)
float64 = DType("float64", "f64", "float", 8)
int8 = DType("int8", "i8", "int", 1)
int16 = DType("int16", "i16", "int", 2)
int32 = DType("int32", "i32", "int", 4)
int64 = DType("int64", "i64", "int", 8)
uint8 = DType("uint8", "u8", "uint", 1)
uint16 = DType("uint16", "u16", "uint", 2)
uint32 = DType("uint32", "u32", "uint", 4)
uint64 = DType("uint64", "u64", "uint", 8)
bool_ = DType("bool", "bool", "bool", 1)

DTYPES = (float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool_)
_BY_NAME = {name: dtype for dtype in DTYPES for name in (dtype.name, dtype.short)}


def dtype_of(value: object) -> DType:
    """The element type of a name, a NumPy dtype or an array.  Raises ValueError when there is none.

    >>> dtype_of("f32"), dtype_of(np.zeros(3))
    (float32, float64)
    """
    if isinstance(value, DType):
        return value
    name = value if isinstance(value, str) else np.dtype(getattr(value, "dtype", value)).name  # type: ignore[call-overload]
    if name not in _BY_NAME:
        raise ValueError(f"dtype {name} is not supported; supported are {', '.join(d.name for d in DTYPES)}")
    return _BY_NAME[name]


def as_argument(value: Any, dtype: np.dtype, rank: int) -> np.ndarray:
    """What the caller gave as an array: one of Python's numbers, where a single number is asked for, takes the dtype.

    So do Python's numbers in NumPy (NEP 50).  A number the dtype does not hold keeps its own, which is refused then.

    >>> as_argument(2, np.dtype("float32"), 0).dtype, as_argument(2.5, np.dtype("int64"), 0).dtype
    (dtype('float32'), dtype('float64'))
    """
    if rank == 0 and type(value) in (bool, int, float):
        fits = {"f": (bool, int, float), "i": (bool, int), "u": (bool, int), "b": (bool,)}[dtype.kind]
        if type(value) in fits and _in_range(value, dtype):
            return np.asarray(value, dtype)
    return np.asarray(value)


def _in_range(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "b":
        return True
    if dtype.kind == "f":
        return value != value or abs(value) == float("inf") or abs(value) <= float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min) <= value <= int(np.iinfo(dtype).max)


@dataclass(frozen=True)
class TensorType:
    """An element type and a shape.

    >>> t = parse_type("float32[N,784]")
    >>> t.rank, t.size, t.substitute({"N": 2}).shape
    (2, 784*N, (2, 784))
    """

    dtype: DType
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def size(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    @cached_property
    def nbytes(self) -> Dim:
        return self.size * self.dtype.itemsize

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted({name for dim in self.shape for name in symbols_of(dim)}))

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.shape)

    def substitute(self, bindings: Mapping[str, Dim]) -> TensorType:
        return self.with_shape(tuple(substitute(dim, bindings) for dim in self.shape))

    @property
    def gir(self) -> str:
        """The short spelling used in `.gir` text."""
        return f"{self.dtype.short}{format_shape(self.shape)}"

    def __str__(self) -> str:
        return f"{self.dtype.name}{format_shape(self.shape)}"

    __repr__ = __str__


def format_shape(shape: tuple[Dim, ...]) -> str:
    """`[N,3,32]`"""
    return "[" + ",".join(str(dim) for dim in shape) + "]"


_TYPE = re.compile(r"\s*([A-Za-z]\w*)\s*(?:\[(.*)\])?\s*", re.DOTALL)


def parse_type(text: str) -> TensorType:
    """Read `float32[N,1,28,28]`, `f32[]` or `float32` (a scalar).

    Raises ValueError with a sentence naming the part that is wrong.
    """
    match = _TYPE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a type; write for example float32[N,784]")
    dtype = dtype_of(match[1])
    inner = match[2]
    shape = tuple(parse_dim(part) for part in inner.split(",")) if inner and inner.strip() else ()
    if len(shape) > MAX_RANK:
        raise ValueError(f"{len(shape)} dimensions; at most {MAX_RANK} are supported")
    for dim in shape:
        if isinstance(dim, int) and not 0 <= dim < 2**63:
            raise ValueError(f"dimension {dim} is out of range")
    return TensorType(dtype, shape)


def is_static(shape: tuple[Dim, ...]) -> bool:
    return not any(isinstance(dim, SymbolicDim) for dim in shape)
