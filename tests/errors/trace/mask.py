# run
import numpy as np

import graphc


def f(x):
    return x[x > 0]

graphc.trace(f, x="float32[N,3]")
