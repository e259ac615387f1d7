"""Losses; `reduction` is "mean", "sum" or "none"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import UnsupportedError
from graphc.ir.op import REGISTRY
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here, record

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)², its mean by default."""
    return record(REGISTRY["mse_loss"], input, target, reduction=reduction)


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|, its mean by default."""
    return _reduced(f.abs(f.sub(input, target)), reduction)


def cross_entropy(
    input: Tensor,
    target: Any,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of scores [N, C, ...] and class labels [N, ...], or probabilities [N, C, ...] in their place."""
    labels = f.as_tensor(target)
    if not labels.type.dtype.is_float and label_smoothing == 0:
        return record(REGISTRY["cross_entropy"], input, labels, reduction=reduction)
    if not labels.type.dtype.is_float:
        raise UnsupportedError(
            "label_smoothing of class labels", span=here(), fix="give smoothed probabilities"
        )
    classes = input.type.shape[1]
    if label_smoothing:
        labels = f.add(
            f.mul(labels, 1.0 - label_smoothing),
            f.div(label_smoothing, f.size_number(classes, labels.type.dtype)),
        )
    return _reduced(f.neg(f.sum(f.mul(labels, f.log_softmax(input, 1)), 1)), reduction)


def nll_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Minus the log-probability [N, C, ...] of each label [N, ...]."""
    return record(REGISTRY["nll_loss"], input, target, reduction=reduction)


def binary_cross_entropy(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """-t·ln p - (1 - t)·ln(1 - p) of probabilities p."""
    return record(REGISTRY["binary_cross_entropy"], input, target, reduction=reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of scores, computed without the sigmoid."""
    return record(REGISTRY["binary_cross_entropy_with_logits"], input, target, reduction=reduction)


def hinge_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """max(0, 1 - t·x) of scores x and targets t of -1 or 1; PyTorch has no such function."""
    return record(REGISTRY["hinge_loss"], input, target, reduction=reduction)


def multi_margin_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """Σ max(0, x_j - x_label + margin) over the other classes of scores [N, C], divided by C as PyTorch does."""
    losses = record(
        REGISTRY["multiclass_hinge_loss"], input, target, reduction=reduction, margin=float(margin)
    )
    return f.div(losses, f.size_number(input.type.shape[1], losses.type.dtype))


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction not in ("mean", "sum", "none"):
        raise UnsupportedError(f"reduction={reduction!r}", span=here(), fix='"mean", "sum" or "none"')
    return losses if reduction == "none" else f.mean(losses) if reduction == "mean" else f.sum(losses)


recording.entries(globals())
