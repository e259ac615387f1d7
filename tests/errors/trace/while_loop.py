# run
import numpy as np

import graphc


def f(x):
    while x.sum() > 1:
        x = x / 2
    return x

graphc.trace(f, x="float32[N,3]")
