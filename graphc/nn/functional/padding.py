"""Padding, in PyTorch's order of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphc.errors import ShapeError, UnsupportedError
from graphc.tensor import functions as f
from graphc.tensor import recording
from graphc.tensor.recording import here, open_trace

if TYPE_CHECKING:
    from graphc.tensor import Tensor

MODES = {"constant": "", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's names and those of the op `extend`."""


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0) -> Tensor:
    """PyTorch's padding: pairs (before, after), of the last axis first.

    mode   "constant" puts `value` there, "reflect" mirrors without the edge (dcb|abcd|cba), "replicate" repeats the
           edge (aaa|abcd|ddd), "circular" goes on at the other end (bcd|abcd|abc)

    Raises ShapeError where an axis is too short to be mirrored or gone around.

    >>> from graphc import tensor
    >>> import graphc.nn.functional as F
    >>> F.pad(tensor([1, 2, 3]), (2, 1), mode="reflect").tolist()
    [3, 2, 1, 2, 3, 2]
    """
    if mode not in MODES:
        raise UnsupportedError(f"padding with mode={mode!r}", span=here(), fix=", ".join(map(repr, MODES)))
    pairs = [(int(a), int(b)) for a, b in zip(pad[::2], pad[1::2], strict=True)]
    if len(pairs) > x.ndim:
        raise ShapeError(f"padding of {len(pairs)} axes", span=here(), facts=f.fact(x))
    if mode == "constant":
        return f.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], value)
    for i, (before, after) in enumerate(pairs):
        _check(x, x.ndim - 1 - i, before, after, mode)
    return f.extend(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], MODES[mode])


def _check(x: Tensor, axis: int, before: int, after: int, mode: str) -> None:
    """An axis can go on by its own elements only where it has enough of them."""
    if min(before, after) < 0:
        raise UnsupportedError(f"padding by {before} and {after} with mode={mode!r}", span=here())
    size: Any = x.type.shape[axis]
    most = max(before, after)
    if not most:
        return
    least = {"reflect": most + 1, "replicate": 1, "circular": most}[mode]
    trace = open_trace()
    if size < least if isinstance(size, int) else trace is None or not trace.require(size, least):
        raise ShapeError(
            f"padding by {most} with mode={mode!r} needs an axis of at least {least} elements",
            span=here(),
            facts=f.fact(x),
        )


recording.entries(globals())
