"""Reference formulas NumPy lacks."""

import math

import numpy as np


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, element by element, through the C library's `erf` in float64."""
    exact = np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64))
    return np.asarray(exact, dtype=np.float64).astype(x.dtype)


def convert(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cast; from float to integer it truncates, saturates at the ends of the range and turns NaN into 0."""
    if x.dtype.kind == "f" and np.issubdtype(dtype, np.integer):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        whole = np.nan_to_num(np.trunc(x), nan=0.0, posinf=np.inf, neginf=-np.inf)
        inside = np.where((whole > low) & (whole < high), whole, 0).astype(dtype)
        return np.where(whole <= low, low, np.where(whole >= high, high, inside)).astype(dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)
