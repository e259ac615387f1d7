# run
import numpy as np

import graphc


calls = []


def f(x):
    calls.append(1)
    return x * len(calls)

graphc.trace(f, x="float32[N,3]")
