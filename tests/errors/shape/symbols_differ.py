# run
import numpy as np

from graphc.frontends.python.tracer import trace


def add(x, y):
    return x * y


trace(add, x="float32[N]", y="float32[M]")
