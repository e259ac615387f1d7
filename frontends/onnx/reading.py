"""Reading the file: untrusted bytes become a ModelProto within stated limits, external data included.

A model is data.  Nothing in it is run, and no file is opened that is not a plain file inside the model's folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from graphc.frontends.onnx.errors import OnnxError, OnnxLimitError
from graphc.frontends.onnx.tensors import array_of, check_bytes

MAX_FILE = (2 << 30) - 1  # what protobuf itself can hold
MAX_NODES = 1_000_000
MAX_FUNCTIONS = 10_000
MAX_DEPTH = 24
MAX_NAME = 1024

_NOT_ONNX = (
    (b"version https://git-lfs", "it is a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (b"PK\x03\x04", "it is a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "it is compressed by gzip", "unpack it first"),
    (b"<!DOCTYPE", "it is a web page", "the download gave an error page; fetch the file itself"),
    (b"<html", "it is a web page", "the download gave an error page; fetch the file itself"),
    (b"\x89HDF", "it is an HDF5 file", ""),
)


def read_model(path: str | PathLike[str]) -> ModelProto:
    """The model in a file.  Raises OnnxError when it is not one."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise OnnxLimitError(f"{path.name} has {size / 1e9:.3g} GB; an ONNX file has at most 2 GiB")
        data = path.read_bytes()
    except OSError as error:
        raise OnnxError(f"{path} cannot be read: {error.strerror}") from None
    return parse_model(data, path.name)


def parse_model(data: bytes, name: str) -> ModelProto:
    """The model in bytes.  Raises OnnxError when they are not one."""
    if not data:
        raise OnnxError(f"{name} is not an ONNX model: it is empty")
    for start, cause, fix in _NOT_ONNX:
        if data.startswith(start):
            raise OnnxError(f"{name} is not an ONNX model", cause=cause, fix=fix)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise OnnxError(f"{name} is not an ONNX model", cause="its bytes are no protobuf message") from None
    if not model.HasField("graph"):
        raise OnnxError(f"{name} is not an ONNX model: it holds no graph")
    check_limits(model)
    return model


def check_limits(model: ModelProto) -> None:
    """Raise OnnxLimitError for more nodes, functions, nesting or longer names than are allowed."""
    if len(model.functions) > MAX_FUNCTIONS:
        raise OnnxLimitError(f"the model has {len(model.functions)} functions; {MAX_FUNCTIONS} are allowed")
    check_names(item.domain for item in model.opset_import)
    nodes = 0
    stack: list[tuple[GraphProto | FunctionProto, int]] = [
        (model.graph, 0),
        *((f, 0) for f in model.functions),
    ]
    while stack:
        part, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise OnnxLimitError(f"subgraphs are nested more than {MAX_DEPTH} deep")
        nodes += len(part.node)
        if nodes > MAX_NODES:
            raise OnnxLimitError(f"the model has more than {MAX_NODES} nodes")
        for node in part.node:
            check_names([node.name, node.op_type, node.domain, *node.input, *node.output])
            check_names(name for a in node.attribute for name in (a.name, a.ref_attr_name))
            stack += [(graph, depth + 1) for graph in subgraphs(node)]
        if isinstance(part, GraphProto):
            check_names([part.name])
            for value in (*part.input, *part.output):
                check_names([value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim)])
            for tensor in part.initializer:
                check_names([tensor.name])
                check_names(text for entry in tensor.external_data for text in (entry.key, entry.value))
        else:
            check_names([part.name, part.domain, *part.input, *part.output, *part.attribute])
            check_names(item.domain for item in part.opset_import)


def check_names(names: Iterable[object]) -> None:
    """Raise OnnxError for a name that is no text, OnnxLimitError for one that is too long."""
    for name in names:
        if not isinstance(name, str):  # protobuf gives the bytes of what is no UTF-8
            raise OnnxError(f"a name is no UTF-8 text: {name!r:.60}")
        if len(name) > MAX_NAME or len(name.encode(errors="replace")) > MAX_NAME:
            raise OnnxLimitError(f"a name is longer than the {MAX_NAME} bytes allowed: {name[:40]!r}...")


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


class Folder:
    """Where external data may stand: the model's own folder, and nothing outside of it.

    Each part of a location is opened by itself, without following a link, so that neither `..`, an absolute path nor
    a symbolic link leads out; hard links and special files are refused.
    """

    def __init__(self, path: Path | None):
        self.path = path

    def array(self, tensor: TensorProto, what: str) -> np.ndarray:
        """The array of a tensor, read from its file when it is external.  Raises OnnxError."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return array_of(tensor, what)
        entries = {entry.key: entry.value for entry in tensor.external_data}
        unknown = sorted(entries.keys() - {"location", "offset", "length", "checksum"})
        if unknown or len(entries) != len(tensor.external_data):
            raise OnnxError(
                f"the external data of {what} has a key too many: {(unknown or ['twice the same'])[0]!r}"
            )
        if self.path is None:
            raise OnnxError(
                f"{what} stands in another file, and a model given as an object has no folder",
                fix="load the model by its path",
            )
        return array_of(tensor, what, self._bytes(entries, what))

    def _bytes(self, entries: dict[str, str], what: str) -> bytes:
        assert self.path is not None
        location = entries.get("location", "")
        offset, length = (_number(entries, key, what) for key in ("offset", "length"))
        descriptor = self._open(location, what)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            os.close(descriptor)
            raise OnnxError(f"the external data of {what} is no plain file of its own: {location!r}")
        with os.fdopen(descriptor, "rb") as file:
            start = offset or 0
            count = facts.st_size - start if length is None else length
            if count < 0 or start + count > facts.st_size:
                raise OnnxError(
                    f"the external data of {what} ends at byte {start + max(count, 0)}; "
                    f"{location!r} has {facts.st_size}"
                )
            check_bytes(count, what)
            file.seek(start)
            return file.read(count)

    def _open(self, location: str, what: str) -> int:
        assert self.path is not None
        parts = location.split("/")
        if not location or "\\" in location or "\0" in location or any(p in ("", ".", "..") for p in parts):
            raise OnnxError(
                f"the external data of {what} must be a file inside the model's folder, not {location!r}"
            )
        opened = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for position, part in enumerate(parts):
                last = position == len(parts) - 1
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if last else os.O_DIRECTORY)
                inner = os.open(part, flags, dir_fd=opened)
                os.close(opened)
                opened = inner
        except OSError as error:
            os.close(opened)
            raise OnnxError(
                f"the external data of {what} cannot be read: {location!r}: {error.strerror}"
            ) from None
        return opened


def _number(entries: dict[str, str], key: str, what: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise OnnxError(
            f"the external data of {what} has the {key} {text[:40]!r}, which is no number of bytes"
        )
    return int(text)
