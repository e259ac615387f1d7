# run
import numpy as np

import graphc


def f(x):
    return x

graphc.trace(f)
