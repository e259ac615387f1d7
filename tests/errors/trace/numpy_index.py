# run
import numpy as np

import graphc


W = np.arange(6)


def f(x):
    return W[x.argmax()]

graphc.trace(f, x="float32[N,3]")
