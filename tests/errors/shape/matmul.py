# run
import numpy as np

from graphc.frontends.python.tracer import trace


W = np.zeros((400, 10), np.float32)


def classify(x):
    return x @ W.T


trace(classify, x="float32[N,400]")
