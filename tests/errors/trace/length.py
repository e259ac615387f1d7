# run
import numpy as np

import graphc


def f(x):
    total = 0.0
    for i in range(len(x)):
        total = total + x[i]
    return total

graphc.trace(f, x="float32[N,3]")
