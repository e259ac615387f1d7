# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    x + 1


trace(f, x="float32[4]")
