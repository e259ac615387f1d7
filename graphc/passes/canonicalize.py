"""Canonicalize: one form for what can be written in several, and less of it.

Algebra and movement, as rules; see `rules.py` for the grades.  What looks obvious is often not exact:
x + 0 turns -0 into 0, x·0 turns inf and NaN into 0, x - x the same, so these are `fast` for floating-point
numbers and exact only for integers.

Inverse functions do not cancel here: bodies such as that of expm1 divide by ln e^x to take back the rounding of
e^x.  The user's own ln e^x is a matter for `stabilize`, which runs before bodies are opened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc import ops
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.rewriter import ValueMap, rewrite
from graphc.ops import (
    abs_,
    add_n,
    cast,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    pow_,
    relu,
    sqrt,
    stop_gradient,
    where,
)
from graphc.passes.fold_constants import folded_number
from graphc.passes.movement import MOVEMENT_RULES
from graphc.passes.rules import Grade, Rule, RuleSet, spread, truth


def full_like(x: Value, number: Any) -> Value:
    return Builder.current().constant(number, x.dtype, x.shape)


def times_reciprocal(x: Value, c: float, *, power_of_two: bool) -> Value | None:
    """x·(1/c): exact when c is a power of two whose reciprocal is a normal number; None for the other kind of c."""
    mantissa, exponent = math.frexp(c)
    if not math.isfinite(c) or c == 0 or abs(exponent) > (120 if x.dtype.itemsize == 4 else 1000):
        return None
    return x * (1.0 / c) if (abs(mantissa) == 0.5) == power_of_two else None


ALGEBRA = (
    # signs
    Rule("-(-x) = x", "exact", lambda x: ops.neg(-x), lambda x: x, "number"),
    Rule("x·(-1) = -x", "exact", lambda x: x * -1, lambda x: -x, "signed"),
    Rule("x / (-1) = -x", "exact", lambda x: x / -1, lambda x: -x),
    Rule("a + (-b) = a - b", "exact", lambda a, b: a + ops.neg(b), lambda a, b: a - b, "number"),
    Rule("a - (-b) = a + b", "exact", lambda a, b: a - ops.neg(b), lambda a, b: a + b, "number"),
    Rule("(-a)·(-b) = a·b", "exact", lambda a, b: -a * -b, lambda a, b: a * b, "number"),
    Rule("(-a) / (-b) = a / b", "exact", lambda a, b: -a / -b, lambda a, b: a / b),
    Rule("|-x| = |x|", "exact", lambda x: abs_(-x), lambda x: abs_(x), "signed"),
    Rule("||x|| = |x|", "exact", lambda x: abs_(abs_(x)), lambda x: abs_(x), "number"),
    Rule("-(a - b) = b - a", "exact", lambda a, b: -(a - b), lambda a, b: b - a, "integer"),
    Rule("-(a - b) = b - a", "fast", lambda a, b: -(a - b), lambda a, b: b - a),  # 0 becomes -0
    # neutral elements
    Rule("x·1 = x", "exact", lambda x: x * 1, lambda x: x, "number"),
    Rule("x / 1 = x", "exact", lambda x: x / 1, lambda x: x),
    Rule("x - 0 = x", "exact", lambda x: x - 0, lambda x: x, "number"),
    Rule("x + (-0) = x", "exact", lambda x: x + -0.0, lambda x: x),
    Rule("x + 0 = x", "exact", lambda x: x + 0, lambda x: x, "integer"),
    Rule("x + 0 = x", "fast", lambda x: x + 0, lambda x: x),  # -0 + 0 is 0
    Rule("0 - x = -x", "exact", lambda x: 0 - x, lambda x: -x, "integer"),
    Rule("0 - x = -x", "fast", lambda x: 0 - x, lambda x: -x),  # 0 - 0 is 0
    Rule("-0 - x = -x", "exact", lambda x: -0.0 - x, lambda x: -x),
    Rule("x·0 = 0", "exact", lambda x: x * 0, lambda x: full_like(x, 0), "integer"),
    Rule("x·0 = 0", "fast", lambda x: x * 0, lambda x: full_like(x, 0)),  # inf·0 is NaN, -1·0 is -0
    Rule("x - x = 0", "exact", lambda x: x - x, lambda x: full_like(x, 0), "integer"),
    Rule("x - x = 0", "fast", lambda x: x - x, lambda x: full_like(x, 0)),  # inf - inf is NaN
    Rule("x / x = 1", "fast", lambda x: x / x, lambda x: full_like(x, 1)),  # 0 / 0 is NaN
    Rule("add_n(x) = x", "exact", lambda x: add_n(x), lambda x: x, "number"),
    Rule("add_n(a, b) = a + b", "exact", lambda a, b: add_n(a, b), lambda a, b: a + b, "number"),
    # products and powers
    Rule("x·2 = x + x", "exact", lambda x: x * 2, lambda x: x + x, "number"),
    Rule(
        "x / 2ⁿ = x·2⁻ⁿ",
        "exact",
        lambda x, *, c: x / c,
        lambda x, *, c: times_reciprocal(x, c, power_of_two=True),
    ),
    Rule(
        "x / c = x·(1/c)",
        "fast",
        lambda x, *, c: x / c,
        lambda x, *, c: times_reciprocal(x, c, power_of_two=False),
    ),
    Rule(
        "x / (y repeated) = x·(1/y repeated)",
        "fast",
        lambda x, y, *, axes: x / spread(y, x, axes),
        lambda x, y, *, axes: x * spread(1.0 / y, x, axes) if axes else None,
        samples=lambda: iter(
            [((np.linspace(-3, 3, 12).reshape(3, 4), np.array([0.7, -3.0, 49.0])), {"axes": (1,)})]
        ),
    ),
    Rule("x^1 = x", "exact", lambda x: pow_(x, 1.0), lambda x: x),
    Rule("x^0 = 1", "exact", lambda x: pow_(x, 0.0), lambda x: full_like(x, 1)),  # NaN^0 is 1 as well
    Rule("1^x = 1", "exact", lambda x: pow_(1.0, x), lambda x: full_like(x, 1)),
    Rule("x^2 = x·x", "stable", lambda x: pow_(x, 2.0), lambda x: x * x),
    Rule("x^(-1) = 1/x", "stable", lambda x: pow_(x, -1.0), lambda x: 1.0 / x),
    Rule("x^3 = x·x·x", "fast", lambda x: pow_(x, 3.0), lambda x: x * x * x),  # two roundings
    Rule("x^½ = √x", "fast", lambda x: pow_(x, 0.5), lambda x: sqrt(x)),  # (-inf)^½ is inf, √-inf is NaN
    # selections
    Rule("c ? x : x = x", "exact", lambda c, x: where(c, x, x), lambda c, x: x, "any"),
    Rule("true ? x : y = x", "exact", lambda x, y: where(truth(True), x, y), lambda x, y: x, "any"),
    Rule("false ? x : y = y", "exact", lambda x, y: where(truth(False), x, y), lambda x, y: y, "any"),
    Rule(
        "¬c ? x : y = c ? y : x",
        "exact",
        lambda c, x, y: where(logical_not(c), x, y),
        lambda c, x, y: where(c, y, x),
        "any",
    ),
    Rule("max(x, x) = x", "exact", lambda x: maximum(x, x), lambda x: x, "number"),
    Rule("min(x, x) = x", "exact", lambda x: minimum(x, x), lambda x: x, "number"),
    Rule("max(x, 0) = relu x", "exact", lambda x: maximum(x, 0), lambda x: relu(x), "number"),
    Rule("relu(relu x) = relu x", "exact", lambda x: relu(relu(x)), lambda x: relu(x), "number"),
    Rule("relu |x| = |x|", "exact", lambda x: relu(abs_(x)), lambda x: abs_(x), "float"),
    # booleans
    Rule("¬¬x = x", "exact", lambda x: logical_not(logical_not(x)), lambda x: x, "bool"),
    Rule("x ∧ true = x", "exact", lambda x: logical_and(x, True), lambda x: x, "bool"),
    Rule("x ∨ false = x", "exact", lambda x: logical_or(x, False), lambda x: x, "bool"),
    Rule(
        "x ∧ false = false", "exact", lambda x: logical_and(x, False), lambda x: full_like(x, False), "bool"
    ),
    Rule("x ∨ true = true", "exact", lambda x: logical_or(x, True), lambda x: full_like(x, True), "bool"),
    Rule("x ∧ x = x", "exact", lambda x: logical_and(x, x), lambda x: x, "bool"),
    Rule("x ∨ x = x", "exact", lambda x: logical_or(x, x), lambda x: x, "bool"),
    # after autodiff nothing is left to stop
    Rule("stop_gradient x = x", "exact", lambda x: stop_gradient(x), lambda x: x, "any"),
    Rule(
        "x as its own dtype = x",
        "exact",
        lambda x, *, dtype: cast(x, dtype=dtype),
        lambda x, *, dtype: x if x.dtype == dtype else None,
        "any",
    ),
    Rule(
        "(x as a wider float) as x's own dtype = x",
        "exact",
        lambda x, *, wide, dtype: cast(cast(x, dtype=wide), dtype=dtype),
        lambda x, *, wide, dtype: (
            x if x.dtype == dtype and wide.is_float and wide.itemsize >= dtype.itemsize else None
        ),
    ),
)

RULES = RuleSet("canonicalize", ALGEBRA + MOVEMENT_RULES)


def canonicalize(graph: Graph, grades: Sequence[Grade] = ("exact", "stable")) -> tuple[Graph, ValueMap]:
    """Apply the rules of the given grades in one sweep; work on repeated numbers becomes a number on the way."""

    def simplify(node: Node, operands: tuple[Value, ...]) -> Value | None:
        number = folded_number(node, operands)
        return number if number is not None else RULES.apply(node, operands, grades)

    return rewrite(graph, simplify, "canonicalize")
