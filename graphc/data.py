"""Data to train on: small sets that need no download, batches, augmentation.

A set is a pair (x, y): inputs, and labels as int64.  Whatever is random takes `seed`, a whole number or a NumPy
generator; the same number gives the same data on every machine, a generator goes on from where it was.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from graphc.errors import MissingToolError, UsageError

Seed = int | np.random.Generator
Set = tuple[np.ndarray, np.ndarray]

# Batches -------------------------------------------------------------------------------------------------------------


def batches(
    arrays: Sequence[np.ndarray], size: int, seed: Seed = 0, shuffle: bool = True, drop_last: bool = False
) -> Iterator[tuple[np.ndarray, ...]]:
    """One pass over arrays of equal length, in batches of `size` rows; the last one may be shorter.

    For another order in each epoch, pass one generator to all of them.  Raises UsageError when lengths differ.

    >>> x, y = np.arange(5), np.arange(5) * 10
    >>> [batch.tolist() for batch, _ in batches([x, y], 2, shuffle=False)]
    [[0, 1], [2, 3], [4]]
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise UsageError(f"arrays of {', '.join(str(len(a)) for a in arrays) or 'no'} rows make no batches")
    if size < 1:
        raise UsageError(f"a batch has at least 1 row, not {size}")
    return _batches(arrays, lengths.pop(), size, np.random.default_rng(seed) if shuffle else None, drop_last)


def _batches(
    arrays: Sequence[np.ndarray], length: int, size: int, rng: np.random.Generator | None, drop_last: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    order = np.arange(length) if rng is None else rng.permutation(length)
    for start in range(0, length - size + 1 if drop_last else length, size):
        rows = order[start : start + size]
        yield tuple(array[rows] for array in arrays)


def held_out(x: np.ndarray, y: np.ndarray, share: float = 0.25, seed: Seed = 0) -> tuple[Set, Set]:
    """A shuffled set in two: what is trained on, and `share` of it to test with.

    >>> train, test = held_out(np.zeros((8, 2)), np.zeros(8))
    >>> len(train[0]), len(test[0])
    (6, 2)
    """
    if len(x) != len(y) or not 0 < share < 1:
        raise UsageError(f"{len(x)} inputs and {len(y)} labels cannot be split at {share}")
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = np.split(order, [round(len(x) * share)])
    return (x[train], y[train]), (x[test], y[test])


# Augmentation --------------------------------------------------------------------------------------------------------


def shift(images: np.ndarray, by: int = 1, seed: Seed = 0) -> np.ndarray:
    """Each image [N, C, H, W] moved by up to `by` pixels in both directions; zeros come in.

    >>> shift(np.ones((1, 1, 3, 3)), by=0).sum()
    np.float64(9.0)
    """
    rng = np.random.default_rng(seed)
    height, width = images.shape[-2:]
    around = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(by, by)] * 2)
    moved = np.empty_like(images)
    for i, (down, right) in enumerate(rng.integers(0, 2 * by + 1, (len(images), 2))):
        moved[i] = around[i, ..., down : down + height, right : right + width]
    return moved


def flip(images: np.ndarray, seed: Seed = 0, probability: float = 0.5) -> np.ndarray:
    """Each image mirrored left to right with a probability."""
    chosen = np.random.default_rng(seed).random(len(images)) < probability
    return np.where(chosen.reshape(-1, *[1] * (images.ndim - 1)), images[..., ::-1], images)


def noise(x: np.ndarray, scale: float = 0.1, seed: Seed = 0) -> np.ndarray:
    """x with normal noise of this standard deviation, in x's own dtype."""
    return x + (scale * np.random.default_rng(seed).standard_normal(x.shape)).astype(x.dtype)


# Points in the plane -------------------------------------------------------------------------------------------------


def _points(points: np.ndarray, labels: np.ndarray) -> Set:
    return points.astype(np.float32), labels.astype(np.int64)


