# run
import numpy as np

import graphc


def f(x):
    k = int(x.sum())
    return x * k

graphc.trace(f, x="float32[N,3]")
