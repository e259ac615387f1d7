"""The ONNX frontend: a model file becomes a graph, like any other model.

The `onnx` package reads the file; everything else, shapes above all, is worked out here and trusted only then.
It needs the extra `graphc[onnx]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import MissingToolError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.ir.types import TensorType

__all__ = ["load"]


def load(
    model: str | PathLike[str] | bytes | Any,
    *,
    name: str = "",
    inputs: Mapping[str, str | TensorType] | None = None,
    values: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """The graph of an ONNX model: a path, the bytes of a file, or an `onnx.ModelProto`.

    name     name of the graph; by default the file's
    inputs   types by name, as {"x": "float32[N,3,224,224]"}, in place of those the file declares
    values   inputs that become constants, by name: those a shape depends on

    Floating-point initializers become parameters under their own names, other tensors constants.  Sizes that the model
    names (`dim_param`) stay open.  Opsets 1 to the newest the `onnx` package knows are read.

    Raises OnnxError when it is no valid model, OnnxLimitError when it asks for too much, UnsupportedOperator for
    what graphc has not, NeedsValue when a shape depends on an input's value; MissingToolError without `onnx`.
    """
    try:
        from onnx import ModelProto
    except ImportError:
        raise MissingToolError(
            "reading an ONNX model needs the package onnx", fix="pip install 'graphc[onnx]'"
        ) from None
    from graphc.frontends.onnx.importer import Importer
    from graphc.frontends.onnx.reading import Folder, check_limits, parse_model, read_model
    from graphc.ir.types import parse_type
    from graphc.passes.dce import dce

    if isinstance(model, ModelProto):
        check_limits(model)
        proto, folder, file = model, None, name or "the model"
    elif isinstance(model, bytes):
        proto, folder, file = parse_model(model, name or "the model"), None, name or "the model"
    else:
        path = Path(model)
        proto, folder, file = read_model(path), path.resolve().parent, path.name
        name = name or path.stem
    types = {key: parse_type(t) if isinstance(t, str) else t for key, t in (inputs or {}).items()}
    types = {key: parse_type(t) if isinstance(t, str) else t for key, t in (inputs or {}).items()}
    graph = Importer(
        proto,
        Folder(folder),
        name=name or proto.graph.name or "model",
        file=file,
        types=types,
        given=dict(values or {}),
    ).run()
    return dce(graph, parameters=True)[0]
