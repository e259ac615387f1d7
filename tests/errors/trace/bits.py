# run
import numpy as np

import graphc


def f(x):
    return x.astype(np.int64) & 3


graphc.trace(f, x="float32[N,3]")
