# run
import numpy as np

import graphc


def f(x):
    return x * np.array([1, 2, None])

graphc.trace(f, x="float32[N,3]")
