# run
import numpy as np

import graphc


def f(x):
    return x if x.max() > 0 and x.min() < 0 else -x

graphc.trace(f, x="float32[N,3]")
