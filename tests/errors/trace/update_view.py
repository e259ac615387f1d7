# run
import numpy as np

import graphc


def f(x):
    h = np.tanh(x)
    row = h[:, 0]
    h *= 2.0
    return h + row.sum()

graphc.trace(f, x="float32[N,3]")
