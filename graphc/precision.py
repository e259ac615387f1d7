"""Weights stored in fewer bits: how a user asks for them, and what they cost.

The cost is measured, not estimated: both forms of the model run on the same random input, and the largest difference of
an output is taken relative to the output's largest magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.weights import STORED

Source = str | PathLike[str] | Mapping[str, np.ndarray] | None
Weights = Source | tuple[Source, str]


@dataclass(frozen=True, slots=True)
class Precision:
    """How weights of matrix products are stored, and the deviation of the results on a random input.

    >>> str(Precision("fp16", 0.00031))
    'weights stored as fp16: results deviate by 3.1e-04 of the largest'
    """

    weights: str = "fp32"
    deviation: float = 0.0

    def __str__(self) -> str:
        if self.weights == "fp32":
            return "weights stored as fp32"
        return f"weights stored as {self.weights}: results deviate by {self.deviation:.1e} of the largest"


def split_weights(weights: Weights) -> tuple[Source, str]:
    """Where the arrays come from and how they are stored.  Raises UsageError for an unknown word.

    >>> split_weights("fp16"), split_weights("net.safetensors"), split_weights(("net.safetensors", "int8"))
    ((None, 'fp16'), ('net.safetensors', 'fp32'), ('net.safetensors', 'int8'))
    """
    if isinstance(weights, tuple):
        source, word = weights
        if word not in ("fp32", *STORED):
            raise UsageError(f"weights cannot be stored as {word!r}", fix=f"fp32, {' or '.join(STORED)}")
        return source, word
    if isinstance(weights, str) and weights in STORED:
        return None, weights
    return weights, "fp32"


def deviation(
    compressed: Callable[..., Any], exact: Callable[..., Any], inputs: Mapping[str, np.ndarray]
) -> float:
    """The largest difference of an output, relative to its largest magnitude; only floats count."""
    worst = 0.0
    for y, z in zip(*(_floats(model(*inputs.values())) for model in (compressed, exact)), strict=True):
        both = np.isfinite(y) & np.isfinite(z)
        largest = float(np.abs(z[both]).max(initial=0.0))
        if (np.isfinite(y) != np.isfinite(z)).any():
            return float("inf")
        apart = float(np.abs(y[both].astype(np.float64) - z[both]).max(initial=0.0))
        worst = max(worst, apart / largest if largest else apart)
    return worst


def _floats(results: Any) -> list[np.ndarray]:
    each = results if isinstance(results, tuple) else (results,)
    return [y for y in each if y.dtype.kind == "f"]
