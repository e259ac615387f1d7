"""The weights of an artefact: one safetensors file for native code, NumPy source and people.

The first tensor, `graphc.native`, holds the arrays as the code reads them: a preamble that names their layout and
seals the content (`c_api.preamble`), then packed panels and folded constants at offsets that are multiples of 64. The
user's own arrays follow under their names. The header is filled up with spaces, so that the file can be mapped and used
in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.llvm.c_api import preamble
from graphc.backends.llvm.status import PREAMBLE

NATIVE = "graphc.native"
ALIGNMENT = 64
_TYPES = {
    "float32": "F32", "float64": "F64", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The form of a weights file, without its numbers.

    header   the bytes before the first tensor
    native   bytes of the arrays native code reads, without their preamble
    names    the user's arrays, in the order of the file
    length   of the whole file
    """

    header: bytes
    native: int
    names: tuple[str, ...]
    length: int

    @property
    def offset(self) -> int:
        """Where the preamble stands; what native code reads begins `PREAMBLE` bytes later."""
        return len(self.header)

    def content(self, native: np.ndarray, arrays: Mapping[str, np.ndarray], identity: int) -> bytes:
        """The file for these numbers."""
        parts = [native.tobytes()] + [np.ascontiguousarray(arrays[name]).tobytes() for name in self.names]
        rest = b"".join(parts)
        return self.header + preamble(identity, rest) + rest


def weights_file(native: int, arrays: Mapping[str, np.ndarray]) -> WeightsFile:
    """The form of the file for so many bytes of native arrays and the user's arrays."""
    entries: dict[str, dict[str, object]] = {}
    position = _add(entries, NATIVE, "U8", [PREAMBLE + native], 0, PREAMBLE + native)
    names: Sequence[str] = sorted(arrays)
    for name in names:
        array = arrays[name]
        position = _add(entries, name, _TYPES[array.dtype.name], list(array.shape), position, array.nbytes)
    text = json.dumps(entries, separators=(",", ":")).encode()
    padded = text.ljust(-(-(len(text) + 8) // ALIGNMENT) * ALIGNMENT - 8)
    header = len(padded).to_bytes(8, "little") + padded
    return WeightsFile(header, native, tuple(names), len(header) + position)


def _add(
    entries: dict[str, dict[str, object]], name: str, kind: str, shape: list[int], start: int, size: int
) -> int:
    entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
    return start + size
