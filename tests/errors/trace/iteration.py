# run
import numpy as np

import graphc


def f(x):
    return sum(row for row in x)

graphc.trace(f, x="float32[N,3]")
