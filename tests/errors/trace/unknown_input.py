# run
import numpy as np

from graphc.frontends.python.tracer import trace


def f(image):
    return image


trace(f, imgae="float32[4]")
