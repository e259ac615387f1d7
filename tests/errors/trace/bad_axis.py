# run
import numpy as np

import graphc


def f(x):
    return x.sum(axis=2)

graphc.trace(f, x="float32[N,3]")
