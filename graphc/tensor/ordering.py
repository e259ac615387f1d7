"""Functions of tensors along an axis, an element after the other, and by position: running sums, sorting, writing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from graphc.errors import UnsupportedError
from graphc.ir.op import REGISTRY
from graphc.ir.types import dtype_of
from graphc.tensor import recording
from graphc.tensor.promotion import cast
from graphc.tensor.recording import here, record
from graphc.tensor.shaping import as_tensor, axes_of, axis_of, concatenate, piece, reshape

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor

REDUCTIONS = {"sum": "add", "add": "add", "prod": "mul", "multiply": "mul", "amax": "max", "amin": "min"}


class Sorted(NamedTuple):
    """PyTorch's result of `x.sort(dim)` and `x.topk(k, dim)`."""

    values: Any
    indices: Any


def _summed(x: Any, dtype: Any) -> Tensor:
    """Small whole numbers as int64 or uint64, as NumPy adds and multiplies them."""
    x = as_tensor(x)
    if dtype is not None:
        return cast(x, dtype_of(dtype))
    if x.type.dtype.is_float:
        return x
    return cast(x, dtype_of("uint64" if x.type.dtype.kind == "uint" else "int64"))


def prod(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The product over axes."""
    x = _summed(x, dtype)
    axes = axes_of(x, axis if dim is None else dim)
    y = record(REGISTRY["prod"], x, axes=axes)
    if not (keepdims or keepdim):
        return y
    return reshape(y, tuple(1 if i in axes else size for i, size in enumerate(x.type.shape)))


def _running(name: str, x: Any, axis: Any, dtype: Any) -> Tensor:
    x = _summed(x, dtype)
    if axis is None:
        x, axis = reshape(x, -1), 0
    return record(REGISTRY[name], x, axis=axis_of(x, axis))


def cumsum(x: Any, axis: Any = None, *, dim: Any = None, dtype: Any = None) -> Tensor:
    """Running sums along an axis; without one, of the flattened tensor."""
    return _running("cumsum", x, axis if dim is None else dim, dtype)


def cumprod(x: Any, axis: Any = None, *, dim: Any = None, dtype: Any = None) -> Tensor:
    """Running products along an axis; without one, of the flattened tensor."""
    return _running("cumprod", x, axis if dim is None else dim, dtype)


def linear_recurrence(a: Any, b: Any, axis: int = 0, reverse: bool = False) -> Tensor:
    """h[i] = a[i]·h[i-1] + b[i] along an axis, h[0] = b[0]; with `reverse` from the end.

    >>> import numpy as np
    >>> from graphc.tensor import tensor
    >>> linear_recurrence(tensor([0.5, 0.5, 0.5]), tensor([1.0, 1.0, 1.0]), reverse=True).tolist()
    [1.75, 1.5, 1.0]
    """
    a, b = as_tensor(a), as_tensor(b)
    return record(REGISTRY["linear_recurrence"], a, b, axis=axis_of(b, axis), reverse=bool(reverse))


def argsort(x: Any, axis: int | None = -1, *, dim: int | None = None, descending: bool = False) -> Tensor:
    """Positions that put x in order along an axis; equal elements keep their order."""
    x, place = _along(x, axis if dim is None else dim)
    return record(REGISTRY["argsort"], x, axis=place, descending=bool(descending))


def in_order(x: Any, axis: int | None = -1) -> Tensor:
    """x in order along an axis, NaN last; without an axis, the flattened tensor: NumPy's `sort`."""
    x, place = _along(x, axis)
    return record(REGISTRY["sort"], x, axis=place)


def sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Sorted:
    """PyTorch's `sort`: (x in order along an axis, the positions its elements come from)."""
    x, place = _along(x, dim)
    order = argsort(x, place, descending=descending)
    return Sorted(record(REGISTRY["gather_elements"], x, order, axis=place), order)


def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The k largest elements along an axis, or smallest, in order, and their positions."""
    x, place = _along(x, dim)
    return Sorted(*record(REGISTRY["topk"], x, k=int(k), axis=place, largest=bool(largest)))


def _along(x: Any, axis: int | None) -> tuple[Tensor, int]:
    x = as_tensor(x)
    return (reshape(x, -1), 0) if axis is None else (x, axis_of(x, axis))


def scatter(x: Any, dim: int, index: Any, src: Any, reduce: str | None = None) -> Tensor:
    """PyTorch's `scatter`: x with src[a, i, b] written to [a, index[a, i, b], b]; the last one written stays."""
    from graphc.tensor.functions import full

    x, index = as_tensor(x), as_tensor(index)
    if reduce is not None and reduce not in REDUCTIONS:
        raise UnsupportedError(f"scatter with reduce={reduce!r}", span=here(), fix=", ".join(REDUCTIONS))
    if isinstance(src, (int, float)):
        src = full(index.type.shape, src, x.dtype)
    how = "set" if reduce is None else REDUCTIONS[reduce]
    src = cast(as_tensor(src), x.type.dtype)
    return record(REGISTRY["put_elements"], x, index, src, axis=axis_of(x, dim), how=how)


def scatter_add(x: Any, dim: int, index: Any, src: Any) -> Tensor:
    """PyTorch's `scatter_add`: x with src[a, i, b] added at [a, index[a, i, b], b]."""
    return scatter(x, dim, index, src, "add")


def index_add(x: Any, dim: int, index: Any, source: Any) -> Tensor:
    """PyTorch's `index_add`: x with the slices of `source` added at positions along an axis."""
    return record(REGISTRY["scatter"], *map(as_tensor, (x, index, source)), axis=axis_of(x, dim), how="add")


def index_copy(x: Any, dim: int, index: Any, source: Any) -> Tensor:
    """PyTorch's `index_copy`: x with the slices of `source` written to positions along an axis."""
    return record(REGISTRY["scatter"], *map(as_tensor, (x, index, source)), axis=axis_of(x, dim))


def tril(x: Any, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal of matrices, 0 above."""
    return record(REGISTRY["triangle"], as_tensor(x), diagonal=int(diagonal), upper=False)


def triu(x: Any, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal of matrices, 0 below."""
    return record(REGISTRY["triangle"], as_tensor(x), diagonal=int(diagonal), upper=True)


def roll(x: Any, shift: Any = None, axis: Any = None, *, shifts: Any = None, dims: Any = None) -> Tensor:
    """Elements moved along axes, those that leave at one end entering at the other."""
    x = as_tensor(x)
    shift, axis = shift if shifts is None else shifts, axis if dims is None else dims
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.type.shape)
    pairs = zip(shift, axis, strict=True) if isinstance(axis, (tuple, list)) else [(shift, axis)]
    for by, one in pairs:
        place = axis_of(x, one)
        size = x.type.shape[place]
        by = int(by) % size if isinstance(size, int) and size else int(by)
        if by and size != 0:
            cut = size - by if by > 0 else -by
            x = concatenate([piece(x, place, cut, size), piece(x, place, 0, cut)], place)
    return x


def extend(x: Any, widths: Any, mode: str) -> Tensor:
    """x continued beyond its borders, `widths` elements before and behind for each axis; modes of `np.pad`."""
    low, high = tuple(int(a) for a, _ in widths), tuple(int(b) for _, b in widths)
    return record(REGISTRY["extend"], as_tensor(x), low=low, high=high, mode=mode)


def resize(x: Any, axes: Any, sizes: Any, **how: Any) -> Tensor:
    """x with other sizes along axes; see the op `resize`."""
    x = as_tensor(x)
    places = axes_of(x, tuple(axes))
    if math.prod(int(size) for size in sizes) < 1:
        raise UnsupportedError(f"resizing to {tuple(sizes)}", span=here(), fix="sizes are at least 1")
    return record(REGISTRY["resize"], x, axes=places, sizes=tuple(int(size) for size in sizes), **how)


recording.entries(globals())
