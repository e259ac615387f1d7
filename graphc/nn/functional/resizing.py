"""Images and sequences of another size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import UnsupportedError
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> Tensor:
    """PyTorch's resizing of x[N, C, ...]: nearest, nearest-exact, linear, bilinear or bicubic."""
    rank = x.ndim - 2
    modes = {"nearest": 0, "nearest-exact": 0, "linear": 1, "bilinear": 2, "bicubic": 2}
    if mode not in modes or modes[mode] not in (0, rank) or (size is None) == (scale_factor is None):
        raise UnsupportedError(
            f"interpolate of {rank} spatial axes with mode={mode!r}, size={size}, scale_factor={scale_factor}",
            span=here(),
            fix='a size or a scale_factor; mode "nearest", "linear" for 1 axis, "bilinear" or "bicubic" for 2',
        )
    factors: tuple[Any, ...] = ()
    if size is None:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * rank
        size = [int(f.count((n,)) * s) for n, s in zip(x.shape[2:], factors, strict=True)]
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * rank
    if mode.startswith("nearest"):
        exact = mode == "nearest-exact"
        how = {"coordinates": "half_pixel" if exact else "asymmetric"}
        how["nearest"] = "round_prefer_ceil" if exact else "floor"
    else:
        how = {"mode": "cubic" if mode == "bicubic" else "linear"}
        how["coordinates"] = "align_corners" if align_corners else "half_pixel"
    scales = {} if align_corners or not factors else {"scales": tuple(float(s) for s in factors)}
    return f.resize(x, range(2, x.ndim), sizes, **how, **scales)


recording.entries(globals())
