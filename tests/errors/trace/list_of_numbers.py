# run
import numpy as np

import graphc


def f(x):
    return [x.sum(), 3.0]

graphc.trace(f, x="float32[N,3]")
