"""Reference formulas NumPy lacks."""

import math

import numpy as np


def erf_of(x: np.ndarray) -> np.ndarray:
    """The error function, element by element, through the C library's `erf` in float64."""
    exact = np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64))
    return np.asarray(exact, dtype=np.float64).astype(x.dtype)


def log_of_one_plus(x):
    """ln(1 + x): with u = 1 + x rounded, ln(u)·x/(u - 1) cancels the rounding."""
    u = x + 1.0
    return np.where(u == x, np.log(u), np.where(u == 1.0, x, np.log(u) * (x / (u - 1.0))))


def exp_minus_one(x):
    """e^x - 1: with u = e^x rounded, (u - 1)·x/ln(u) cancels the rounding."""
    u = np.exp(x)
    low = u - 1.0
    return np.where(u == 1.0, x, np.where(np.abs(x) > 1.0, low, low * (x / np.log(u))))


def convert(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Cast; from float to integer it truncates, saturates at the ends of the range and turns NaN into 0."""
    if x.dtype.kind == "f" and np.issubdtype(dtype, np.integer):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        whole = np.nan_to_num(np.trunc(x), nan=0.0, posinf=np.inf, neginf=-np.inf)
        inside = np.where((whole > low) & (whole < high), whole, 0).astype(dtype)
        return np.where(whole <= low, low, np.where(whole >= high, high, inside)).astype(dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)
