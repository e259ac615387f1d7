# run
import numpy as np

import graphc


def f(x):
    return sorted([x.sum(), x.mean()])[0]

graphc.trace(f, x="float32[N,3]")