def spirals(n: int = 300, classes: int = 2, turns: float = 1.0, spread: float = 0.05, seed: Seed = 0) -> Set:
    """Arms of a spiral around the origin, n points x[n·classes, 2] for each; no line separates them.

    >>> x, y = spirals(100, classes=3)
    >>> x.shape, np.bincount(y).tolist()
    ((300, 2), [100, 100, 100])
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), n)
    r = np.tile(np.linspace(0.1, 1, n), classes)
    angle = 2 * np.pi * (y / classes + turns * r)
    x = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    return _points(x + rng.normal(0, spread * 0.5, x.shape), y)


def blobs(n: int = 300, classes: int = 3, spread: float = 0.3, seed: Seed = 0) -> Set:
    """Round heaps, their centres evenly on the unit circle: a linear classifier separates them."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), n)
    angle = 2 * np.pi * y / classes
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _points(x + rng.normal(0, spread, x.shape), y)


def xor(n: int = 300, gap: float = 0.1, seed: Seed = 0) -> Set:
    """n points of the square [-1, 1]²; the label says whether both coordinates have the same sign."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(gap, 1, (n, 2)) * rng.choice([-1, 1], (n, 2))
    return _points(x, x[:, 0] * x[:, 1] > 0)


def rings(n: int = 300, classes: int = 2, spread: float = 0.08, seed: Seed = 0) -> Set:
    """Rings around the origin, n points each; the distance from it separates them, no line does."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), n)
    r = (y + 1) / classes + rng.normal(0, spread / classes, len(y))
    angle = rng.uniform(0, 2 * np.pi, len(y))
    return _points(np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), y)


def radial(x: np.ndarray) -> np.ndarray:
    """(x, y) -> (r, θ), the angle in (-π, π]: rings become stripes, which a line separates.

    >>> radial(np.array([[0.0, 2.0]])).round(2).tolist()
    [[2.0, 1.57]]
    """
    return np.stack([np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])], axis=1)


# Real data -----------------------------------------------------------------------------------------------------------


def digits(scale: int = 1) -> Set:
    """1797 scanned digits, x[1797, 1, 8·scale, 8·scale] in [0, 1], from scikit-learn; nothing is downloaded.

    scale   each pixel is repeated so many times both ways: 4 gives the 32x32 of LeNet
    """
    bunch = _sklearn("load_digits")
    images = (bunch.images / 16).astype(np.float32)[:, None]
    return np.kron(images, np.ones((scale, scale), np.float32)), bunch.target.astype(np.int64)


def iris() -> Set:
    """150 irises of 3 kinds, x[150, 4]: length and width of sepal and petal, each of mean 0 and variance 1.

    Fisher, The use of multiple measurements in taxonomic problems, 1936; from scikit-learn.
    """
    bunch = _sklearn("load_iris")
    x = (bunch.data - bunch.data.mean(axis=0)) / bunch.data.std(axis=0)
    return x.astype(np.float32), bunch.target.astype(np.int64)


def _sklearn(name: str) -> Any:
    try:
        import sklearn.datasets
    except ModuleNotFoundError:
        raise MissingToolError(
            "this data comes with scikit-learn", fix='pip install "graphc[demo]"'
        ) from None
    return getattr(sklearn.datasets, name)()


def load(path: str | PathLike[str]) -> Set:
    """The arrays `x` and `y` of a file made by `np.savez(path, x=x, y=y)`.  float64 becomes float32, labels int64.

    Raises UsageError when the file is no such file.
    """
    inputs, y = load_named(path, ["x"])
    return inputs["x"], y


def load_named(path: str | PathLike[str], names: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Several inputs by name, and `y`, of a file made by `np.savez(path, left=..., right=..., y=y)`; as `load`."""
    fix = f"np.savez(path, {', '.join(f'{name}={name}' for name in (*names, 'y'))})"
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise UsageError(f"{path} holds one array", fix=fix)
        with file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix=fix) from None
    wanted = (*names, "y")
    if not set(wanted) <= arrays.keys():
        all_but = f"{', '.join(wanted[:-1])} and y"
        raise UsageError(f"{path} holds {', '.join(arrays) or 'nothing'}, not {all_but}", fix=fix)
    shapes = {name: arrays[name].shape for name in wanted}
    if not all(shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        said = ", ".join(f"{name} is {list(shape)}" for name, shape in shapes.items())
        raise UsageError(f"{path}: {said}; all have one row for each sample")
    return {name: _narrow(arrays[name]) for name in names}, _narrow(arrays["y"])


def _narrow(array: np.ndarray) -> np.ndarray:
    """What most networks take: float32, or int64 for whole numbers of a label."""
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
