# run
import numpy as np

import graphc


def f(x):
    return f(x * 2)

graphc.trace(f, x="float32[N,3]")
