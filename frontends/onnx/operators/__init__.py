"""The operators of ONNX, one file a family.  Importing a file declares its handlers."""

from graphc.frontends.onnx.operators import (  # noqa: F401
    activation,
    arithmetic,
    control,
    convolution,
    indexing,
    linear,
    movement,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    selection,
)
from graphc.frontends.onnx.operators.registry import HANDLERS, onnx_operator

__all__ = ["HANDLERS", "onnx_operator"]
