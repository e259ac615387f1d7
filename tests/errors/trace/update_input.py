# run
import numpy as np

import graphc


def f(x):
    x += 1.0
    return x * 2

graphc.trace(f, x="float32[N,3]")
