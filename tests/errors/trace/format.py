# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(x):
    print(f"{x:.3f}")
    return x


trace(f, x="float32[4]")
