"""What the functions of a compiled model return, and the handle they take: all a caller in Python needs of the C
interface.
"""

import ctypes
from enum import IntEnum

from graphc.backends.llvm.signature import Signature
from graphc.errors import ArgumentShapeError, ArtefactError, GraphcError, HostMismatchError, InternalError

HANDLE = 64
PREAMBLE = 64  # bytes of the weights file before what native code reads


class Status(IntEnum):
    """What the functions return. From 64 on: the processor lacks feature number `status - 64` of the list."""

    OK = 0
    NULL = 1
    SIZE = 2
    ALIGNMENT = 3
    OPEN = 4
    LENGTH = 5
    MAP = 6
    CONTENT = 7
    MEMORY = 8
    HOST = 64


FAULT = 256  # from here on: what can go wrong inside the model, as an index out of range


def make_handle(weights: int, packed: int = 0, team: int = 0) -> ctypes.Array[ctypes.c_int64]:
    """A handle made in Python, for code that was not opened from a file; keep it as long as the code runs.

    team: the threads the code may use (`team.process_team`), 0 for none.
    """
    return (ctypes.c_int64 * (HANDLE // 8))(weights, packed, 0, 0, team)


def messages(signature: Signature, features: tuple[str, ...]) -> dict[int, str]:
    """The text of every status."""
    ranges = ", ".join(f"{name} must be from {low} to {high}" for name, (low, high) in ranges_of(signature))
    texts = {
        Status.OK: "no error",
        Status.NULL: "a pointer is null",
        Status.SIZE: ranges if signature.is_open else "all sizes are fixed: pass 1",
        Status.ALIGNMENT: "an array is not aligned to its element, or the workspace not to 64 bytes",
        Status.OPEN: "the weights file cannot be opened",
        Status.LENGTH: f"the weights file does not have the length {signature.name} was compiled with",
        Status.MAP: "the weights file cannot be mapped into memory",
        Status.CONTENT: f"the weights file is not the one {signature.name} was compiled with, or it is damaged",
        Status.MEMORY: "out of memory",
    }
    lacking = "this processor does not have {}, for which {} was compiled"
    return {int(k): v for k, v in texts.items()} | {
        Status.HOST + i: lacking.format(feature, signature.name) for i, feature in enumerate(features)
    }


def status_error(signature: Signature, features: tuple[str, ...], status: int) -> GraphcError:
    """The exception for a status, for `call.bind`."""
    text = messages(signature, features).get(status, f"unknown status {status}")
    message = f"{signature.name}: {text}"
    match status:
        case Status.SIZE | Status.NULL | Status.ALIGNMENT:
            return ArgumentShapeError(message)
        case Status.OPEN | Status.LENGTH | Status.MAP | Status.CONTENT:
            return ArtefactError(
                message, fix="compile the model again, or give the weights it was compiled with"
            )
        case _ if Status.HOST <= status < Status.HOST + len(features):
            return HostMismatchError(message, fix="compile it on this machine, or with --cpu x86-64-v2")
        case _:
            return InternalError(message)


def ranges_of(signature: Signature) -> list[tuple[str, tuple[int, int]]]:
    """The values each symbolic dimension may take."""
    return [(name, signature.range_of(name) if signature.is_open else (1, 1)) for name in signature.symbols]
