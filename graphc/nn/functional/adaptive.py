"""Adaptive pooling: about equal parts of each plane, as many as one asks for.

As in PyTorch, part i of n covers the elements from floor(i·size/n) up to ceil((i+1)·size/n) of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ShapeError, UnsupportedError
from graphc.ir.dims import Dim, exact_divide
from graphc.nn.functional.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Averages of about equal parts: x[N, C, L] -> [N, C, output_size]."""
    return _average(x, output_size, 1)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Averages of about equal parts: x[N, C, H, W] -> [N, C, *output_size]; None leaves an axis as it is."""
    return _average(x, output_size, 2)


def adaptive_max_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Maxima of about equal parts: x[N, C, L] -> [N, C, output_size]."""
    return _maximum(x, output_size, 1)


def adaptive_max_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Maxima of about equal parts: x[N, C, H, W] -> [N, C, *output_size]; None leaves an axis as it is."""
    return _maximum(x, output_size, 2)


def _average(x: Tensor, output_size: Any, rank: int) -> Tensor:
    counts = _counts(x, output_size, rank)
    if counts == (1,) * rank:
        return f.mean(x, tuple(range(2, 2 + rank)), keepdims=True)
    kernel = _kernel(x, counts)
    if kernel is not None:
        return (avg_pool1d if rank == 1 else avg_pool2d)(x, kernel)
    shares = [_shares(n, count).astype(x.dtype) for n, count in zip(x.type.shape[2:], counts)]
    x = f.matmul(x, shares[-1].T)
    return x if rank == 1 else f.matmul(shares[0], x)


def _maximum(x: Tensor, output_size: Any, rank: int) -> Tensor:
    counts = _counts(x, output_size, rank)
    kernel: Any = _kernel(x, counts)
    if kernel is None and counts == (1,) * rank:
        return f.amax(x, tuple(range(2, 2 + rank)), keepdims=True)
    if kernel is None:
        kernel = []
        for axis, count in enumerate(
            counts, 2
        ):  # all parts as long as the longest, by repeating their last element
            parts = _parts(x.type.shape[axis], count)
            longest = max(high - low for low, high in parts)
            rows = [min(low + j, high - 1) for low, high in parts for j in range(longest)]
            kernel.append(longest)
            x = f.take(x, np.array(rows), axis)
    return (max_pool1d if rank == 1 else max_pool2d)(x, tuple(kernel))


def _counts(x: Tensor, output_size: Any, rank: int) -> tuple[Dim, ...]:
    wanted = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * rank
    if len(wanted) != rank or x.ndim != rank + 2:
        raise ShapeError(f"adaptive pooling to {output_size} over {rank} axes", span=here(), facts=f.fact(x))
    counts = tuple(have if want is None else want for have, want in zip(x.type.shape[2:], wanted))
    for count in counts:
        if isinstance(count, (int, np.integer)) and count < 1:
            raise ShapeError(f"adaptive pooling to a size of {count}", span=here(), facts=f.fact(x))
    return tuple(int(c) if isinstance(c, np.integer) else c for c in counts)


def _kernel(x: Tensor, counts: Sequence[Dim]) -> tuple[int, ...] | None:
    """The window when all parts of each axis are equally long."""
    sizes = [exact_divide(have, count) for have, count in zip(x.type.shape[2:], counts)]
    return tuple(n for n in sizes if isinstance(n, int)) if all(isinstance(n, int) for n in sizes) else None


def _parts(size: Dim, count: Any) -> list[tuple[int, int]]:
    """Where each part of an axis begins and ends."""
    if not isinstance(size, int):
        raise UnsupportedError(
            f"adaptive pooling of a size {size} that is left open",
            span=here(),
            fix="pool to 1, or give the size",
        )
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _shares(size: Any, count: Any) -> np.ndarray:
    """The matrix [count, size] that averages about equal parts of an axis."""
    parts = _parts(size, count)
    matrix = np.zeros((count, size))
    for i, (low, high) in enumerate(parts):
        matrix[i, low:high] = 1 / (high - low)
    return matrix


recording.entries(globals())
