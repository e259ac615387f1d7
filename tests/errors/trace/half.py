# run
import numpy as np

import graphc


def f(x):
    return x * np.ones(3, np.float16)

graphc.trace(f, x="float32[N,3]")
