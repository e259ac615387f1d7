"""Padding, in PyTorch's order of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import UnsupportedError
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here

if TYPE_CHECKING:
    from graphc.tensor import Tensor


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """PyTorch's padding: pairs (before, after), of the last axis first."""
    if mode != "constant":
        raise UnsupportedError(f"padding with mode={mode!r}", span=here(), fix='mode="constant"')
    pairs = [(int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=True)]
    return f.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], value)


recording.entries(globals())
