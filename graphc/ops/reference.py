"""Reference formulas NumPy lacks."""

import math

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, element by element, through the C library's `erf` in float64."""
    return np.asarray(_erf(np.asarray(x, np.float64)), dtype=np.float64).astype(x.dtype)
