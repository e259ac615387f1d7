# run
import numpy as np

import graphc


def f(x):
    return np.linalg.inv(x.T @ x)

graphc.trace(f, x="float32[N,3]")
