# run
import numpy as np

import graphc


def f(x):
    return x * round(x.sum())

graphc.trace(f, x="float32[N,3]")
