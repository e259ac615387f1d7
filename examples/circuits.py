"""Circuits of numbers, as a lecture draws them by hand: value above the wire, gradient below it.

graphc render examples/circuits.py:sum_and_product -x x=-2 -x y=5 -x z=-4 --show check -o f.svg
graphc render examples/circuits.py:square_of_product -x 'W=[[0.4, 0.6], [0.7, -0.2]]' -x 'x=[[0.5], [0.3]]' -o f.svg
"""

import graphc
import graphc.nn.functional as F


@graphc.model(inputs=dict.fromkeys("xyz", "float64[]"))
def product_and_sum(x, y, z):
    g = x * y
    return g + z


@graphc.model(inputs=dict.fromkeys("xyz", "float64[]"))
def sum_and_product(x, y, z):
    q = x + y
    return q * z


@graphc.model(inputs=dict.fromkeys("xy", "float64[]"))
def fork(x, y):
    a = x * y
    return a * x


@graphc.model(inputs=dict.fromkeys(("w0", "x0", "w1", "x1", "w2"), "float64[]"))
def neuron(w0, x0, w1, x1, w2):
    s = w0 * x0 + w1 * x1 + w2
    return F.sigmoid(s)


@graphc.model(inputs=dict.fromkeys("wx", "float64[]"))
def swish(w, x):
    return F.silu(w * x)


@graphc.model(inputs={"x": "float64[2,1]", "W": "float64[2,2]"})
def square_of_product(x, W):
    q = W @ x
    return (q * q).sum()
