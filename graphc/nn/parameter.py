"""Parameter: a tensor that training changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.tensor import Tensor


class Parameter(Tensor):
    """A tensor of data that requires a gradient, as an attribute of a Module one of its parameters.

    Python's numbers become float32, the dtype of all layers; arrays and tensors keep theirs.

    >>> Parameter([1.0, 2.0])
    tensor([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, name: str = ""):
        if isinstance(data, (float, list, tuple)):
            data = np.asarray(data, np.float32)
        super().__init__(data, requires_grad, name)
