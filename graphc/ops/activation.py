"""Activation functions made of elementwise primitives, each with a gradient that stays finite.

`tanh`, `sigmoid` and `relu` are primitives and stand with the elementwise ops.
"""

import math

import numpy as np

from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ops.elementwise import equal, erf, exp, greater, log, minimum, relu, sigmoid, tanh, where
from graphc.ops.movement import reshape
from graphc.ops.reduction import max_, nonempty
from graphc.ops.reference import erf_of, exp_minus_one, log_of_one_plus
from graphc.ops.rules import same_float, samples

COMPOSITE = Kind.COMPOSITE


@op(COMPOSITE, formula="y = ln(1 + x)", symbol="ln1p", derivative={0: "1/(1 + {x})"})
class log1p:
    """ln(1 + x), accurate for small x as well.  dy/dx = 1/(1 + x).

    With u = 1 + x rounded, ln(u)·x/(u - 1) cancels the rounding of u (Goldberg, What every computer
    scientist should know about floating-point arithmetic, 1991, theorem 4).
    """

    infer = same_float
    samples = samples(1, -0.8, 3.0)

    def reference(x):
        return log_of_one_plus(x)

    def body(x):
        u = x + 1.0
        return where(equal(u, x), log(u), where(equal(u, 1.0), x, log(u) * (x / (u - 1.0))))

    def vjp(ct, x, y):
        return ct / (x + 1.0)


@op(COMPOSITE, formula="y = e^x − 1", symbol="expm1", derivative={0: "e^{x}"})
class expm1:
    """e^x - 1, accurate for small x as well.  dy/dx = e^x.

    With u = e^x rounded, (u - 1)·x/ln(u) cancels the rounding of u (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd edition, 2002, section 1.14).
    """

    infer = same_float
    samples = samples(1)

    def reference(x):
        return exp_minus_one(x)

    def body(x):
        u = exp(x)
        low = u - 1.0
        scaled = low * (x / log(u))
        return where(equal(u, 1.0), x, where(greater(abs(x), 1.0), low, scaled))

    def vjp(ct, x, y):
        return ct * exp(x)


@op(COMPOSITE, formula="y = x·Φ(x)", symbol="gelu", derivative={0: "Φ({x}) + {x}·φ({x})"}, onnx="Gelu")
class gelu:
    """Gaussian error linear unit: y = x·Φ(x) with the normal distribution Φ(x) = (1 + erf(x/√2))/2.

    dy/dx = Φ(x) + x·φ(x).

    approximate="tanh" takes Φ(x) = (1 + tanh(√(2/π)·(x + 0.044715·x³)))/2.
    Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """

    defaults = {"approximate": "none"}

    def infer(x, *, approximate):
        if approximate not in ("none", "tanh"):
            raise TypeRuleError(f'approximate is "none" or "tanh", not {approximate!r}')
        return same_float(x)

    def samples():
        for arrays, _ in samples(1)():
            yield arrays, {"approximate": "none"}
            yield arrays, {"approximate": "tanh"}

    def reference(x, *, approximate):
        if approximate == "tanh":
            return x * (np.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) * 0.5 + 0.5)
        return x * (erf_of(x * math.sqrt(0.5)) * 0.5 + 0.5)

    def body(x, *, approximate):
        if approximate == "tanh":
            return x * (tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) * 0.5 + 0.5)
        return x * (erf(x * math.sqrt(0.5)) * 0.5 + 0.5)

    def vjp(ct, x, y, *, approximate):
        if approximate == "tanh":
            t = tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi))
            inner = (x * x * (3 * 0.044715) + 1.0) * math.sqrt(2 / math.pi)
            return ct * (t * 0.5 + 0.5 + x * 0.5 * (1.0 - t * t) * inner)
        density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return ct * (erf(x * math.sqrt(0.5)) * 0.5 + 0.5 + x * density)


@op(COMPOSITE, formula="y = x·σ(x)", symbol="silu", derivative={0: "σ({x})(1 + {x}(1 − σ({x})))"})
class silu:
    """Sigmoid linear unit, also called swish: y = x·σ(x), dy/dx = σ(x)·(1 + x·(1 - σ(x)))."""

    infer = same_float
    samples = samples(1)

    def reference(x):
        return x * (1.0 / (1.0 + np.exp(-x)))

    def body(x):
        return x * sigmoid(x)

    def vjp(ct, x, y):
        s = sigmoid(x)
        return ct * (s * (x * (1.0 - s) + 1.0))


