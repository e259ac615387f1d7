# run
import numpy as np

import graphc


def f(x):
    B = np.zeros((3, 3), np.float32)
    B[0][1] = x.sum()
    return x @ B

graphc.trace(f, x="float32[N,3]")
