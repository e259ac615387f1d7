# run
import math

import numpy as np

import graphc


def f(x):
    return x * math.sqrt(x.sum())

graphc.trace(f, x="float32[N,3]")
