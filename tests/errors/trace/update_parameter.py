# run
import numpy as np

import graphc


W = np.ones(3, np.float32)


def f(x):
    global W
    W -= 0.1 * x.mean(axis=0)
    return x * W

graphc.trace(f, x="float32[N,3]")
