"""The artefact: a folder with everything needed to run a model without graphc, LLVM or any run-time library.

    manifest.json        what it is; sha256 of every other file
    NAME.so NAME.o       native code; the library where the system has a linker
    NAME.h example.c     how to call it from C
    NAME.py              the same model as NumPy source
    weights.safetensors  the arrays, packed for the native code and under the user's names
    graph.gir            the graph as traced

It appears whole or not at all, and nothing of it is used before every hash agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc import __version__, atomic
from graphc.errors import ArgumentShapeError, ArtefactError, UsageError
from graphc.executable import input_order
from graphc.ir.dims import Dim, parse_dim, symbols_of
from graphc.manifest import (
    FORMAT,
    NAME,
    DamagedArtefact,
    Manifest,
    Port,
    check_digest,
    check_files,
    checked_bytes,
    file_digest,
    read_manifest,
)

if TYPE_CHECKING:
    from graphc.backends.llvm.signature import Signature
    from graphc.executable import Executable
    from graphc.ir.graph import Graph

WEIGHTS = "weights.safetensors"
GRAPH = "graph.gir"
NATIVE = ("so", "o", "h")
KINDS = ("so", "o", "ll", "asm", "py", "h")
DEFAULT = ("so", "o", "py", "h")


def save(
    executable: Executable, path: Path, *, emit: Sequence[str] | None = None, pictures: bool = False
) -> tuple[str, ...]:
    """Write the artefact of a compiled model; returns notes: what could not be written, and what would change that.

    emit      which of so, o, ll, asm, py, h; manifest, graph and weights are always there
    pictures  also forward.svg, and joint.svg with the gradients

    Raises OutputError when the folder cannot be written or holds something else; what was there stays then.
    """
    kinds = DEFAULT if emit is None else tuple(emit)
    if executable.native is None:
        kinds = tuple(kind for kind in kinds if kind == "py") if emit is None else kinds
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"an artefact has no {unknown[0]!r}", fix=f"it has {', '.join(KINDS)}")
    files, notes = _files(executable, kinds)
    with atomic.folder(path, ours=lambda old: (old / NAME).is_file()) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if pictures:
            notes += _draw(executable, folder)
        digests = {each.name: (file_digest(each), each.stat().st_size) for each in sorted(folder.iterdir())}
        (folder / NAME).write_text(_manifest(executable, digests).to_json(), encoding="utf-8")
    return notes


def _files(executable: Executable, kinds: Sequence[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    name = file_name(executable)
    files = {GRAPH: _gir(executable.graph).encode()}
    notes: tuple[str, ...] = ()
    if "py" in kinds:
        files[f"{name}.py"] = executable.numpy_source.encode()
    native = executable.native
    if native is None:
        from graphc.weights import safetensors_bytes

        if executable.graph.data:
            files[WEIGHTS] = safetensors_bytes(executable.graph.data)
        return files, notes
    weights = native.weights_file()
    if weights:
        files[WEIGHTS] = weights
    if "o" in kinds:
        files[f"{name}.o"] = native.image
    if "so" in kinds:
        from graphc.backends.llvm import cache
        from graphc.backends.llvm.aot import link_shared, python_side
        from graphc.backends.llvm.c_api import exported_names

        signature = native.facts.signature
        sizes = len(signature.inputs), len(signature.outputs)
        helpers, names = python_side(native.target, *sizes, cache.default())
        exports = [*exported_names(signature), *names]
        library = link_shared([native.image, *helpers], name, exports, native.target.triple)
        if library.image is None:
            notes += (library.note,)
            files[f"{name}.o"] = native.image
        else:
            files[f"{name}.so"] = library.image
    if "h" in kinds:
        from graphc.backends.llvm.header import example, header

        files[f"{name}.h"] = header(native.facts.signature).encode()
        files["example.c"] = example(native.facts.signature).encode()
    if "ll" in kinds:
        files[f"{name}.ll"] = executable.llvm_ir.encode()
    if "asm" in kinds:
        files[f"{name}.s"] = executable.assembly.encode()
    return files, notes


def _gir(graph: Graph) -> str:
    """The graph as text; files by name only, so that no folder of this machine stands in it."""
    from dataclasses import replace

    from graphc.ir.graph import Node
    from graphc.ir.printer import print_graph

    def plain(node: Node) -> Node:
        span = node.provenance.span
        if span is None:
            return node
        where = node.provenance.with_(span=replace(span, file=Path(span.file).name))
        names = tuple(v.name for v in node.outputs)
        return Node(node.op, node.inputs, node.attributes, tuple(v.type for v in node.outputs), names, where)

    return print_graph(graph.with_(nodes=tuple(plain(n) for n in graph.nodes)), provenance=True) + "\n"


def _draw(executable: Executable, folder: Path) -> tuple[str, ...]:
    from graphc.errors import MissingToolError
    from graphc.pipeline import gradient_graph
    from graphc.view import render

    try:
        render(executable.graph, folder / "forward.svg", view="forward")
        joint = executable.graph if executable.graph.gradients else gradient_graph(executable.graph)
        render(joint, folder / "joint.svg", view="joint")
    except MissingToolError as error:
        return (f"no pictures: {error.message}; {error.fix}",)
    return ()


def file_name(executable: Executable) -> str:
    """The name of the artefact's files: a C identifier."""
    return executable.native.facts.signature.name if executable.native else executable.name


