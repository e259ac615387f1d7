"""The ONNX backend: a graph becomes an ONNX model.  It needs the extra `graphc[onnx]`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from graphc.errors import MissingToolError, UsageError

if TYPE_CHECKING:
    import onnx

    from graphc.ir.graph import Graph

__all__ = ["OPSET", "export", "to_onnx"]

OPSET = 18
"""The operators of early 2023, which every current reader knows."""
NEWEST = 22


def to_onnx(graph: Graph, opset: int = OPSET) -> onnx.ModelProto:
    """The ONNX model of a graph; its arrays stand inside.

    Composites that ONNX has stay whole, the others are expanded.  Names of inputs and outputs are the graph's; sizes
    left open are `dim_param`s.

    A newer opset than 18 makes less of some operators, as of GELU (20).

    Raises UnsupportedError for an op ONNX cannot express; MissingToolError without the package `onnx`.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingToolError(
            "writing ONNX needs the package onnx", fix="pip install 'graphc[onnx]'"
        ) from None
    from graphc.backends.onnx.writer import written

    if not OPSET <= opset <= NEWEST:
        raise UsageError(f"opset {opset} cannot be written", fix=f"choose {OPSET} to {NEWEST}")
    return written(graph, opset)


def export(graph: Graph, path: str | PathLike[str], opset: int = OPSET) -> None:
    """Write the ONNX model of a graph to a file; arrays of more than 2 GB in all stand in `NAME.data` beside it.

    The file is written under another name first, so that a failure leaves what was there.
    """
    from graphc.backends.onnx.files import write_model

    write_model(to_onnx(graph, opset), Path(path))
