"""Functions that move elements: reshape, transpose, broadcast, join, split."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.dims import Dim, SymbolicDim, exact_divide, product
from graphc.ir.op import REGISTRY
from graphc.ir.types import format_shape
from graphc.tensor import recording
from graphc.tensor.promotion import cast
from graphc.tensor.recording import here, record, recorder
from graphc.tensor.sizes import OpenSize, Size, dim_of, open_size

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor


class CallableSize(int):
    """The number of elements, which called gives the shape: serves NumPy's `x.size` and PyTorch's `x.size()`."""

    shape: tuple[Size, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


class CallableOpenSize(OpenSize):
    """The same for a number of elements that is left open."""

    __slots__ = ("shape",)
    shape: tuple[Size, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


def size_of(shape: tuple[Size, ...]) -> Any:
    total = count(shape)
    size: Any = (
        CallableOpenSize(total.dim, total.ranges) if isinstance(total, OpenSize) else CallableSize(total)
    )
    size.shape = shape
    return size


def count(shape: Sequence[Size]) -> Size:
    total: Any = 1
    for size in shape:
        total = total * size
    return total


def axis_of(x: Tensor, axis: Any, extra: int = 0) -> int:
    """The axis counted from 0.  Raises ShapeError when there is none such."""
    rank = x.ndim + extra
    number = dim_of(axis, "an axis")
    if not isinstance(number, int) or not -rank <= number < rank:
        raise ShapeError(
            f"axis {axis} does not exist: {x.shown_name} has {rank} dimensions", span=here(), facts=fact(x)
        )
    return number % rank


def axes_of(x: Tensor, axis: Any) -> tuple[int, ...]:
    """Sorted axes of `axis=None`, `axis=1` or `axis=(0, -1)`."""
    if axis is None:
        return tuple(range(x.ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = sorted(axis_of(x, one) for one in given)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"an axis stands twice in {tuple(given)}", span=here(), facts=fact(x))
    return tuple(axes)


def fact(*tensors: Tensor) -> list[tuple[str, str]]:
    return [(t.shown_name, str(t.type)) for t in tensors]


def flat(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """`view(2, 3)` and `view((2, 3))` mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list, np.ndarray)) else sizes


def view_of(result: Tensor, origin: Tensor) -> Tensor:
    """Note that NumPy would let the two share memory, for in-place updates to be refused where that shows."""
    result.base = weakref.ref(origin)
    origin.views.append(weakref.ref(result))
    return result


def reshape(x: Tensor, *shape: Any, order: str = "C") -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1."""
    if order != "C":
        raise ShapeError(
            f"order={order!r} is not supported: elements are kept in row-major order", span=here()
        )
    sizes = [dim_of(size) for size in flat(shape)]
    total = x.type.size
    if sizes.count(-1) > 1:
        raise ShapeError("only one size can be -1", span=here(), facts=fact(x))
    if -1 in sizes:
        rest = product(size for size in sizes if size != -1)
        missing = exact_divide(total, rest)
        if missing is None:
            shown = format_shape(tuple(sizes))
            message = f"{x.shown_name} of {total} elements does not fit the shape {shown}"
            raise ShapeError(message, span=here(), facts=fact(x))
        sizes[sizes.index(-1)] = missing
    return view_of(record(REGISTRY["reshape"], x, shape=tuple(sizes)), x)


def flatten(x: Tensor, start_dim: int | str = 0, end_dim: int = -1) -> Tensor:
    """Axes from `start_dim` to `end_dim` as one."""
    if isinstance(start_dim, str):  # NumPy's order
        return reshape(x, -1, order=start_dim)
    if x.ndim == 0:
        return reshape(x, 1)
    first, last = axis_of(x, start_dim), axis_of(x, end_dim)
    shape = x.type.shape
    return reshape(x, *shape[:first], product(shape[first : last + 1]), *shape[last + 1 :])


def permute(x: Tensor, *axes: Any) -> Tensor:
    order = tuple(axis_of(x, axis) for axis in flat(axes))
    return view_of(record(REGISTRY["transpose"], x, permutation=order), x)


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """NumPy's `x.transpose()`, `x.transpose(2, 0, 1)` and PyTorch's `x.transpose(0, 1)`, which exchanges two axes."""
    axes = flat(axes)
    if len(axes) == 1 and axes[0] is None:
        axes = ()
    if len(axes) == 2:
        return swapaxes(x, *axes)
    return permute(x, *(axes or range(x.ndim)[::-1]))


def swapaxes(x: Tensor, axis0: int, axis1: int) -> Tensor:
    order = list(range(x.ndim))
    a, b = axis_of(x, axis0), axis_of(x, axis1)
    order[a], order[b] = b, a
    return permute(x, *order)


def moveaxis(x: Tensor, source: Any, destination: Any) -> Tensor:
    sources = [axis_of(x, a) for a in (source if isinstance(source, (tuple, list)) else (source,))]
    targets = [
        axis_of(x, a) for a in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return permute(x, *order)


def transposed(x: Tensor) -> Tensor:
    return permute(x, *range(x.ndim)[::-1])


def matrix_transposed(x: Tensor) -> Tensor:
    return swapaxes(x, -1, -2)


def squeeze(x: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Without axes of size 1: all of them, or the given ones (NumPy refuses others, PyTorch leaves them)."""
    shape = x.type.shape
    if axis is not None:
        axes = axes_of(x, axis)
        wrong = [a for a in axes if shape[a] != 1]
        if wrong:
            raise ShapeError(f"axis {wrong[0]} has size {shape[wrong[0]]}, not 1", span=here(), facts=fact(x))
    else:
        axes = tuple(a for a in axes_of(x, dim) if shape[a] == 1)
    return reshape(x, tuple(d for i, d in enumerate(shape) if i not in axes))


