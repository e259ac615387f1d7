# run
import numpy as np

import graphc


def f(x):
    return np.where(x > 0)[0]

graphc.trace(f, x="float32[N,3]")
