"""Parameter: a tensor that training changes."""

from __future__ import annotations

from typing import Any

from graphc.tensor import Tensor


class Parameter(Tensor):
    """A tensor of data that requires a gradient, as an attribute of a Module one of its parameters.

    >>> Parameter([1.0, 2.0])
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, name: str = ""):
        super().__init__(data, requires_grad, name)
