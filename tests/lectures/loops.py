"""PyTorch's names, and `scan`, which it lacks and a network of the lectures uses, as a plain loop."""

from collections.abc import Callable
from typing import Any


def scan(body: Callable[..., Any], init: Any, xs: Any, unroll: bool = False) -> Any:
    """The last state of `state, _ = body(state, x)` over the first axis; what a step returns besides is not kept."""
    state = init
    for x in xs:
        state, _ = body(state, x)
    return state, None


def __getattr__(name: str) -> Any:
    import torch

    return getattr(torch, name)