@op(COMPOSITE, formula="y = ln(1 + e^x)", symbol="softplus", derivative={0: "σ({x})"}, onnx="Softplus")
class softplus:
    """Smooth rectifier: y = ln(1 + e^x) = max(0, x) + ln(1 + e^-|x|), which cannot overflow.  dy/dx = σ(x)."""

    infer = same_float
    samples = samples(1, away=(0.0,))

    def reference(x):
        return np.maximum(x, 0) + log_of_one_plus(np.exp(-np.abs(x)))

    def body(x):
        return relu(x) + log1p(exp(-abs(x)))

    def vjp(ct, x, y):
        return ct * sigmoid(x)


@op(
    COMPOSITE,
    formula="y = x where x > 0, else α(e^x − 1)",
    symbol="elu",
    derivative={0: "1 or α·e^{x}"},
    onnx="Elu",
)
class elu:
    """Exponential linear unit: y = x where x > 0, else alpha·(e^x - 1).  dy/dx = 1 where x > 0, else alpha·e^x.

    Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units, 2016.
    """

    defaults = {"alpha": 1.0}
    kinks = "x = 0: the derivative is alpha"

    infer = same_float

    def samples():
        for arrays, _ in samples(1, away=(0.0,))():
            yield arrays, {"alpha": 1.0}
            yield arrays, {"alpha": 0.3}

    def reference(x, *, alpha):
        return np.where(x > 0, x, exp_minus_one(np.minimum(x, 0)) * alpha)

    def body(x, *, alpha):
        return where(greater(x, 0.0), x, expm1(minimum(x, 0.0)) * alpha)

    def vjp(ct, x, y, *, alpha):
        return where(greater(x, 0.0), ct, ct * (exp(minimum(x, 0.0)) * alpha))


@op(
    COMPOSITE,
    formula="y = x where x > 0, else s·x",
    symbol="leaky",
    derivative={0: "1 or s"},
    onnx="LeakyRelu",
)
class leaky_relu:
    """Leaky rectifier: y = x where x > 0, else slope·x.  dy/dx = 1 where x > 0, else slope."""

    defaults = {"slope": 0.01}
    kinks = "x = 0: the derivative is slope"

    infer = same_float

    def samples():
        for arrays, _ in samples(1, away=(0.0,))():
            yield arrays, {"slope": 0.1}

    def reference(x, *, slope):
        return np.where(x > 0, x, x * slope)

    def body(x, *, slope):
        return where(greater(x, 0.0), x, x * slope)

    def vjp(ct, x, y, *, slope):
        return where(greater(x, 0.0), ct, ct * slope)


@op(
    COMPOSITE, formula="y = max of pieces of x", symbol="maxout", derivative={0: "[{x} is the first maximum]"}
)
class maxout:
    """Maximum over groups of `pieces` neighbours along an axis: size pieces·C becomes C.

    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, Maxout networks, 2013.
    """

    kinks = "ties: the gradient goes to the first largest piece"

    def infer(x, *, pieces, axis):
        if not 0 <= axis < x.rank:
            raise TypeRuleError(f"axis {axis} does not fit {{0}} of {x.rank} dimensions")
        if pieces < 1 or x.shape[axis] % pieces != 0:
            raise TypeRuleError(f"size {x.shape[axis]} of {{0}} does not divide into groups of {pieces}")
        grouped = x.with_shape((*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :]))
        return nonempty(grouped, axes=(axis + 1,))

    def samples():
        rng = np.random.default_rng(53)
        for shape, pieces, axis in (
            ((6,), 2, 0),
            ((3, 10), 5, 1),
            ((2, 6, 5), 3, 1),
            ((4, 3), 1, 1),
            ((0, 4), 2, 1),
        ):
            yield (
                (np.asarray(rng.permutation(np.arange(float(np.prod(shape)))) * 0.37 - 1.1).reshape(shape),),
                {"pieces": pieces, "axis": axis},
            )

    def body(x, *, pieces, axis):
        grouped = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
        return max_(reshape(x, shape=grouped), axes=(axis + 1,))
