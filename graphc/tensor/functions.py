"""Functions of tensors, which are also Tensor's methods: reductions, matrix products, conversions, choice by position.

`axis`/`dim` and `keepdims`/`keepdim` mean the same; both spellings are accepted, as NumPy's and PyTorch's users expect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphc.errors import ShapeError, UnsupportedError
from graphc.ir.dims import Dim, product
from graphc.ir.op import REGISTRY
from graphc.ir.types import DType, dtype_of
from graphc.ops import linalg
from graphc.tensor import recording
from graphc.tensor.elementwise import (  # noqa: F401  (together they are the functions of tensors)
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    ceil,
    cos,
    cosh,
    div,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    invert,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    relu,
    remainder,
    round,
    shift_left,
    shift_right,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
    where,
)
from graphc.tensor.ordering import (  # noqa: F401
    argsort,
    cumprod,
    cumsum,
    extend,
    in_order,
    index_add,
    index_copy,
    linear_recurrence,
    prod,
    resize,
    roll,
    scatter,
    scatter_add,
    sort,
    topk,
    tril,
    triu,
)
from graphc.tensor.promotion import cast, constant_like
from graphc.tensor.recording import here, record
from graphc.tensor.shaping import (  # noqa: F401  (together they are the functions of tensors)
    are_tensors,
    array_split,
    as_tensor,
    axes_of,
    axis_of,
    broadcast_to,
    chunk,
    concatenate,
    count,
    expand,
    expand_as,
    fact,
    flatten,
    flip,
    matrix_transposed,
    moveaxis,
    pad,
    permute,
    repeat_elements,
    reshape,
    size_of,
    split,
    squeeze,
    stack,
    swapaxes,
    tensors_of,
    tile,
    transpose,
    transposed,
    unbind,
    unsqueeze,
)

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor


def stop_gradient(x: Tensor) -> Tensor:
    return record(REGISTRY["stop_gradient"], x)


def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product, by NumPy's rules for vectors and stacks of matrices."""
    return record(linalg.product, *tensors_of((x, y)))


def dot(x: Any, y: Any) -> Tensor:
    """NumPy's `dot`: the last axis of x with the second to last of y."""
    x, y = tensors_of((x, y))
    if x.ndim == 0 or y.ndim == 0:
        return mul(x, y)
    if y.ndim > 2:
        raise UnsupportedError(
            "dot with more than two dimensions on the right", span=here(), fix="use x @ y", facts=fact(x, y)
        )
    return matmul(x, y)


def outer(x: Any, y: Any) -> Tensor:
    x, y = tensors_of((x, y))
    return mul(reshape(x, -1, 1), reshape(y, 1, -1))


def conversion(name: str) -> Callable[[Tensor], Tensor]:
    dtype = dtype_of(name)

    def convert(x: Tensor) -> Tensor:
        return cast(x, dtype)

    convert.__doc__ = f"The tensor as {name}."
    return convert


def astype(x: Tensor, dtype: Any, copy: bool = True) -> Tensor:
    """The tensor as another dtype."""
    return cast(x, _dtype(dtype))


