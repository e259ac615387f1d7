# run
import numpy as np

import graphc


def f(x):
    return max(x.sum(), x.mean())

graphc.trace(f, x="float32[N,3]")
