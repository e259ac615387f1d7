# run
import numpy as np

import graphc


def f(x):
    return x if x in [1.0, 2.0] else -x

graphc.trace(f, x="float32[N,3]")
