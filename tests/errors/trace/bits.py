# run
import graphc


def f(x):
    return x & 3


graphc.trace(f, x="float32[N,3]")
