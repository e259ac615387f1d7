"""Arrays for parameters and inputs: the same in every process, drawn from the name and the shape."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def draw(name: str, shape: Sequence[int]) -> np.ndarray:
    """Normal numbers that depend on the name and the shape only."""
    generator = np.random.default_rng([zlib.crc32(name.encode()), *shape])
    return generator.standard_normal(tuple(shape), dtype=np.float32)


def parameter(name: str, shape: Sequence[int]) -> np.ndarray:
    """An array for a parameter or buffer, such that a network keeps the size of its activations about.

    Matrices and filters are normal with variance 2 / inputs; factors of a normalisation are near 1, its variances in
    1/2 to 3/2; everything else is small.
    """
    noise = draw(name, shape)
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        return (1 + 0.5 * np.tanh(noise)).astype(np.float32)
    if len(shape) >= 2 and not kind.startswith(("token", "positions")):
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if kind == "weight":
        return 1 + np.float32(0.1) * noise
    return np.float32(0.1) * noise


def parameters(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """`parameter` for every name."""
    return {name: parameter(name, shape) for name, shape in shapes.items()}
