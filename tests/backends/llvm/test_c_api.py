"""A hand-made model through its C interface: from Python, from C, with damaged weights, linked by each
linker."""

import ctypes
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.backends.llvm import aot, features
from graphc.backends.llvm.c_api import (
    PACKED,
    WEIGHTS,
    Weights,
    emit_c_api,
    exported_names,
    preamble,
)
from graphc.backends.llvm.call import bind
from graphc.backends.llvm.elf import dynamic_symbols
from graphc.backends.llvm.emitter import Module, constant
from graphc.backends.llvm.header import example, header
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.library import open_library
from graphc.backends.llvm.signature import Array, Signature
from graphc.backends.llvm.status import Status, make_handle, messages, status_error
from graphc.backends.llvm.target import Target, host, level
from graphc.errors import ArgumentShapeError, ArtefactError, HostMismatchError, InternalError

AXPY = Signature(
    "axpy",
    (Array("x", "float32", ("N", 3)), Array("int", "int32", ("N",))),
    (Array("y", "float32", ("N", 3)), Array("count", "int64", ())),
    workspace=(64, 12),
    n_range=(0, 50),
)
VALUES = np.array([2.0, -1.0, 0.5], np.float32)
IDENTITY = 0x8123456789ABCDEF
FILE = bytes(64) + preamble(IDENTITY, VALUES.tobytes()) + VALUES.tobytes()  # a header, then the weights


def axpy_module(target: Target, signature: Signature = AXPY, weights: Weights | None = None) -> Module:
    """y[i, j] = x[i, j] * packed[j] + int[i] by way of the workspace; count = N. Packing reverses the
    weights."""
    module = target.module()
    parameters = {"handle": "ptr", "n": "i64", "x": "ptr", "k": "ptr", "y": "ptr", "count": "ptr"}
    f = module.function("body", parameters | {"workspace": "ptr", "threads": "i32"}, "i32", internal=True)
    packed = f.load(f.gep(f.handle, PACKED), "ptr")
    with f.loop(0, f.n) as i:
        k = f.sitofp(f.load(f.gep(f.k, f.mul(i, 4)), "i32"), "float")
        for j in range(3):
            at = f.add(f.mul(i, 12), 4 * j)
            w = f.load(f.gep(packed, 4 * (2 - j)), "float")
            f.store(f.fma(f.load(f.gep(f.x, at), "float"), w, k), f.gep(f.workspace, at))
    with f.loop(0, f.mul(f.n, 12), 4) as at:
        f.store(f.load(f.gep(f.workspace, at), "i32"), f.gep(f.y, at))
    f.store(f.n, f.count)
    f.ret(constant(0, "i32"))
    g = module.function("pack", {"weights": "ptr", "packed": "ptr"}, internal=True)
    for j in range(3):
        g.store(g.load(g.gep(g.weights, 4 * j), "float"), g.gep(g.packed, 4 * (2 - j)))
    g.ret()
    weights = weights or Weights(len(FILE), IDENTITY, offset=64, packed=12, pack="pack")
    emit_c_api(module, signature, "body", features.required(target.features), weights)
    return module


