# run
import numpy as np

import graphc


def f(x):
    return x * float(x.shape[0])

graphc.trace(f, x="float32[N,3]")
