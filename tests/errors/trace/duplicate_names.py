# run
import numpy as np

import graphc


def f(x):
    return {1: x.sum(), "1": x.mean()}

graphc.trace(f, x="float32[N,3]")
