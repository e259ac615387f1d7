# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    return np.asarray(x, np.float64)


trace(f, x="float32[4]")
