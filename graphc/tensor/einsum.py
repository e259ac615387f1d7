"""einsum, two operands at a time, each time as one matrix product: "bij,bjk->bik"."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.dims import product
from graphc.tensor import functions as f
from graphc.tensor.recording import here


def einsum(subscripts: str, *operands: Any) -> Any:
    """Sum over the letters the result leaves out.  Raises ShapeError when the text does not fit the operands.

    `...` stands for axes that are broadcast; a letter twice in one operand takes its diagonal.
    """
    tensors = f.tensors_of(operands)
    terms, result = _terms(subscripts, tensors)
    sizes: dict[str, Any] = {}
    for x, letters in zip(tensors, terms):
        for letter, size in zip(letters, x.type.shape):
            if sizes.setdefault(letter, size) in (1, size):
                sizes[letter] = size
            elif size != 1:
                raise ShapeError(
                    f"einsum {subscripts!r}: a letter has two sizes", span=here(), facts=f.fact(*tensors)
                )
    ready = [_diagonals(*_stretched(x, letters, sizes)) for x, letters in zip(tensors, terms)]
    x, a = ready[0]
    if len(ready) == 1:
        x, a = _without(x, a, set(a) - set(result))
        return f.permute(x, *(a.index(c) for c in result)) if result else x
    for position, (y, b) in enumerate(ready[1:], 1):
        later = set(result).union(*(letters for _, letters in ready[position + 1 :]))
        last = position == len(ready) - 1
        kept = result if last else "".join(c for c in dict.fromkeys(a + b) if c in later)
        x, a = _pair(x, a, y, b, kept), kept
    return x


def _terms(subscripts: str, tensors: Sequence[Any]) -> tuple[list[str], str]:
    """The letters of every operand and of the result; axes under `...` get letters of their own."""
    text = subscripts.replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    problem = ShapeError(
        f"einsum {subscripts!r} does not fit its operands", span=here(), facts=f.fact(*tensors)
    )
    if len(terms) != len(tensors):
        raise problem
    free = [c for c in ascii_letters if c not in text]
    hidden = [x.ndim - len(term.replace("...", "")) for x, term in zip(tensors, terms)]
    dots = "".join(free[: max((h for h, term in zip(hidden, terms) if "..." in term), default=0)])
    for i, (count, term) in enumerate(zip(hidden, terms)):
        if count < 0 or count > 0 and "..." not in term or term.count("...") > 1:
            raise problem
        terms[i] = term.replace("...", dots[len(dots) - count :])
    every = "".join(terms)
    if not arrow:
        result = dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    result = result.replace("...", dots)
    if not (every + result).isalpha() and every + result or not set(result) <= set(every):
        raise problem
    if len(set(result)) < len(result):
        raise problem
    return terms, result


def _stretched(x: Any, letters: str, sizes: dict[str, Any]) -> tuple[Any, str]:
    """Axes of size 1 repeated where another operand is longer."""
    shape = tuple(sizes[c] for c in letters)
    return (x if shape == x.type.shape else f.broadcast_to(x, shape)), letters


def _diagonals(x: Any, letters: str) -> tuple[Any, str]:
    """A letter that stands twice stands once: the elements off the diagonal are 0, and summed away."""
    while len(set(letters)) < len(letters):
        double = next(c for c in letters if letters.count(c) > 1)
        first = letters.index(double)
        second = letters.index(double, first + 1)
        shape = x.type.shape
        row, column = (f.iota(shape, axis) for axis in (first, second))
        x = f.sum(f.where(row == column, x, np.zeros((), x.dtype)), second)
        letters = letters[:second] + letters[second + 1 :]
    return x, letters


def _pair(x: Any, a: str, y: Any, b: str, result: str) -> Any:
    """Letters fall into four kinds: batch (in both and in the result), summed (in both only), and those of one operand
    alone, which stand in the result or are summed beforehand.
    """
    x, a = _without(x, a, set(a) - set(b) - set(result))
    y, b = _without(y, b, set(b) - set(a) - set(result))
    sizes = dict(zip(a + b, x.type.shape + y.type.shape))
    batch = [c for c in a if c in b and c in result]
    summed = [c for c in a if c in b and c not in result]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    flat = [[product(sizes[c] for c in letters)] for letters in (rows, summed, columns)]
    kept = [sizes[c] for c in batch]
    one = f.reshape(f.permute(x, *(a.index(c) for c in batch + rows + summed)), *kept, *flat[0], *flat[1])
    two = f.reshape(f.permute(y, *(b.index(c) for c in batch + summed + columns)), *kept, *flat[1], *flat[2])
    order = batch + rows + columns
    whole = f.reshape(f.matmul(one, two), tuple(sizes[c] for c in order))
    return f.permute(whole, *(order.index(c) for c in result)) if result else whole


def _without(x: Any, letters: str, dropped: set[str]) -> tuple[Any, str]:
    axes = tuple(i for i, c in enumerate(letters) if c in dropped)
    return (f.sum(x, axes), "".join(c for c in letters if c not in dropped)) if axes else (x, letters)
