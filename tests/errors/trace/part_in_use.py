# run
import numpy as np

import graphc


def f(x):
    B = np.zeros((2, 3), np.float32)
    row = B[0]
    B[0] = x.sum(axis=0)
    return x + row


graphc.trace(f, x="float32[N,3]")