def unsqueeze(x: Tensor, dim: Any) -> Tensor:
    """With new axes of size 1 at these places of the result."""
    given = dim if isinstance(dim, (tuple, list)) else (dim,)
    places = {axis_of(x, one, extra=len(given)) for one in given}
    rest = iter(x.type.shape)
    return reshape(x, tuple(1 if i in places else next(rest) for i in range(x.ndim + len(given))))


def broadcast_to(x: Tensor, shape: Any) -> Tensor:
    sizes = tuple(dim_of(size) for size in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    if sizes == x.type.shape:
        return x
    return view_of(record(REGISTRY["broadcast_to"], x, shape=sizes), x)


def expand(x: Tensor, *sizes: Any) -> Tensor:
    """Repeat axes of size 1; -1 keeps a size."""
    wanted = [dim_of(size) for size in flat(sizes)]
    own: tuple[Dim, ...] = (1,) * (len(wanted) - x.ndim) + x.type.shape
    return broadcast_to(x, tuple(o if w == -1 else w for w, o in zip(wanted, own, strict=True)))


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    return broadcast_to(x, other.type.shape)


def flip(x: Tensor, axis: Any = None) -> Tensor:
    return view_of(record(REGISTRY["reverse"], x, axes=axes_of(x, axis)), x)


def tensors_of(parts: Any) -> list[Any]:
    """Tensors for a mixed list of tensors, arrays and numbers, all of the dtype NumPy would choose."""
    from graphc.tensor.promotion import common_dtype
    from graphc.tensor.tensor import Tensor

    items = [part if isinstance(part, Tensor) else as_tensor(part) for part in parts]
    dtype = common_dtype("concat", tuple(items))
    return [cast(item, dtype) for item in items]


def as_tensor(data: Any) -> Tensor:
    """A tensor for what a user gives: a tensor, an array, a number, a nested list of these."""
    from graphc.tensor.promotion import constant_like
    from graphc.tensor.tensor import Tensor

    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        traced = getattr(data, "traced", None)
        return traced if traced is not None else view_free(data)
    if isinstance(data, (list, tuple)):
        if not data or not holds_tensor(data):
            return view_free(np.asarray(data))
        return stack([as_tensor(item) for item in data])
    return constant_like(data)


def view_free(array: np.ndarray) -> Tensor:
    target = recorder()
    return target.wrap(target.value_of(array))


def holds_tensor(items: Any) -> bool:
    """Whether a nested list has a tensor, a traced buffer or an open size in it."""
    from graphc.tensor.tensor import Tensor

    if isinstance(items, (list, tuple)):
        return any(holds_tensor(item) for item in items)
    return isinstance(items, (Tensor, OpenSize)) or getattr(items, "traced", None) is not None


def concatenate(tensors: Any, axis: int | None = 0, *, dim: int | None = None) -> Tensor:
    """Tensors one after the other along an axis."""
    parts = tensors_of(tensors)
    axis = dim if dim is not None else axis
    if axis is None:
        parts, axis = [reshape(part, -1) for part in parts], 0
    return parts[0] if len(parts) == 1 else record(REGISTRY["concat"], *parts, axis=axis_of(parts[0], axis))


def stack(tensors: Any, axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
    parts = tensors_of(tensors)
    place = axis_of(parts[0], dim if dim is not None else axis, extra=1)
    for part in parts[1:]:
        if part.type.shape != parts[0].type.shape:
            raise ShapeError(
                "tensors of different shapes cannot be stacked", span=here(), facts=fact(parts[0], part)
            )
    return concatenate([unsqueeze(part, place) for part in parts], place)


def split(x: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """PyTorch's: pieces of `split_size` (the last may be smaller), or of the sizes in a list."""
    axis = axis_of(x, dim)
    sizes: list[Dim] = []
    if isinstance(split_size, int):
        sizes += _pieces(x, axis, split_size)
    else:
        sizes += [dim_of(size) for size in split_size]
    parts = []
    start: Dim = 0
    for size in sizes:
        stop: Dim = start + size
        parts.append(piece(x, axis, start, stop))
        start = stop
    if start != x.type.shape[axis]:
        raise ShapeError(
            f"pieces of {start} in all do not fit a size of {x.type.shape[axis]}", span=here(), facts=fact(x)
        )
    return tuple(parts)


def _pieces(x: Tensor, axis: int, size: int) -> list[int]:
    total = len_of(x, axis)
    return [min(size, total - start) for start in range(0, total, size)]


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """PyTorch's: about equal pieces, each of the rounded-up share."""
    axis = axis_of(x, dim)
    total = x.type.shape[axis]
    if isinstance(total, SymbolicDim):
        share = exact_divide(total, chunks)
        return split(x, [share] * chunks if share is not None else -(-len_of(x, axis) // chunks), axis)
    return split(x, -(-total // chunks) if total else 1, axis)


def array_split(x: Tensor, sections: Any, axis: int = 0) -> list[Tensor]:
    """NumPy's `split`: a number of equal sections, or the places to cut at."""
    along = axis_of(x, axis)
    total = x.type.shape[along]
    if isinstance(sections, int):
        share = exact_divide(total, sections)
        if share is None:
            raise ShapeError(
                f"a size of {total} does not divide into {sections} equal parts", span=here(), facts=fact(x)
            )
        cuts: list[Any] = [share * i for i in range(1, sections)]
    else:
        cuts = [dim_of(cut) for cut in sections]
    return [piece(x, along, a, b) for a, b in zip([0, *cuts], [*cuts, total])]


def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    axis = axis_of(x, dim)
    return tuple(squeeze(piece(x, axis, i, i + 1), axis=axis) for i in range(len_of(x, axis)))


def len_of(x: Tensor, axis: int) -> int:
    size = open_size(x.type.shape[axis], {})
    return size if isinstance(size, int) else size.__index__()


def piece(x: Tensor, axis: int, start: Dim, stop: Dim, step: int = 1) -> Tensor:
    """x[start:stop:step] along one axis."""
    shape = x.type.shape
    starts = tuple(start if i == axis else 0 for i in range(len(shape)))
    stops = tuple(stop if i == axis else size for i, size in enumerate(shape))
    steps = tuple(step if i == axis else 1 for i in range(len(shape)))
    return view_of(record(REGISTRY["slice"], x, starts=starts, stops=stops, steps=steps), x)


def tile(x: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor repeated along each axis; new axes come first."""
    given = [dim_of(r) for r in flat(repeats)]
    times: list[Dim] = [*[1] * (x.ndim - len(given)), *given]
    x = reshape(x, (1,) * (len(times) - x.ndim) + x.type.shape)
    for axis, number in enumerate(times):
        if number != 1:
            wide = broadcast_to(unsqueeze(x, axis), (*x.type.shape[:axis], number, *x.type.shape[axis:]))
            shape = x.type.shape
            x = reshape(wide, (*shape[:axis], number * shape[axis], *shape[axis + 1 :]))
    return x


def repeat_elements(x: Tensor, repeats: int, axis: int | None = None) -> Tensor:
    """NumPy's `repeat`: each element several times in a row."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    place = axis_of(x, axis)
    shape = x.type.shape
    wide = broadcast_to(unsqueeze(x, place + 1), (*shape[: place + 1], repeats, *shape[place + 1 :]))
    return reshape(wide, (*shape[:place], shape[place] * repeats, *shape[place + 1 :]))


def pad(x: Tensor, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`widths` elements of `value` before and after, for each axis."""
    low, high = tuple(a for a, _ in widths), tuple(b for _, b in widths)
    return record(REGISTRY["pad"], x, low=low, high=high, interior=(0,) * x.ndim, value=float(value))


def are_tensors(operands: Any) -> bool:
    """Whether a matrix product can make sense of them."""
    from graphc.tensor.tensor import Tensor

    return all(isinstance(operand, (Tensor, np.ndarray, list)) for operand in operands)


recording.entries(globals())
