# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    return np.exp(x)


trace(f, x="bool[4]")
