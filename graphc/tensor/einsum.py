"""einsum of two operands, as one matrix product: "bij,bjk->bik"."""

from __future__ import annotations

from typing import Any

from graphc.errors import ShapeError, UnsupportedError
from graphc.ir.dims import product
from graphc.tensor import functions as f
from graphc.tensor.recording import here


def einsum(subscripts: str, x: Any, y: Any) -> Any:
    """Sum over the letters the result leaves out.  Raises ShapeError when the text does not fit the operands.

    Letters fall into four kinds: batch (in both and in the result), summed (in both only), and those of one operand
    alone, which stand in the result or are summed beforehand.
    """
    x, y = f.tensors_of((x, y))
    left, _, result = subscripts.replace(" ", "").partition("->")
    a, _, b = left.partition(",")
    if "->" not in subscripts:
        result = "".join(sorted(c for c in set(a + b) if (a + b).count(c) == 1))
    if len(set(a)) < len(a) or len(set(b)) < len(b):
        raise UnsupportedError(
            "einsum with a letter twice in one operand", span=here(), fix="take the diagonal first"
        )
    if (
        len(a) != x.ndim
        or len(b) != y.ndim
        or not set(result) <= set(a + b)
        or len(set(result)) < len(result)
    ):
        raise ShapeError(f"einsum {subscripts!r} does not fit its operands", span=here(), facts=f.fact(x, y))
    x, a = _without(x, a, set(a) - set(b) - set(result))
    y, b = _without(y, b, set(b) - set(a) - set(result))
    sizes = dict(zip(a + b, x.type.shape + y.type.shape))
    if any(sizes[c] != size for c, size in zip(a, x.type.shape)):
        raise ShapeError(f"einsum {subscripts!r}: a letter has two sizes", span=here(), facts=f.fact(x, y))
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
