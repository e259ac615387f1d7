# run
import numpy as np

import graphc


def f(x):
    total = 0.0
    for _ in range(x.argmax()):
        total = total + x
    return total

graphc.trace(f, x="float32[N,3]")
