"""The manifest of an artefact: what it is, what it needs, and the hash of each of its files.

An artefact is untrusted data until its manifest was read strictly and every file's hash agrees.
Reading maps no code and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from graphc.errors import ArtefactError

FORMAT = 1
LARGEST = 1 << 20  # bytes of JSON
DEEPEST = 32
NAME = "manifest.json"
SEAL = "seal"


class UnsupportedFormat(ArtefactError):
    """The artefact was written by another version of graphc in a format this one does not read.

    Compile the model again, or upgrade graphc.
    """

    code = "GC0401"


class DamagedArtefact(ArtefactError):
    """A file of the artefact is missing, or is not the one that was written: its sha256 differs from the manifest's.

    Nothing of the artefact has been used.  Compile the model again, or copy the artefact again.
    """

    code = "GC0402"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output: its name, dtype and dimensions (integers, or expressions such as `N`)."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """See docs/artefact.md for each field.

    files: sha256 and size in bytes of every other file, by name.
    """

    format: int
    name: str
    graphc: str
    backend: str
    llvm: str
    abi: str
    triple: str
    cpu_features: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dims: Mapping[str, tuple[int, int | None]]
    arena_bytes_per_sample: int
    arena_bytes_fixed: int
    arena_bytes_by_unit: Mapping[str, int]
    arena: str
    flops: str
    numerics: str
    threads: int
    weights: str
    weights_deviation: str
    values: str
    packed_bytes: int
    files: Mapping[str, tuple[str, int]]

    def to_json(self) -> str:
        return sealed(asdict(self))


def sealed(content: Mapping[str, Any]) -> str:
    """The text of a manifest; `seal` is the sha256 of everything else in it.

    A wrong size of the workspace would let native code write where it must not, so a damaged manifest must not be
    mistaken for a good one.  The seal is no signature: whoever can write the folder can make it anew.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    return json.dumps({**rest, SEAL: _seal(rest)}, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` strictly.  Raises ArtefactError naming the file and the fault."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise ArtefactError(
            f"{folder} is not an artefact: cannot read {NAME}: {error.strerror}",
            fix="graphc compile MODEL -o PATH makes one",
        ) from None
    if len(text) > LARGEST:
        raise ArtefactError(f"{path}: larger than {LARGEST} bytes")
    return _manifest(_strict_json(text, path), path)


def check_files(folder: Path, manifest: Manifest, *, later: Collection[str] = ()) -> None:
    """Raise DamagedArtefact unless every file is there with its size and hash, and is a plain file.

    later: files whose hash the caller compares himself, in the memory he reads them into.
    """
    for name, (digest, size) in sorted(manifest.files.items()):
        path = folder / name
        try:
            if path.is_symlink() or not path.is_file():
                raise DamagedArtefact(f"{path} is missing or not a plain file")
            if path.stat().st_size != size:
                raise DamagedArtefact(f"{path} has {path.stat().st_size} bytes, the manifest says {size}")
            if name not in later and file_digest(path) != digest:
                raise DamagedArtefact(f"{path} was changed: its sha256 is not the manifest's")
        except OSError as error:
            raise DamagedArtefact(f"{path} cannot be read: {error.strerror}") from None


def checked_bytes(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The content of a file, compared with its hash after it was read: what is used is what was checked.

    Raises DamagedArtefact.
    """
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedArtefact(f"{path} cannot be read: {error.strerror}") from None
    check_digest(path, manifest, hashlib.sha256(content).hexdigest())
    return content


def check_digest(path: Path, manifest: Manifest, digest: str) -> None:
    """Raise DamagedArtefact unless this is the hash the manifest tells of."""
    if digest != manifest.files[path.name][0]:
        raise DamagedArtefact(f"{path} was changed: its sha256 is not the manifest's")


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _strict_json(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice")
        return found

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not a number")

    try:
        decoded = text.decode("utf-8")
        if _depth(decoded) > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")
        content = json.loads(decoded, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ArtefactError(f"{path} is not an object")
    return content


def _depth(text: str) -> int:
    """How deep brackets nest, strings aside; counted before parsing, which recurses."""
    deepest = depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _manifest(content: dict[str, Any], path: Path) -> Manifest:
    version = content.get("format")
    if version != FORMAT:
        raise UnsupportedFormat(
            f"{path.parent}: built by graphc {content.get('graphc', '?')} (format {version});"
            f" this one reads format {FORMAT}",
            fix="compile the model again, or upgrade graphc",
        )
    seal = content.pop(SEAL, None)
    if seal != _seal(content):
        raise DamagedArtefact(f"{path} was changed: its seal is not that of its content")
    expected = {field.name for field in fields(Manifest)}
    if content.keys() != expected:
        odd = sorted(content.keys() ^ expected)
        raise ArtefactError(f"{path}: {'unknown' if odd[0] in content else 'missing'} field {odd[0]!r}")
    try:
        return Manifest(
            format=FORMAT,
            **{key: _of(str, content[key]) for key in _TEXTS},
            **{key: _of(int, content[key]) for key in _COUNTS},
            cpu_features=tuple(_of(str, item) for item in _of(list, content["cpu_features"])),
            inputs=_ports(content["inputs"]),
            outputs=_ports(content["outputs"]),
            arena_bytes_by_unit={
                _of(str, k): _of(int, v) for k, v in _of(dict, content["arena_bytes_by_unit"]).items()
            },
            dims={_of(str, k): _range(v) for k, v in _of(dict, content["dims"]).items()},
            files={
                _file_name(k): (_of(str, v[0]), _of(int, v[1]))
                for k, v in _of(dict, content["files"]).items()
            },
        )
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ArtefactError(f"{path}: {error}") from None


_TEXTS = (
    "name", "graphc", "backend", "llvm", "abi", "triple", "arena", "flops", "numerics", "weights", "weights_deviation",
    "values",
)  # fmt: skip
_COUNTS = ("arena_bytes_per_sample", "arena_bytes_fixed", "threads", "packed_bytes")


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"expected {kind.__name__}, found {value!r:.80}")
    if isinstance(value, int) and not 0 <= value < 2**63:
        raise ValueError(f"{value} is out of range")
    return value


def _ports(items: Any) -> tuple[Port, ...]:
    ports = []
    for item in _of(list, items):
        if _of(dict, item).keys() != {"name", "dtype", "dims"}:
            raise ValueError(f"not a port: {item!r:.80}")
        dims = tuple(_of(int, d) if isinstance(d, int) else _of(str, d) for d in _of(list, item["dims"]))
        ports.append(Port(_of(str, item["name"]), _of(str, item["dtype"]), dims))
    return tuple(ports)


def _range(value: Any) -> tuple[int, int | None]:
    low, high = _of(list, value)
    return _of(int, low), None if high is None else _of(int, high)


def _file_name(name: Any) -> str:
    if (
        not isinstance(name, str)
        or not name
        or name.startswith(".")
        or "/" in name
        or "\\" in name
        or "\0" in name
    ):
        raise ValueError(f"{name!r:.80} is not the name of a file in the artefact")
    return name