def _manifest(executable: Executable, files: dict[str, tuple[str, int]]) -> Manifest:
    from graphc.ir.cost import total_flops
    from graphc.plan.buffers import symbols_in

    native = executable.native
    llvm = abi = triple = ""
    features: tuple[str, ...] = ()
    if native is not None:
        from graphc.backends.llvm.features import required
        from graphc.backends.llvm.signature import ABI_VERSION
        from graphc.backends.llvm.target import llvm_version

        target = native.target
        llvm, abi, triple = llvm_version(), ".".join(map(str, ABI_VERSION)), target.triple
        features = required(target.features)
    needs = native.facts.needs if native else executable.plan.needs
    symbols = symbols_in(executable.graph)
    only = symbols[0] if len(symbols) == 1 else None
    return Manifest(
        format=FORMAT,
        name=file_name(executable),
        graphc=__version__,
        backend="llvm" if native else "numpy",
        llvm=llvm,
        abi=abi,
        triple=triple,
        cpu_features=features,
        inputs=executable.inputs,
        outputs=executable.outputs,
        dims=dict(executable.graph.dims),
        arena_bytes_per_sample=sum(n for unit, n in needs.items() if str(unit) == only),
        arena_bytes_fixed=needs.get(1, 0),
        arena_bytes_by_unit={str(unit): n for unit, n in needs.items() if unit != 1 and str(unit) != only},
        arena=executable.memory,
        flops=str(total_flops(executable.graph.nodes)),
        numerics=executable.numerics,
        threads=1,
        weights=executable.precision.weights,
        weights_deviation=f"{executable.precision.deviation:.2e}",
        values=", ".join(
            f"{name} = {np.array2string(array, separator=', ', threshold=8)}"
            for name, array in executable.values.items()
        ),
        packed_bytes=native.facts.weights_bytes if native else 0,
        files=files,
    )


@dataclass(eq=False)
class Artefact:
    """A loaded artefact: call it with arrays, in order or by name.

    manifest  what it is; `inputs` and `outputs` are name, dtype and dimensions of each
    graph     the graph as traced, read from the text beside the code; it has the arrays
    """

    path: Path
    manifest: Manifest
    run: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.manifest.outputs

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        if named:
            arrays = input_order(self.name, [port.name for port in self.inputs], arrays, named)
        results = self.run(*arrays)
        if out is None:
            return results
        from graphc.executable import copy_out

        return copy_out(results, out, self.outputs)

    @cached_property
    def graph(self) -> Graph:
        from graphc.ir.parser import parse_graph
        from graphc.weights import load_weights

        graph = parse_graph((self.path / GRAPH).read_text(encoding="utf-8"))
        stored = {v.name for v in graph.parameters + graph.constants}
        arrays = load_weights(self.path / WEIGHTS) if stored else {}
        return graph.with_(data={name: array for name, array in arrays.items() if name in stored})

    @property
    def numpy_source(self) -> str:
        """The model as NumPy source."""
        return (self.path / f"{self.name}.py").read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return f"<artefact {self.path}: {self.name}>"


def load(path: str | PathLike[str], *, threads: int = 1) -> Artefact:
    """Load an artefact after checking every hash, the ABI and the processor.

    Raises ArtefactError when it is damaged or of another version, HostMismatchError when this processor lacks a
    feature.
    """
    path = Path(path)
    manifest = read_manifest(path)
    check_files(path, manifest, later=[WEIGHTS] if manifest.packed_bytes else [])
    if manifest.backend == "numpy":
        return Artefact(path, manifest, _numpy(path, manifest))
    _check_host(manifest)
    return Artefact(path, manifest, _native(path, manifest, threads))


def _check_host(manifest: Manifest) -> None:
    from graphc.backends.llvm.features import check, check_triple
    from graphc.backends.llvm.signature import ABI_VERSION

    major = manifest.abi.split(".")[0]
    if major != str(ABI_VERSION[0]):
        raise ArtefactError(
            f"{manifest.name} has ABI {manifest.abi}, this graphc calls ABI {ABI_VERSION[0]}",
            fix="compile the model again",
        )
    check_triple(manifest.triple, manifest.name)
    check(manifest.cpu_features, manifest.name)


