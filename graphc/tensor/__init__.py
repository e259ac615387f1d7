"""Tensors, and the recording of what is done with them."""

from graphc.tensor.recording import Recording, open_trace, record
from graphc.tensor.tensor import Tensor, tensor

__all__ = ["Recording", "Tensor", "open_trace", "record", "tensor"]
