# run
import numpy as np

from graphc.frontends.python.tracer import trace


def add(x, y):
    return np.tanh(x) + y


trace(add, x="float32[N,4]", y="float32[3]")
