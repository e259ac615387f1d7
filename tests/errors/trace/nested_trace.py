# run
import numpy as np

import graphc


def f(x):
    graphc.trace(f, x="float32[3]")
    return x

graphc.trace(f, x="float32[N,3]")
