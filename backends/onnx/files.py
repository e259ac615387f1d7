"""Writing a model: one file, or two when its arrays do not fit into one."""

from __future__ import annotations

from pathlib import Path

import onnx

from graphc.atomic import write_file

INSIDE = 1 << 31  # what protobuf can hold, less room for the nodes
ROOM = 1 << 24


def write_model(model: onnx.ModelProto, path: Path, *, inside: int = INSIDE - ROOM) -> None:
    """Write the model; arrays stand in `NAME.data` when there are more bytes of them than `inside`."""
    total = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if total <= inside:
        write_file(path, model.SerializeToString(deterministic=True))
        return
    beside = path.with_name(path.name + ".data")
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    blocks: list[bytes] = []
    offset = 0
    for tensor in kept.graph.initializer:
        data = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", beside.name), ("offset", str(offset)), ("length", str(len(data)))):
            tensor.external_data.add(key=key, value=value)
        blocks.append(data)
        offset += len(data)
    write_file(beside, b"".join(blocks))
    write_file(path, kept.SerializeToString(deterministic=True))
