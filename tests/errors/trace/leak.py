# run
import numpy as np

from graphc.frontends.python.tracer import trace


kept = []


def f(x):
    kept.append(x)
    return x + kept[0]


trace(f, x="float32[4]")
trace(f, x="float32[4]")
