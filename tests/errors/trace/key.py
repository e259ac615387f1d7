# run
import numpy as np

import graphc


def f(x):
    cache = {}
    cache[x] = 1
    return x

graphc.trace(f, x="float32[N,3]")
