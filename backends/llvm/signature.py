"""What a compiled model takes and gives: the contract between its code, Python and C.

    int32_t NAME_run(const NAME *handle, int64_t N, const void *inputs..., void *outputs..., void *workspace,
                     int32_t threads)

Arrays are dense and row-major, at addresses aligned to their element; the workspace is aligned to 64 bytes.
`N` is the size of the one symbolic dimension, 1 when there is none. Inputs come in the order of
`Signature.inputs`, outputs likewise. The result is 0, or the number of an error.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, linear_in, parse_dim, symbols_of

# Major changes when the contract above does; minor when something is added to it.
ABI_VERSION = (1, 0)

C_TYPES = {
    "float16": "uint16_t",
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
    "uint64": "uint64_t",
    "bool": "uint8_t",
}


@dataclass(frozen=True, slots=True)
class Array:
    """One input or output: name, dtype, and a size per axis (int, `Dim`, or text such as `N` or `2*N`).

    >>> x = Array("x", "float32", ("N", 784))
    >>> print(x, x.linear("N"))
    x: float32[N,784] ((1, 0), (0, 784))
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...]

    def __init__(self, name: str, dtype: str, dims: tuple[Dim | str, ...]) -> None:
        if dtype not in C_TYPES:
            raise UnsupportedError(f"{name}: native code takes no {dtype} arrays", fix=", ".join(C_TYPES))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "dims", tuple(parse_dim(d) if isinstance(d, str) else d for d in dims))

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(map(str, self.dims))}]"

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    def linear(self, symbol: str) -> tuple[tuple[int, int], ...]:
        """Each dimension as (a, b), its size being a*N + b; UnsupportedError for any other form."""
        pairs = []
        for dim in self.dims:
            pair = linear_in(dim, symbol)
            if pair is None:
                raise UnsupportedError(f"{self}: the size {dim} is not of the form a*{symbol} + b")
            pairs.append(pair)
        return tuple(pairs)


@dataclass(frozen=True)
class Signature:
    """A model's interface, and what its code needs around it.

    symbol: name of the one symbolic dimension, found in the inputs; "N" when all sizes are fixed.
    n_range: least and largest value of the symbolic dimension.
    workspace: bytes it needs as (fixed, per unit of the symbolic dimension).
    nanoseconds: estimated run time as (fixed, per unit); decides when Python's lock is let go.
    """

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    workspace: tuple[int, int] = (0, 0)
    n_range: tuple[int, int] = (0, 2**31)
    nanoseconds: tuple[float, float] = (1e6, 0.0)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii():
            raise UnsupportedError(f"{self.name!r} cannot name a C function")
        symbols = {s for array in (*self.inputs, *self.outputs) for d in array.dims for s in symbols_of(d)}
        if len(symbols) > 1:
            raise UnsupportedError(
                f"{self.name} has the symbolic sizes {', '.join(sorted(symbols))}; native code takes one",
                fix="fix the others with --dim NAME=SIZE",
            )
        for array in (*self.inputs, *self.outputs):
            array.linear(self.symbol)
        if symbols and self.source is None:
            raise UnsupportedError(f"no input of {self.name} has an axis of size {self.symbol} alone")

    @cached_property
    def symbol(self) -> str:
        symbols = sorted(
            s for array in (*self.inputs, *self.outputs) for d in array.dims for s in symbols_of(d)
        )
        return symbols[0] if symbols else "N"

    @cached_property
    def source(self) -> tuple[int, int] | None:
        """(input, axis) whose size is the symbolic dimension; None when all sizes are fixed."""
        for i, array in enumerate(self.inputs):
            for axis, pair in enumerate(array.linear(self.symbol)):
                if pair == (1, 0):
                    return i, axis
        return None

    def workspace_bytes(self, n: int) -> int:
        return self.workspace[0] + self.workspace[1] * n
