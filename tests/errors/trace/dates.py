# run
import numpy as np

import graphc


def f(x):
    return x * np.array([1, 2, 3], dtype="datetime64[D]")

graphc.trace(f, x="float32[N,3]")
