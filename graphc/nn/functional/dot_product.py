"""Scaled dot-product attention.  Vaswani et al., Attention is all you need, 2017."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import UsageError
from graphc.ir.op import REGISTRY
from graphc.ir.types import dtype_of
from graphc.nn.functional.normalization import dropout
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here, record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Any = None, dropout_p: float = 0.0) -> Any:
    """(softmax(q·kᵀ/√d + mask)·v, the softmax): q[..., L, d], k[..., S, d], v[..., S, e] -> [..., L, e]."""
    depth: Any = q.type.shape[-1]
    scores = f.matmul(f.mul(q, float(depth) ** -0.5), f.swapaxes(k, -1, -2))
    weights = f.softmax(scores if mask is None else f.add(scores, mask), -1)
    weights = dropout(weights, dropout_p)
    return f.matmul(weights, v), weights


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q·kᵀ/√d)·v.  A mask of booleans is True where something may be read, one of numbers is added."""
    mask = None if attn_mask is None else f.as_tensor(attn_mask)
    if is_causal:
        if mask is not None:
            raise UsageError("is_causal and attn_mask exclude each other", span=here())
        shape = (query.type.shape[-2], key.type.shape[-2])
        kind = dtype_of("int64")
        rows, columns = (record(REGISTRY["iota"], shape=shape, axis=axis, dtype=kind) for axis in (0, 1))
        mask = columns <= rows
    if mask is not None and mask.type.dtype.kind == "bool":
        mask = f.where(mask, f.full((), 0.0, query.dtype), f.full((), -np.inf, query.dtype))
    result: Tensor = attention(query, key, value, mask, dropout_p)[0]
    return result


recording.entries(globals())
