"""What can be wrong with an ONNX model, by kind."""

from __future__ import annotations

from typing import Any

from graphc.errors import ModelError, UnsupportedError
from graphc.ir.types import TensorType


class OnnxError(ModelError):
    """The file is no ONNX model, or not a valid one.

    The file is data and is not trusted: sizes, names, attributes and references are checked before anything is
    computed.  The message names the node by its number and name, and what is wrong with it.
    """

    code = "GC0320"


class OnnxLimitError(OnnxError):
    """The model is valid but asks for more memory, nodes or depth than graphc gives to a file it does not trust.

    A file of a hundred bytes can ask for a tensor of terabytes, so sizes are worked out before memory is taken.
    """

    code = "GC0321"


class UnsupportedOperator(UnsupportedError):
    """The model uses an operator, an element type or a mode of an operator that graphc does not have.

    It is refused before anything runs; the message names operator, element type and opset.
    """

    code = "GC0510"


class NeedsValue(UnsupportedError):
    """A shape in the model depends on the value of an input, which is known only when the model runs.

    graphc's graphs are static: a shape may hold open sizes, not the contents of a tensor.  What
    `graphc.compile("model.onnx")` gives compiles for the values of a call when it comes, and so does `graphc run`.
    Elsewhere give the value beforehand, `--value shape=2,3` or `load("model.onnx", values={"shape": [2, 3]})`, and it
    becomes part of the graph.

    inputs   the names of the inputs whose values are needed
    types    the types of all inputs of the model
    """

    code = "GC0511"

    def __init__(self, message: str, *, inputs: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.inputs = inputs
        self.types: dict[str, TensorType] = {}
