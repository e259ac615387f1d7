"""Weights on disk: safetensors and npz.  Data only; nothing is ever unpickled.

safetensors: an 8-byte length, a JSON header, and the arrays one after the other
(https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np

from graphc.atomic import write_file
from graphc.errors import WeightsError, nearest
from graphc.ir.types import dtype_of

STORED = ("fp16", "int8")  # how native code may store the weights of matrix products, besides as they are


def load_weights(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a `.safetensors` or `.npz` file by name.  Raises WeightsError."""
    file = Path(path)
    if file.suffix not in (".safetensors", ".npz"):
        raise WeightsError(
            f"{file}: weights are .safetensors or .npz files",
            fix='convert it where it was written: safetensors.torch.save_file(model.state_dict(), "m.safetensors")',
        )
    try:
        return _read_safetensors(file) if file.suffix == ".safetensors" else _read_npz(file)
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}") from None


def save_weights(path: str | PathLike[str], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays by name, atomically and with the same bytes every time; the suffix chooses the format."""
    file = Path(path)
    ordered = {
        name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape) for name in sorted(arrays)
    }
    if file.suffix == ".safetensors":
        from safetensors.numpy import save

        write_file(file, save(ordered))
    elif file.suffix == ".npz":
        write_file(file, npz_bytes(ordered))
    else:
        raise WeightsError(f"{file}: weights are .safetensors or .npz files")
    return file


def safetensors_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a safetensors file."""
    from safetensors.numpy import save

    return bytes(save(_ordered(arrays)))


def _ordered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape) for name in sorted(arrays)}


def check_weights(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], source: str, *, strict: bool = True
) -> dict[str, np.ndarray]:
    """The arrays for the names in `wanted`, after checking names, shapes and dtypes.

    With `strict`, every name must be there and no other.  Floating-point arrays of another precision are refused:
    convert them where you want that to happen.
    """
    missing = [name for name in wanted if name not in arrays]
    unknown = [name for name in arrays if name not in wanted]
    if strict and (missing or unknown):
        rows = [(name, "missing", _hint(name, unknown)) for name in missing[:8]]
        rows += [(name, "not in the model", _hint(name, missing)) for name in unknown[:8]]
        count = f"{len(missing)} missing, {len(unknown)} unknown"
        raise WeightsError(
            f"{source}: names are not the model's: {count}", facts=rows, fix="strict=False loads what fits"
        )
    found = {}
    for name, target in wanted.items():
        if name not in arrays:
            continue
        array = np.asarray(arrays[name])
        if array.shape != target.shape or array.dtype != target.dtype:
            have, need = (f"{dtype_of(a)}{list(a.shape)}" for a in (array, target))
            raise WeightsError(f"{source}: {name} is {have}, the model has {need}")
        found[name] = array
    return found


def _hint(name: str, others: list[str]) -> str:
    return nearest(name, others).removeprefix("; ")


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = file.read_bytes()
    if content.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{file} is a Git LFS pointer, not the weights", fix="git lfs pull")
    try:
        arrays = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{file} is not a safetensors file: {error}") from None
    return {name: arrays[name] for name in sorted(arrays)}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    with file.open("rb") as opened:
        try:
            arrays = read_numpy(opened)
        except ValueError as error:
            raise WeightsError(f"{file} is not an npz file of plain arrays: {error}") from None
    if isinstance(arrays, np.ndarray):
        raise WeightsError(f"{file} holds one array without a name, not an npz file")
    return arrays


# What NumPy's reader, the zip reader below it and the literal parser of array headers raise on damaged files.
_DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, EOFError, MemoryError, RuntimeError, OSError,
    AttributeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_numpy(file: IO[bytes]) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or the arrays of a .npz file by name, in the order of the names.

    Object arrays, which would be unpickled, are refused.  Whatever is wrong with the bytes is a ValueError.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        return {name: np.asarray(loaded[name]) for name in sorted(loaded.files)}
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz with no time stamps, so that equal arrays give equal bytes."""
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return blob.getvalue()
