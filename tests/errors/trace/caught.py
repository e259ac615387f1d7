# run
import numpy as np

import graphc


def f(x):
    try:
        k = float(x.max())
    except Exception:
        k = 1.0
    return x * k


graphc.trace(f, x="float32[N,3]")