def _native(path: Path, manifest: Manifest, threads: int) -> Callable[..., Any]:
    from graphc.backends.llvm import cache
    from graphc.backends.llvm.call import bind
    from graphc.backends.llvm.signature import Array, signature_of
    from graphc.backends.llvm.status import make_handle
    from graphc.backends.llvm.team import NAMES, allowed, process_team
    from graphc.backends.llvm.wrapper import CALL

    threads = allowed(threads)
    signature = signature_of(
        manifest.name,
        tuple(Array(port.name, port.dtype, port.dims) for port in manifest.inputs),
        tuple(Array(port.name, port.dtype, port.dims) for port in manifest.outputs),
        _needs(manifest),
        manifest.dims,
    )
    code = _code(path, manifest)
    weights = _weights(path, manifest)
    team = process_team(code if code.has(*NAMES) else None) if threads > 1 else 0
    handle = make_handle(weights.ctypes.data, team=team)
    return bind(
        signature,
        code.address(f"{manifest.name}_run"),
        _address(handle),
        keep=(code, weights, handle),
        threads=threads,
        error=lambda status: _error(status, signature, manifest, code.address(f"{manifest.name}_error")),
        cache=cache.default(),
        code=code if code.has(CALL) else None,
    )


def _error(status: int, signature: Signature, manifest: Manifest, told_by: int) -> Exception:
    """The exception for a status; what goes wrong inside the model the code says itself."""
    import ctypes

    from graphc.backends.llvm.status import FAULT, status_error
    from graphc.ops.indexing import IndexOutOfRange

    if status < FAULT:
        return status_error(signature, manifest.cpu_features, status)
    text = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int32)(told_by)(status).decode()
    return IndexOutOfRange(text) if "out of range" in text else ArgumentShapeError(text)


def _needs(manifest: Manifest) -> dict[Dim, int]:
    """Bytes of the workspace for each unit, as the plan gave them."""
    symbols = {
        s
        for port in manifest.inputs
        for d in port.dims
        if isinstance(d, str)
        for s in symbols_of(parse_dim(d))
    }
    needs = {parse_dim(unit): count for unit, count in manifest.arena_bytes_by_unit.items()}
    needs[1] = manifest.arena_bytes_fixed
    if len(symbols) == 1:
        needs[parse_dim(symbols.pop())] = manifest.arena_bytes_per_sample
    return needs


def _code(path: Path, manifest: Manifest) -> Any:
    entries = [f"{manifest.name}_run", f"{manifest.name}_error"]
    library, object_ = path / f"{manifest.name}.so", path / f"{manifest.name}.o"
    if library.name in manifest.files:
        from graphc.backends.llvm.library import open_library
        from graphc.backends.llvm.team import NAMES
        from graphc.backends.llvm.wrapper import CALL

        image = checked_bytes(path, manifest, library.name)
        return open_library(image, entries, str(library), perhaps=[CALL, *NAMES])
    if object_.name in manifest.files:
        from graphc.backends.llvm.jit import load as link

        return link(checked_bytes(path, manifest, object_.name), entries)
    raise ArtefactError(
        f"{path} has neither {library.name} nor {object_.name}", fix="compile it with --emit so,o"
    )


def _weights(path: Path, manifest: Manifest) -> np.ndarray:
    """The arrays native code reads, in memory, once the hash of the whole file agrees."""
    if WEIGHTS not in manifest.files or not manifest.packed_bytes:
        return np.zeros(64, np.uint8)
    from graphc.backends.llvm.huge_pages import read_hashed
    from graphc.backends.llvm.status import PREAMBLE

    file = path / WEIGHTS
    try:
        with file.open("rb", buffering=0) as opened:
            start = 8 + int.from_bytes(opened.read(8), "little") + PREAMBLE
            length = opened.seek(0, 2)
            opened.seek(0)
            weights, digest = read_hashed(opened, min(start, length), min(manifest.packed_bytes, length))
    except OSError as error:
        raise DamagedArtefact(f"{file} cannot be read: {error.strerror}") from None
    check_digest(file, manifest, digest)
    if start + manifest.packed_bytes > length:
        raise ArtefactError(f"{file} is shorter than its manifest says")
    return weights


def _numpy(path: Path, manifest: Manifest) -> Callable[..., Any]:
    from graphc.backends.numpy_source import run_text
    from graphc.interpret import bind_inputs
    from graphc.ir.parser import parse_graph

    source = path / f"{manifest.name}.py"
    functions = run_text(checked_bytes(path, manifest, source.name).decode(), source)
    graph = parse_graph(checked_bytes(path, manifest, GRAPH).decode())
    weights = {"weights": functions["load_weights"]()} if WEIGHTS in manifest.files else {}

    def run(*arrays: Any) -> Any:
        return functions["forward"](*bind_inputs(graph, arrays).values(), **weights)

    return run


def _address(handle: Any) -> int:
    import ctypes

    return ctypes.addressof(handle)
