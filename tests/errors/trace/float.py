# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    return x * float(x[0])


trace(f, x="float32[4]")
