# run
import numpy as np

from graphc.frontends.python.tracer import trace


def join(x, y):
    return np.concatenate([x, y], axis=1)


trace(join, x="float32[N,4]", y="float32[N,4,1]")
