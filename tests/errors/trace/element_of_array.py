# run
import numpy as np

import graphc


def f(x):
    table = np.arange(3.0)
    table[0] = x.sum()
    return x * table


graphc.trace(f, x="float32[N,3]")
