# run
import numpy as np

import graphc


def f(x):
    return not x.any()

graphc.trace(f, x="float32[N,3]")
