# run
import numpy as np

import graphc


rng = np.random.default_rng(0)


def f(x):
    return x + rng.normal(size=3).astype(np.float32)

graphc.trace(f, x="float32[N,3]")
