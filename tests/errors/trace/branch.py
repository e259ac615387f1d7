# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    if x.sum() > 0:
        return x
    return -x


trace(f, x="float32[N,4]")
