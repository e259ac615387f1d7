"""What a compiled model takes and gives: the contract between its code, Python and C.

    int32_t NAME_run(const NAME *handle, int64_t N, const void *inputs..., void *outputs..., void *workspace,
                     int32_t threads)

Arrays are dense and row-major, at addresses aligned to their element; the workspace is aligned to 64 bytes.
`N` is the size of the one symbolic dimension, 1 when there is none. Inputs come in the order of
`Signature.inputs`, outputs likewise. The result is 0, or the number of an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, evaluate, linear_in, parse_dim, symbol, symbols_of

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

    symbols: names of the symbolic dimensions in alphabetical order, each the size of an axis of an input; "N" stands
        for them when all sizes are fixed.
    n_range: least and largest value of a symbolic dimension; ranges: those of others, by name.
    workspace: bytes it needs as (fixed, per unit of the symbolic dimension); needs: more bytes, for each unit of sizes
        that each count as at least 1.
    nanoseconds: estimated run time as (fixed, per unit); decides when Python's lock is let go.
    """

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    workspace: tuple[int, int] = (0, 0)
    n_range: tuple[int, int] = (0, 2**31)
    nanoseconds: tuple[float, float] = (1e6, 0.0)
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    needs: Mapping[Dim, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii():
            raise UnsupportedError(f"{self.name!r} cannot name a C function")
        for name, source in zip(self.symbols, self.sources):
            if source is None and self.is_open:
                raise UnsupportedError(f"no input of {self.name} has an axis of size {name} alone")

    @cached_property
    def is_open(self) -> bool:
        """Whether any size is left open."""
        return any(symbols_of(d) for array in (*self.inputs, *self.outputs) for d in array.dims)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        found = {s for array in (*self.inputs, *self.outputs) for d in array.dims for s in symbols_of(d)}
        return tuple(sorted(found)) or ("N",)

    @property
    def symbol(self) -> str:
        """The symbolic dimension, or the first of several."""
        return self.symbols[0]

    @cached_property
    def sources(self) -> tuple[tuple[int, int] | None, ...]:
        """(input, axis) whose size is a symbolic dimension, for each; None for "N" when all sizes are fixed."""
        return tuple(self._source(symbol(name)) for name in self.symbols)

    def _source(self, wanted: Dim) -> tuple[int, int] | None:
        for i, array in enumerate(self.inputs):
            if wanted in array.dims:
                return i, array.dims.index(wanted)
        return None

    @property
    def source(self) -> tuple[int, int] | None:
        return self.sources[0]

    @cached_property
    def is_linear(self) -> bool:
        """Whether there is at most one symbolic dimension, and every size is a·N + b: what the fast call handles."""
        dims = [d for array in (*self.inputs, *self.outputs) for d in array.dims]
        return len(self.symbols) == 1 and not self.needs and all(linear_in(d, self.symbol) for d in dims)

    def range_of(self, name: str) -> tuple[int, int]:
        """Least and largest value of a symbolic dimension."""
        return self.ranges.get(name, self.n_range)

    def workspace_bytes(self, sizes: Mapping[str, int]) -> int:
        """Bytes for these sizes."""
        least = {name: max(n, 1) for name, n in sizes.items()}
        more = sum(count * evaluate(unit, least) for unit, count in self.needs.items())
        fixed, each = self.workspace
        return fixed + (each * sizes[self.symbol] if each else 0) + more


def signature_of(
    name: str,
    inputs: tuple[Array, ...],
    outputs: tuple[Array, ...],
    needs: Mapping[Dim, int],
    dims: Mapping[str, tuple[int, int | None]],
    nanoseconds: tuple[float, float] = (1e6, 0.0),
) -> Signature:
    """The signature of a planned model: `needs` are the bytes of its workspace for each unit, `dims` the ranges."""
    ranges = {symbol: (low, 2**31 if high is None else high) for symbol, (low, high) in dims.items()}
    open_sizes = {s for array in inputs for d in array.dims for s in symbols_of(d)}
    (only,) = open_sizes if len(open_sizes) == 1 else ("",)
    fixed, each = needs.get(1, 0), sum(count for unit, count in needs.items() if str(unit) == only)
    rest = {unit: count for unit, count in needs.items() if unit != 1 and str(unit) != only}
    # N counts as at least 1, so a batch of 0 needs the memory of one.
    workspace, n_range = (fixed + each, each), ranges.get(only, (0, 2**31))
    return Signature(name, inputs, outputs, workspace, n_range, nanoseconds, ranges, rest)
