"""Linear maps and tables: x·wᵀ + b, rows of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.op import REGISTRY
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def linear(x: Tensor, weight: Any, bias: Any = None) -> Tensor:
    """y = x·wᵀ + b: x[..., in], weight[out, in], bias[out] -> y[..., out]."""
    return record(REGISTRY["linear"], x, weight, *(() if bias is None else (bias,)))


def bilinear(x1: Tensor, x2: Tensor, weight: Any) -> Tensor:
    """y[n, o] = Σᵢⱼ x1[n, i]·weight[o, i, j]·x2[n, j]."""
    left = f.matmul(f.unsqueeze(x1, -2), f.permute(weight, 1, 0, 2).reshape(weight.shape[1], -1))
    grouped = left.reshape(x1.shape[0], weight.shape[0], weight.shape[2])
    return f.squeeze(f.matmul(grouped, f.unsqueeze(x2, -1)), axis=-1)


def one_hot(x: Tensor, num_classes: int) -> Tensor:
    """1 at each label, else 0: [...] -> [..., num_classes], whole numbers."""
    wide = f.unsqueeze(x, -1)
    return f.astype(wide == np.arange(num_classes).astype(x.dtype), x.dtype)


def embedding(x: Tensor, weight: Any) -> Tensor:
    """Row x of a table: x[...] whole numbers, weight[words, features] -> [..., features]."""
    return record(REGISTRY["gather"], weight, x, axis=0)


recording.entries(globals())
