"""Activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ir.op import REGISTRY
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else slope·x."""
    return record(REGISTRY["leaky_relu"], x, slope=float(negative_slope))


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(e^x - 1)."""
    return record(REGISTRY["elu"], x, alpha=float(alpha))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) with the normal distribution Φ."""
    return record(REGISTRY["gelu"], x, approximate=approximate)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish."""
    return record(REGISTRY["silu"], x)


def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x)"""
    return record(REGISTRY["softplus"], x)


def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)"""
    return f.minimum(f.relu(x), 6.0)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return f.clamp(x, min_val, max_val)


def maxout(x: Tensor, pieces: int, dim: int = -1) -> Tensor:
    """The maximum over groups of `pieces` neighbours along an axis."""
    return record(REGISTRY["maxout"], x, pieces=int(pieces), axis=f.axis_of(x, dim))


recording.entries(globals())
