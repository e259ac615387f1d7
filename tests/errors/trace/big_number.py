# run
import numpy as np

import graphc


def f(x):
    return (x > 0).astype(np.int64) + 2**70

graphc.trace(f, x="float32[N,3]")
