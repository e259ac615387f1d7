# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    return x * 1j


trace(f, x="float32[4]")
