# run
import math

import numpy as np

import graphc


def f(x):
    return x * math.floor(x.sum())

graphc.trace(f, x="float32[N,3]")
