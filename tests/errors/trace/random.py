# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    return x + np.random.rand(4).astype(np.float32)


trace(f, x="float32[4]")
