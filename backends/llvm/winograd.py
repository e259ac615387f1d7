"""Winograd's short convolutions F(m, 3): m outputs of a window of three from m + 2 products.

    y = A [(G g) * (B d)]        for d of m + 2 inputs, g of 3 weights, * element by element

B, G and A follow from interpolation at m + 1 points and at infinity (Cook and Toom; Lavin and Gray, arXiv
1509.09308). Weights are transformed when the model is compiled, in float64, and rounded once. The points of
F(4, 3) are 0, 1, -1, 1/2, -2: with reciprocal pairs all factors stay small and errors with them (Barabasz et
al., arXiv 1803.10986).

B and A are written as short programs that share common sums; `matrix` of a program is what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from graphc.backends.llvm.emitter import Function, Reg

TAPS = 3
Term = tuple[int, float]  # number of a value and its factor
Program = tuple[tuple[Term, ...], ...]  # each step is a new value, a sum; the first factor is 1


@dataclass(frozen=True, slots=True)
class Form:
    """F(m, 3). inputs and outputs: programs for B and A, which end with the transformed values.

    >>> F2.size, F4.size, F4.saving
    (4, 6, 4.0)
    """

    m: int
    points: tuple[Fraction, ...]
    inputs: Program
    outputs: Program

    @property
    def size(self) -> int:
        """Inputs of a tile along one axis; products too."""
        return self.m + TAPS - 1

    @property
    def saving(self) -> float:
        """Multiplications of the sum over windows for one of a tile."""
        return (self.m * TAPS) ** 2 / self.size**2

    def __str__(self) -> str:
        return f"F({self.m},{TAPS})"

    def weights(self, w: Any) -> Any:
        """G w G' of windows (..., 3, 3) in float64: (size, size, ...)."""
        g = np.array(weight_matrix(self.points), np.float64)
        return np.einsum("ip,...pq,jq->ij...", g, w.astype(np.float64), g, optimize=True)


def weight_matrix(points: Sequence[Fraction]) -> list[list[float]]:
    """G: a row of powers for each point, over the product of its distances from the others; infinity last."""
    rows = []
    for p in points:
        distance = Fraction(1)
        for q in points:
            distance *= p - q if q != p else 1
        rows.append([float(p**k / distance) for k in range(TAPS)])
    return [*rows, [0.0] * (TAPS - 1) + [1.0]]


def input_matrix(points: Sequence[Fraction]) -> list[list[Fraction]]:
    """B: the coefficients of the product of x - q over all other points; for infinity, over all."""
    rows = [_from_roots([q for q in points if q != p]) + [Fraction(0)] for p in points]
    return [*rows, _from_roots(points)]


def output_matrix(points: Sequence[Fraction], m: int) -> list[list[Fraction]]:
    """A: powers of the points; infinity counts for the last output."""
    return [[*(p**j for p in points), Fraction(j == m - 1)] for j in range(m)]


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, from the constant one on, of the product of x - r."""
    found = [Fraction(1)]
    for r in roots:
        found = [a - r * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


def matrix(program: Program, inputs: int, outputs: int) -> list[list[Fraction]]:
    """The matrix a program multiplies by."""
    values = [[Fraction(i == j) for j in range(inputs)] for i in range(inputs)]
    for terms in program:
        values.append(
            [sum((Fraction(c) * values[n][j] for n, c in terms), Fraction(0)) for j in range(inputs)]
        )
    return values[-outputs:]


def emit_program(f: Function, program: Program, inputs: Sequence[Reg], outputs: int) -> list[Reg]:
    """The program on vectors: additions and fused multiply-adds in the order of the terms."""
    values = list(inputs)
    for (first, _), *rest in program:
        total = values[first]
        for number, factor in rest:
            if factor == 1:
                total = f.fadd(total, values[number])
            elif factor == -1:
                total = f.fsub(total, values[number])
            else:
                total = f.fma(values[number], factor, total)
        values.append(total)
    return values[-outputs:]


def emit_square(
    f: Function, program: Program, values: Sequence[Sequence[Reg]], outputs: int
) -> list[list[Reg]]:
    """The program along columns, then along rows, of a square of vectors."""
    columns = [emit_program(f, program, column, outputs) for column in zip(*values, strict=True)]
    return [emit_program(f, program, row, outputs) for row in zip(*columns, strict=True)]


def additions(program: Program) -> int:
    """Instructions of a program."""
    return sum(len(terms) - 1 for terms in program)


F2 = Form(
    2,
    tuple(map(Fraction, (0, 1, -1))),
    inputs=(
        ((2, 1), (0, -1)),
        ((1, 1), (2, 1)),
        ((2, 1), (1, -1)),
        ((3, 1), (1, -1)),
    ),
    outputs=(
        ((0, 1), (1, 1), (2, 1)),
        ((1, 1), (2, -1), (3, 1)),
    ),
)

F4 = Form(
    4,
    (*map(Fraction, (0, 1, -1)), Fraction(1, 2), Fraction(-2)),
    inputs=(
        ((3, 1), (1, -1)),  # 6
        ((4, 1), (2, -1)),  # 7
        ((0, 1), (2, -1), (7, 1), (6, 1.5)),
        ((7, 1), (6, 1), (2, 1.5), (3, 1.5)),
        ((7, 1), (6, -1), (3, 1.5), (2, -1.5)),
        ((7, 1), (6, 2)),
        ((7, 1), (6, -0.5)),
        ((5, 1), (3, -1), (6, -1), (7, 1.5)),
    ),
    outputs=(
        ((1, 1), (2, 1)),  # 6
        ((1, 1), (2, -1)),  # 7
        ((0, 1), (6, 1), (3, 1), (4, 1)),
        ((7, 1), (3, 0.5), (4, -2)),
        ((6, 1), (3, 0.25), (4, 4)),
        ((5, 1), (7, 1), (3, 0.125), (4, -8)),
    ),
)
