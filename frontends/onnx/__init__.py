"""The ONNX frontend: a model file becomes a graph, like any other model.

The `onnx` package reads the file; everything else, shapes above all, is worked out here and trusted only then.
It needs the extra `graphc[onnx]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import MissingToolError

if TYPE_CHECKING:
    from onnx import ModelProto

    from graphc.frontends.onnx.reading import Folder
    from graphc.ir.graph import Graph
    from graphc.ir.types import TensorType

__all__ = ["OnnxModel", "is_onnx", "load", "read", "with_results"]


@dataclass
class OnnxModel:
    """A model that was read, and becomes a graph, or several: one for each set of values that its shapes depend on."""

    proto: ModelProto
    folder: Folder
    file: str
    name: str
    types: Mapping[str, TensorType]
    arrays: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # its tensors, read once and shared by all graphs

    def graph(self, values: Mapping[str, Any] | None = None) -> Graph:
        """The graph in which inputs have these values.  Raises what `load` raises."""
        from graphc.frontends.onnx.importer import Importer
        from graphc.passes.dce import dce

        importer = Importer(
            self.proto,
            self.folder,
            name=self.name,
            file=self.file,
            types=self.types,
            given=dict(values or {}),
            arrays=self.arrays,
        )
        return dce(importer.run(), parameters=True)[0]


def is_onnx(model: Any) -> bool:
    """Whether this is an ONNX model, or the path of one."""
    if isinstance(model, (str, PathLike)):
        return Path(model).suffix == ".onnx"
    kind = type(model)
    return (
        isinstance(model, OnnxModel) or kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx")
    )


def read(
    model: str | PathLike[str] | bytes | Any,
    *,
    name: str = "",
    inputs: Mapping[str, str | TensorType] | None = None,
) -> OnnxModel:
    """Read a model, and check what does not need its graph.  Arguments and errors are those of `load`."""
    if isinstance(model, OnnxModel):
        return model
    try:
        from onnx import ModelProto
    except ImportError:
        raise MissingToolError(
            "reading an ONNX model needs the package onnx", fix="pip install 'graphc[onnx]'"
        ) from None
    from graphc.frontends.onnx.reading import Folder, check_limits, parse_model, read_model
    from graphc.ir.types import parse_type

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
    return OnnxModel(proto, Folder(folder), file, name or proto.graph.name or "model", types)


def load(
    model: str | PathLike[str] | bytes | Any,
    *,
    name: str = "",
    inputs: Mapping[str, str | TensorType] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Graph:
    """The graph of an ONNX model: a path, the bytes of a file, or an `onnx.ModelProto`.

    name     name of the graph; by default the file's
    inputs   types by name, as {"x": "float32[N,3,224,224]"}, in place of those the file declares
    values   inputs that become constants, by name: those a shape depends on.  `graphc.compile` needs none: it compiles
             for the values of each call, and keeps what it compiled

    Floating-point initializers become parameters under their own names, other tensors constants.  Sizes that the model
    names (`dim_param`) stay open.  Opsets 1 to the newest the `onnx` package knows are read.

    Raises OnnxError when it is no valid model, OnnxLimitError when it asks for too much, UnsupportedOperator for
    what graphc has not, NeedsValue when a shape depends on an input's value; MissingToolError without `onnx`.
    """
    return read(model, name=name, inputs=inputs).graph(values)


def with_results(path: Path, graph: Graph) -> tuple[bytes, list[str]]:
    """The model with every result that its graph still names as an output, and the graph's names for them."""
    from onnx import ValueInfoProto

    from graphc.ir.builder import plain_name

    values = {value.name for node in graph.nodes for value in node.outputs}
    proto = read(path).proto
    results = {plain_name(name): name for node in proto.graph.node for name in node.output if name}
    kept = {ours: theirs for ours, theirs in results.items() if ours in values}
    del proto.graph.output[:]
    proto.graph.output.extend(ValueInfoProto(name=name) for name in kept.values())
    data: bytes = proto.SerializeToString()
    return data, list(kept)