def to(x: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
    """PyTorch's `to`: a dtype, a tensor whose dtype is taken; devices other than the CPU do not exist here."""
    from graphc.tensor.tensor import Tensor

    for argument in (*arguments, *keywords.values()):
        if isinstance(argument, str) and argument.split(":")[0] in ("cpu", "cuda", "mps"):
            if argument.split(":")[0] != "cpu":
                raise UnsupportedError(
                    f"the device {argument!r}", span=here(), fix="everything runs on the CPU"
                )
        elif isinstance(argument, bool):
            continue
        else:
            x = cast(x, argument.type.dtype if isinstance(argument, Tensor) else _dtype(argument))
    return x


def _dtype(dtype: Any) -> DType:
    try:
        return dtype_of(np.dtype(dtype) if not isinstance(dtype, (str, DType)) else dtype)
    except (ValueError, TypeError) as error:
        raise UnsupportedError(str(error), span=here()) from None


def type_as(x: Tensor, other: Tensor) -> Tensor:
    return cast(x, other.type.dtype)


def copy(x: Tensor, order: str = "C") -> Tensor:
    """The same values in a tensor of their own."""
    return x.clone()


def contiguous(x: Tensor) -> Tensor:
    return x


# Reductions ------------------------------------------------------------------------------------------------------


def _keep(result: Any, x: Tensor, axes: tuple[int, ...], keep: bool) -> Any:
    if not keep:
        return result
    return reshape(result, tuple(1 if i in axes else size for i, size in enumerate(x.type.shape)))


def _number(x: Tensor) -> Tensor:
    return cast(x, dtype_of("int64")) if x.type.dtype.kind == "bool" else x


def sum(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The sum over axes.  As in NumPy, small whole numbers are summed as int64 or uint64."""
    x = as_tensor(x)
    if dtype is not None:
        x = astype(x, dtype)
    elif not x.type.dtype.is_float:
        x = cast(x, dtype_of("uint64" if x.type.dtype.kind == "uint" else "int64"))
    axes = axes_of(x, axis if dim is None else dim)
    return _keep(record(REGISTRY["sum"], x, axes=axes), x, axes, keepdims or keepdim)


def mean(
    x: Any,
    axis: Any = None,
    keepdims: bool = False,
    *,
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The mean over axes; of whole numbers as float64."""
    x = as_tensor(x)
    x = (
        astype(x, dtype)
        if dtype is not None
        else x
        if x.type.dtype.is_float
        else cast(x, dtype_of("float64"))
    )
    axes = axes_of(x, axis if dim is None else dim)
    return _keep(record(REGISTRY["mean"], x, axes=axes), x, axes, keepdims or keepdim)


def var(
    x: Any, axis: Any = None, keepdims: bool = False, *, ddof: int = 0, dim: Any = None, keepdim: bool = False
) -> Tensor:
    """The mean square of the distance to the mean; divided by n - ddof (NumPy's default, 0)."""
    x = as_tensor(x)
    axes = axes_of(x, axis if dim is None else dim)
    distance = sub(x, mean(x, axes, keepdims=True))
    total = sum(square(distance), axes, keepdims or keepdim)
    return div(total, sub(size_number(product(x.type.shape[a] for a in axes), total.type.dtype), float(ddof)))


def size_number(size: Dim, dtype: DType) -> Any:
    """A size as a number to compute with."""
    return float(size) if isinstance(size, int) else record(REGISTRY["dim_size"], dim=size, dtype=dtype)


def std(
    x: Any, axis: Any = None, keepdims: bool = False, *, ddof: int = 0, dim: Any = None, keepdim: bool = False
) -> Tensor:
    """The square root of the variance."""
    return sqrt(var(x, axis, keepdims, ddof=ddof, dim=dim, keepdim=keepdim))


class Extreme(NamedTuple):
    """PyTorch's result of `x.max(dim)`."""

    values: Any
    indices: Any


def _extreme(name: str, x: Any, axis: Any, keepdims: bool, dim: Any, keepdim: bool) -> Any:
    x = _number(as_tensor(x))
    axes = axes_of(x, axis if dim is None else dim)
    values = _keep(record(REGISTRY[name], x, axes=axes), x, axes, keepdims or keepdim)
    if dim is None or isinstance(dim, (tuple, list)):
        return values
    position = argmax if name == "max" else argmin
    return Extreme(values, position(x, dim, keepdims=keepdims or keepdim))


def max(x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum over axes; with PyTorch's `dim=` also its positions."""
    return _extreme("max", x, axis, keepdims, dim, keepdim)


def min(x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum over axes; with PyTorch's `dim=` also its positions."""
    return _extreme("min", x, axis, keepdims, dim, keepdim)


def amax(x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The maximum over axes."""
    return max(x, axis if dim is None else dim, keepdims or keepdim)


def amin(x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The minimum over axes."""
    return min(x, axis if dim is None else dim, keepdims or keepdim)


def argmax(
    x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False
) -> Tensor:
    """The position (int64) of the first maximum along an axis; without one, in the flattened tensor."""
    x = as_tensor(x)
    axis = axis if dim is None else dim
    if axis is None:
        return record(REGISTRY["argmax"], reshape(x, -1), axis=0)
    place = axis_of(x, axis)
    return _keep(record(REGISTRY["argmax"], x, axis=place), x, (place,), keepdims or keepdim)


def argmin(
    x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None, keepdim: bool = False
) -> Tensor:
    """The position (int64) of the first minimum."""
    x = as_tensor(x)
    axis = axis if dim is None else dim
    if axis is None:
        return record(REGISTRY["argmin"], reshape(x, -1), axis=0)
    place = axis_of(x, axis)
    return _keep(record(REGISTRY["argmin"], x, axis=place), x, (place,), keepdims or keepdim)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element is not 0."""
    return cast(
        max(cast(cast(as_tensor(x), dtype_of("bool")), dtype_of("int32")), axis, keepdims), dtype_of("bool")
    )


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether every element is not 0."""
    return cast(
        min(cast(cast(as_tensor(x), dtype_of("bool")), dtype_of("int32")), axis, keepdims), dtype_of("bool")
    )


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The square root of the sum of squares."""
    return sqrt(sum(square(as_tensor(x)), axis, keepdims))


def softmax(x: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """e^x over its sum along an axis."""
    return record(REGISTRY["softmax"], x, axis=axis_of(x, dim if dim is not None else axis))


def log_softmax(x: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """The logarithm of softmax, computed without it."""
    return record(REGISTRY["log_softmax"], x, axis=axis_of(x, dim if dim is not None else axis))


def clamp(x: Any, min: Any = None, max: Any = None, *, a_min: Any = None, a_max: Any = None) -> Any:
    """x, but not below `min` nor above `max`."""
    low, high = (min if min is not None else a_min), (max if max is not None else a_max)
    if low is not None:
        x = maximum(x, low)
    return minimum(x, high) if high is not None else x


# Elements by position ----------------------------------------------------------------------------------------------


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Slices at positions of one axis, as NumPy's `take`; without an axis, of the flattened tensor."""
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    return record(REGISTRY["gather"], x, as_tensor(indices), axis=axis_of(x, axis))


def gather(x: Tensor, dim: int, index: Any) -> Tensor:
    """PyTorch's `gather`: one element for each position along `dim`; other axes of `index` may be shorter."""
    index = as_tensor(index)
    axis = axis_of(x, dim)
    for other, (have, want) in enumerate(zip(x.type.shape, index.type.shape)):
        if other != axis and have != want:
            raise ShapeError(
                "gather needs equal sizes except along the axis", span=here(), facts=fact(x, index)
            )
    return record(REGISTRY["gather_elements"], x, index, axis=axis)


def masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    return where(mask, value, x)


def where_self(x: Tensor, condition: Any, other: Any) -> Tensor:
    """PyTorch's `x.where(condition, other)`."""
    return where(condition, x, other)


def iota(shape: Any, axis: int) -> Tensor:
    """The position (int64) of each element along an axis of a shape."""
    return record(REGISTRY["iota"], shape=tuple(shape), axis=axis, dtype=dtype_of("int64"))


def full(shape: Any, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of one value; sizes may be left open."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    number = constant_like(value, None if dtype is None else _dtype(dtype))
    return broadcast_to(number, tuple(sizes))


recording.entries(globals())