def expected(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """An fma rounds once: the sum in float64 is exact enough to round to the same float32."""
    return (x.astype(np.float64) * VALUES.astype(np.float64) + k[:, None]).astype(np.float32)


@pytest.fixture(scope="module")
def image() -> bytes:
    return emit_object(str(axpy_module(host())), host())


@pytest.fixture(scope="module")
def library(image: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = aot.link_shared([image], "axpy", exported_names(AXPY), host().triple)
    if made.image is None:
        pytest.skip(made.note)
    path = tmp_path_factory.mktemp("axpy") / "axpy.so"
    path.write_bytes(made.image)
    return path


class Loaded:
    """The exported functions with their C types, from LLVM's loader or from a library."""

    def __init__(self, addresses: dict[str, int], keep: Any) -> None:
        self.keep = keep
        self.addresses = addresses
        pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64

        def function(name: str, result: Any, *arguments: Any) -> Any:
            return ctypes.CFUNCTYPE(result, *arguments)(addresses[f"axpy_{name}"])

        self.open = function("open", i32, ctypes.c_char_p, ctypes.POINTER(pointer))
        self.close = function("close", None, pointer)
        self.workspace = function("workspace", ctypes.c_size_t, pointer, i64)
        self.run = function("run", i32, pointer, i64, pointer, pointer, pointer, pointer, pointer, i32)
        self.error = function("error", ctypes.c_char_p, i32)
        self.check_host = function("check_host", i32)
        self.abi_version = function("abi_version", i32)

    def opened(self, path: Path) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        status = self.open(os.fsencode(path), ctypes.byref(handle))
        assert status == 0, self.error(status)
        return handle


@pytest.fixture(scope="module", params=["loader", "library"])
def axpy(request: pytest.FixtureRequest, image: bytes) -> Loaded:
    if request.param == "loader":
        code = load(image, exported_names(AXPY))
        return Loaded({n: code.address(n) for n in exported_names(AXPY)}, code)
    code = open_library(request.getfixturevalue("library").read_bytes(), exported_names(AXPY))
    return Loaded({n: code.address(n) for n in exported_names(AXPY)}, code)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(FILE)
    return path


@pytest.mark.parametrize("n", [0, 1, 50])
def test_open_and_run(axpy: Loaded, weights: Path, n: int) -> None:
    handle = axpy.opened(weights)
    axpy_function = bind(AXPY, axpy.addresses["axpy_run"], handle.value or 0, keep=axpy)
    random = np.random.default_rng(n)
    x, k = random.normal(size=(n, 3)).astype(np.float32), random.integers(-9, 9, n, np.int32)
    y, count = axpy_function(x, k)
    np.testing.assert_array_equal(y, expected(x, k))
    assert count == n
    assert axpy.workspace(handle, n) == 64 + 12 * n
    axpy.close(handle)


def test_a_handle_made_in_python(axpy: Loaded) -> None:
    block = make_handle(VALUES.ctypes.data, VALUES[::-1].copy().ctypes.data)
    reversed_values = VALUES[::-1].copy()
    block[PACKED // 8] = reversed_values.ctypes.data
    assert block[WEIGHTS // 8] == VALUES.ctypes.data
    function = bind(
        AXPY, axpy.addresses["axpy_run"], ctypes.addressof(block), keep=(axpy, block, reversed_values)
    )
    x, k = np.ones((2, 3), np.float32), np.array([1, 2], np.int32)
    np.testing.assert_array_equal(function(x, k)[0], expected(x, k))


def test_small_functions(axpy: Loaded) -> None:
    assert axpy.check_host() == 0
    assert axpy.abi_version() == 0x00010000
    assert axpy.workspace(None, -1) == axpy.workspace(None, 51) == 2**64 - 1
    axpy.close(None)
    texts = messages(AXPY, features.required(host().features))
    for status, text in texts.items():
        assert axpy.error(status) == text.encode()
    for status in (-1, 9, 63, 64 + len(features.required(host().features)), 2**31 - 1, -(2**31)):
        assert axpy.error(status) == b"unknown status"


def damaged(kind: str, path: Path) -> Status:
    match kind:
        case "absent":
            path.unlink()
            return Status.OPEN
        case "short":
            path.write_bytes(FILE[:-1])
            return Status.LENGTH
        case "long":
            path.write_bytes(FILE + b"\0")
            return Status.LENGTH
        case "empty":
            path.write_bytes(b"")
            return Status.LENGTH
        case "directory":
            path.unlink()
            path.mkdir()
            return Status.LENGTH
        case "bit":
            path.write_bytes(FILE[:130] + bytes([FILE[130] ^ 1]) + FILE[131:])
            return Status.CONTENT
        case _:
            path.write_bytes(bytes(len(FILE)))
            return Status.CONTENT


@pytest.mark.parametrize("kind", ["absent", "short", "long", "empty", "directory", "bit", "zeros"])
def test_bad_weights(axpy: Loaded, weights: Path, kind: str) -> None:
    status = damaged(kind, weights)
    handle = ctypes.c_void_p(1)
    descriptors = len(os.listdir("/proc/self/fd"))
    mapped = Path("/proc/self/maps").read_text().count(str(weights))
    assert axpy.open(os.fsencode(weights), ctypes.byref(handle)) == status
    assert handle.value is None
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert Path("/proc/self/maps").read_text().count(str(weights)) == mapped


def test_open_and_close_leave_nothing(axpy: Loaded, weights: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        axpy.close(axpy.opened(weights))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert str(weights) not in Path("/proc/self/maps").read_text()
    assert axpy.open(None, ctypes.byref(ctypes.c_void_p())) == Status.NULL
    assert axpy.open(os.fsencode(weights), None) == Status.NULL


def test_bad_arguments_of_run(axpy: Loaded, weights: Path) -> None:
    handle = axpy.opened(weights)
    memory = np.zeros(4096, np.uint8)
    base = -(-memory.ctypes.data // 64) * 64
    x, k, y, count, workspace = (base + 512 * i for i in range(5))
    good = [handle, 2, x, k, y, count, workspace, 1]
    assert axpy.run(*good) == 0
    for place in (0, 2, 3, 4, 5, 6):
        assert axpy.run(*good[:place], None, *good[place + 1 :]) == Status.NULL
    for place, step in ((2, 2), (3, 1), (5, 4), (6, 32)):
        assert axpy.run(*good[:place], good[place] + step, *good[place + 1 :]) == Status.ALIGNMENT
    for n in (-1, 51, 2**62, -(2**63)):
        assert axpy.run(handle, n, *good[2:]) == Status.SIZE
    axpy.close(handle)


def test_threads_share_a_handle(axpy: Loaded, weights: Path) -> None:
    handle = axpy.opened(weights)
    function = bind(AXPY, axpy.addresses["axpy_run"], handle.value or 0, keep=axpy)
    wrong = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(50):
            n = int(random.integers(0, 50))
            x, k = random.normal(size=(n, 3)).astype(np.float32), random.integers(-9, 9, n, np.int32)
            if not np.array_equal(function(x, k)[0], expected(x, k)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    axpy.close(handle)
    assert not wrong


def test_statuses_as_exceptions() -> None:
    names = ("avx2", "fma")
    assert isinstance(status_error(AXPY, names, Status.SIZE), ArgumentShapeError)
    assert isinstance(status_error(AXPY, names, Status.CONTENT), ArtefactError)
    assert isinstance(status_error(AXPY, names, 99), InternalError)
    error = status_error(AXPY, names, Status.HOST + 1)
    assert isinstance(error, HostMismatchError) and "does not have fma" in error.message


def test_a_processor_without_a_feature(weights: Path) -> None:
    """`open` says which feature is missing, and maps nothing."""
    lacking = features.missing(("fma4", "tbm", "xop", "sse4a"))
    if not lacking:
        pytest.skip("this processor has them all")
    module = host().module()
    module.function("body", {"handle": "ptr", "n": "i64", "workspace": "ptr", "threads": "i32"}, "i32").ret(
        constant(0, "i32")
    )
    signature = Signature("axpy", (), ())
    emit_c_api(module, signature, "body", ("avx", *lacking))
    code = load(emit_object(str(module), host()), ["axpy_open", "axpy_check_host", "axpy_error"])
    status = ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("axpy_check_host"))()
    assert status == Status.HOST + 1
    text = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int32)(code.address("axpy_error"))(status)
    assert text.decode() == f"this processor does not have {lacking[0]}, for which axpy was compiled"
    handle = ctypes.c_void_p(1)
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))
    assert kind(code.address("axpy_open"))(None, ctypes.byref(handle)) == status
    assert handle.value is None


# The library ------------------------------------------------------------------------------------------------


def test_the_library_exports_the_interface_and_imports_libc(library: Path) -> None:
    found = dynamic_symbols(library.read_bytes())
    assert list(found.exports) == exported_names(AXPY)
    wanted = {"open", "close", "lseek", "mmap", "munmap", "calloc", "free", "aligned_alloc"}
    assert set(found.imports) == wanted | (set() if host().fma else {"fmaf"})
    assert set(found.needed) <= {"libc.so.6", "libm.so.6"}
    content = library.read_bytes()
    for trace in (b"/tmp", str(Path.home()).encode(), b"graphc-"):
        assert trace not in content


def test_libraries_come_and_go(library: Path) -> None:
    """A library is unloaded with its last user, and the next one is not mistaken for it."""
    image = library.read_bytes()
    other = image.replace(b"out of memory", b"out of cookies"[:13])
    assert image != other

    def text(code: Any) -> bytes:
        return ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int32)(code.address("axpy_error"))(Status.MEMORY)

    def loaded() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("memfd:graphc")

    before = loaded()
    for _ in range(3):
        first = open_library(image, ["axpy_error"])
        second = open_library(other, ["axpy_error"])
        assert (text(first), text(second)) == (b"out of memory", b"out of cookie")
        del first, second
    for content, expectation in ((image, b"out of memory"), (other, b"out of cookie")):
        code = open_library(content, ["axpy_error"])
        assert text(code) == expectation
        del code
    assert loaded() == before


def test_a_library_that_cannot_be_loaded(library: Path) -> None:
    image = library.read_bytes()
    for content in (b"", b"text", image[:100]):
        with pytest.raises(ArtefactError, match=r"axpy\.so cannot be loaded"):
            open_library(content, ["axpy_run"], "axpy.so")
    with pytest.raises(ArtefactError, match=r"axpy\.so has no axpy_walk"):
        open_library(image, ["axpy_run", "axpy_walk"], "axpy.so")


@pytest.mark.parametrize("tool", [*aot.COMPILERS, *aot.LINKERS])
def test_each_linker_gives_the_same_bytes_twice(
    image: bytes, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool}")
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: found(name) if name == tool else None)
    first, second = (aot.link_shared([image], "axpy", exported_names(AXPY), host().triple) for _ in range(2))
    assert first.image is not None and first == second, first.note
    assert first.tool == tool


def test_the_zig_package_links(image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    made = aot.link_shared([image], "axpy", exported_names(AXPY), host().triple)
    assert made.tool == "ziglang", made.note


def test_without_a_linker_there_is_a_note(image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(aot.importlib.util, "find_spec", lambda name: None)
    made = aot.link_shared([image], "axpy", exported_names(AXPY), host().triple)
    assert made.image is None
    assert made.note == (
        "no linker was found, so there is no axpy.so; "
        "to have one, install a C compiler (apt-get install gcc), or run: pip install ziglang"
    )


def test_a_linker_that_fails_is_told(image: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\necho 'it is Monday' >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(aot.importlib.util, "find_spec", lambda name: None)
    made = aot.link_shared([image], "axpy", exported_names(AXPY), host().triple)
    assert made.image is None and "axpy.so could not be linked (cc: it is Monday" in made.note


def test_a_foreign_import_is_refused() -> None:
    if not any(map(shutil.which, (*aot.COMPILERS, *aot.LINKERS))):
        pytest.skip("there is no linker")
    module = host().module()
    f = module.function("f", {})
    f.call("system", "i32", constant(0, "ptr"))
    f.ret()
    with pytest.raises(InternalError, match="would import system"):
        aot.link_shared([emit_object(str(module), host())], "f", ["f"], host().triple)


def test_what_is_no_library() -> None:
    for content in (b"", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + b"\xff" * 100, b"#!/bin/sh"):
        with pytest.raises(ValueError, match="ELF"):
            dynamic_symbols(content)


# C ----------------------------------------------------------------------------------------------------------

STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler (cc)")


@needs_cc
def test_the_example_in_c(library: Path, tmp_path: Path) -> None:
    shutil.copy(library, tmp_path)
    (tmp_path / "axpy.h").write_text(header(AXPY))
    (tmp_path / "example.c").write_text(example(AXPY))
    (tmp_path / "weights").write_bytes(FILE)
    compile_ = ["cc", "-std=c99", *STRICT, "-o", "example", "example.c", "axpy.so", "-lm"]
    compile_.append("-Wl,-rpath,$ORIGIN")
    subprocess.run(compile_, cwd=tmp_path, check=True, timeout=60)

    def run(n: int, x: np.ndarray, k: np.ndarray) -> "subprocess.CompletedProcess[bytes]":
        arguments = ["./example", "weights", str(n)]
        return subprocess.run(
            arguments,
            input=x.tobytes() + k.tobytes(),
            cwd=tmp_path,
            capture_output=True,
            timeout=20,
            check=False,
        )

    for n in (1, 3, 50):
        x, k = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32), np.arange(n, dtype=np.int32)
        done = run(n, x, k)
        assert done.returncode == 0, done.stderr
        y = np.frombuffer(done.stdout[:-8], np.float32).reshape(n, 3)
        np.testing.assert_array_equal(y, expected(x, k))
        assert np.frombuffer(done.stdout[-8:], np.int64) == n
    assert b"axpy: N is out of range" in run(51, x, k).stderr
    assert b"axpy: not enough input for int_" in run(50, x, k[:1]).stderr
    (tmp_path / "weights").write_bytes(FILE[:-4] + b"\0\0\0\0")
    assert b"or it is damaged" in run(1, x, k).stderr


@needs_cc
def test_the_object_file_alone_links_into_a_c_program(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "axpy.o").write_bytes(image)
    (tmp_path / "axpy.h").write_text(header(AXPY))
    (tmp_path / "example.c").write_text(example(AXPY))
    command = ["cc", "-std=c99", "-o", "example", "example.c", "axpy.o", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)


@needs_cc
@pytest.mark.parametrize(
    "language", [["-x", "c", "-std=c99"], ["-x", "c", "-std=c17"], ["-x", "c++", "-std=c++17"]]
)
def test_the_header_in_c_and_cpp(tmp_path: Path, language: list[str]) -> None:
    (tmp_path / "axpy.h").write_text(header(AXPY))
    (tmp_path / "use").write_text(
        '#include "axpy.h"\n#include "axpy.h"\nint f(void);\nint f(void) { return 0; }\n'
    )
    command = ["cc", *language, *STRICT, "-fsyntax-only", "use"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    if "not installed" in done.stderr or "cannot execute" in done.stderr:
        pytest.skip("cc has no C++ part")
    assert done.returncode == 0, done.stderr


def test_hostile_array_names_stay_out_of_the_c_text() -> None:
    evil = '*/ system("rm"); /*\n#error'
    signature = Signature(
        "f", (Array(evil, "float32", ("N",)), Array("", "int8", ())), (Array("f", "bool", ("N - 1",)),)
    )
    for text in (header(signature), example(signature)):
        assert evil not in text and "#error" not in text
    assert "F_F__ELEMENTS(N) (((N) - 1))" in header(signature)


def test_model_code_does_not_move_into_the_baseline() -> None:
    """`open` must run on any processor; `pack` and the model keep the target's instructions."""
    target = level("x86-64-v3")
    functions = target.assembly(str(axpy_module(target))).split(".globl\taxpy_")
    opening = next(text for text in functions if text.startswith("open"))
    assert "ymm" not in opening and not any(line.split()[:1] == ["vmovss"] for line in opening.splitlines())
    assert "vfmadd" in next(text for text in functions if text.startswith("run"))


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_other_targets(name: str) -> None:
    """The object of each level: the same interface, importing from libc and libm alone."""
    target = level(name)
    text = target.assembly(str(axpy_module(target)))
    for symbol in exported_names(AXPY):
        assert f"{symbol}:" in text
