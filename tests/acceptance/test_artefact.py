"""The artefact: from C, damaged, for another machine, killed while it is written, and the same bytes every time."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc
from graphc import errors, nn
from graphc.cli.main import main
from graphc.errors import ArtefactError, HostMismatchError
from graphc.interpret import interpret
from graphc.manifest import DamagedArtefact, UnsupportedFormat, sealed
from graphc.ops.indexing import IndexOutOfRange

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[str], Path]


def draw(size: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((size, *shape)).astype(np.float32)


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[Any]:
    return subprocess.run([str(word) for word in command], capture_output=True, **options)


@pytest.fixture
def copy(artefact: Make, tmp_path: Path) -> Path:
    """LeNet's artefact, to be damaged."""
    return shutil.copytree(artefact("lenet"), tmp_path / "lenet.graphc")


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(sealed(json.loads(path.read_text()) | changes))


# C ------------------------------------------------------------------------------------------------------------------

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@needs_cc
@pytest.mark.parametrize("name", ["lenet", "mlp_numpy"])
@pytest.mark.parametrize("code", ["so", "o"])
def test_the_example_in_c_gives_the_same_bits(name: str, code: str, artefact: Make, tmp_path: Path) -> None:
    path = artefact(name)
    folder = shutil.copytree(path, tmp_path / "there")
    source = (folder / "example.c").read_text()
    (line,) = re.findall(r"cc -std=c99 .*", source)
    words = line.removesuffix(" */").replace("'", "").replace(f"{name}.so", f"{name}.{code}").split()
    built = run(*words, "-Wall", "-Wextra", "-Werror", "-pedantic", cwd=folder, text=True)
    assert built.returncode == 0, built.stderr
    model = graphc.load(path)
    for size in (0, 1, 3, 64):
        x = draw(size, *model.inputs[0].dims[1:])
        done = run("./example", "weights.safetensors", size, cwd=folder, input=x.tobytes())
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(size, 10), model(x))
    for words, message in (
        (["nothing", 1], "cannot be opened"),
        (["weights.safetensors", -1], "out of range"),
        (["example.c", 1], "length"),
        (["weights.safetensors", 2], "not enough input"),
    ):
        done = run("./example", *words, cwd=folder, input=b"12")
        assert done.returncode == 1 and message in done.stderr.decode(), done.stderr
    blob = bytearray((folder / "weights.safetensors").read_bytes())
    blob[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(blob)
    done = run("./example", "weights.safetensors", 1, cwd=folder, input=b"")
    assert done.returncode == 1 and "damaged" in done.stderr.decode()


@needs_cc
@pytest.mark.parametrize("standard", ["c89", "c99", "c++98", "c++20"])
def test_the_header_is_clean_in_every_standard(standard: str, artefact: Make, tmp_path: Path) -> None:
    compiler = "c++" if "++" in standard else "cc"
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    source = tmp_path / ("use.cpp" if "++" in standard else "use.c")
    source.write_text(
        '#include "lenet.h"\n#include "lenet.h"\nint use(void) { return lenet_check_host(); }\n'
    )
    # stdint.h is of C99 and C++11; every compiler has it before as well.
    flags = [
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-Wno-long-long",
        "-fsyntax-only",
        "-I",
        artefact("lenet"),
    ]
    done = run(compiler, f"-std={standard}", *flags, source, text=True)
    assert done.returncode == 0, done.stderr


@needs_cc
def test_loading_needs_no_llvm(artefact: Make) -> None:
    """With a library in the artefact the call from Python and the threads are in it: a short start, little memory."""
    script = """
import sys
sys.modules["llvmlite"] = None  # importing it fails
import numpy as np, graphc
from graphc.backends.llvm import team
team.allowed.__globals__["cores"] = lambda: type("Two", (), {"allowed": 2})
model = graphc.load(sys.argv[1], threads=2)
assert type(model.run).__name__ == "builtin_function_or_method" and team._team
sys.stdout.buffer.write(model(np.ones((64, *model.inputs[0].dims[1:]), np.float32)).tobytes())
"""
    path = artefact("lenet")
    done = run(sys.executable, "-c", script, path, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    model = graphc.load(path)
    assert done.stdout == model(np.ones((64, *model.inputs[0].dims[1:]), np.float32)).tobytes()


# Damage -------------------------------------------------------------------------------------------------------------


def refused(folder: Path, kind: type[Exception], *said: str, code: int = 1) -> None:
    """Loading raises this error, and the command line says it with this exit code."""
    with pytest.raises(kind) as caught:
        graphc.load(folder)
    for text in said:
        assert text in str(caught.value)
    assert main(["-q", "run", str(folder), "-x", "zeros", "--dim", "N=1"]) == code


def test_a_flipped_bit_is_found_in_every_file(copy: Path) -> None:
    names = sorted(json.loads((copy / "manifest.json").read_text())["files"])
    assert {"example.c", "graph.gir", "lenet.h", "lenet.o", "lenet.py", "weights.safetensors"} <= set(names)
    for name in names:
        whole = (copy / name).read_bytes()
        for position in (0, len(whole) // 2, len(whole) - 1):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << (position % 8)
            (copy / name).write_bytes(flipped)
            refused(copy, DamagedArtefact, name)
        (copy / name).write_bytes(whole[:-1])
        refused(copy, DamagedArtefact, name)
        (copy / name).unlink()
        refused(copy, DamagedArtefact, name, "missing")
        (copy / name).write_bytes(whole)
    graphc.load(copy)


def test_a_flipped_bit_is_found_in_the_manifest(copy: Path) -> None:
    path = copy / "manifest.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        with pytest.raises(ArtefactError, match="manifest.json|format|artefact"):
            graphc.load(copy)
    path.write_bytes(whole)
    graphc.load(copy)


def test_a_file_replaced_by_a_link_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "lenet.o").rename(tmp_path / "elsewhere.o")
    (copy / "lenet.o").symlink_to(tmp_path / "elsewhere.o")
    refused(copy, DamagedArtefact, "lenet.o")


def test_no_artefact(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", ArtefactError, "manifest.json")


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_another_format(copy: Path, version: Any) -> None:
    edit(copy, format=version)
    refused(copy, UnsupportedFormat, f"format {version}", "compile the model again")


@pytest.mark.parametrize("abi", ["2.0", "0.9", "", "x"])
def test_another_abi(copy: Path, abi: str) -> None:
    edit(copy, abi=abi)
    refused(copy, ArtefactError, "ABI", "compile the model again")


def test_another_processor(copy: Path) -> None:
    edit(copy, cpu_features=["avx2", "amx-tile-of-tomorrow"])
    refused(copy, HostMismatchError, "amx-tile-of-tomorrow", code=5)


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "x86_64-apple-darwin"])
def test_another_architecture(copy: Path, triple: str) -> None:
    edit(copy, triple=triple, cpu_features=[])
    refused(copy, HostMismatchError, triple, code=5)


# Atomic -------------------------------------------------------------------------------------------------------------

SAVE = """
import sys, time
import graphc
from graphc import manifest
model = graphc.compile(lambda x: x * {factor} + 1, {{"x": "float32[N]"}}, name="line")
write = manifest.Manifest.to_json
def slow(self):
    print("almost", flush=True)  # every other file is written
    time.sleep(60)
    return write(self)
if {hang}:
    manifest.Manifest.to_json = slow
model.save(sys.argv[1])
print("done", flush=True)
"""


def save(path: Path, factor: int, *, hang: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SAVE.format(factor=factor, hang=hang), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Started in the background, the tests would ignore SIGINT and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("how", "before"),
    [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGINT, True)],
)
def test_killed_while_it_writes(tmp_path: Path, before: bool, how: signal.Signals) -> None:
    """Nothing is there, or what was there before; never half of it."""
    path = tmp_path / "line.graphc"
    if before:
        with save(path, 2) as process:
            assert process.communicate()[0] == "done\n"
    with save(path, 3, hang=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "almost\n"
        process.send_signal(how)
        process.wait()
    if before:
        np.testing.assert_array_equal(graphc.load(path)(np.ones(2, np.float32)), [3, 3])
    else:
        assert not path.exists()
    visible = [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert visible == (["line.graphc"] if before else [])
    with save(path, 4) as process:
        assert process.communicate()[0] == "done\n"
    np.testing.assert_array_equal(graphc.load(path)(np.ones(2, np.float32)), [5, 5])


def test_readers_meet_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "line.graphc"
    models = [graphc.compile(lambda x, k=k: x * k, {"x": "float32[N]"}, name="line") for k in (2.0, 3.0)]
    models[0].save(path)
    stop = threading.Event()
    seen: set[float] = set()
    wrong: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(float(graphc.load(path)(np.ones(1, np.float32))[0]))
            except DamagedArtefact:
                pass  # the folder was exchanged between two of its files: told, not used
            except BaseException as error:  # noqa: BLE001  whatever it is, it is wrong here
                wrong.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for count in range(20):
        models[count % 2].save(path, emit=["o"])
    stop.set()
    reader.join()
    assert not wrong, wrong
    assert seen <= {2.0, 3.0}


# The same bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp_numpy", "resnet18_small"])
def test_the_same_source_gives_the_same_bytes(name: str, models: Path, tmp_path: Path) -> None:
    """Whatever the hash seed, the current folder, the place of the file, the cache, the user or the time."""
    text = (models / f"{name}.py").read_text()
    text = "import graphc\ngraphc.manual_seed(0)\n" + text  # random weights, the same each time
    found: list[dict[str, bytes]] = []
    for number in range(2):
        home = tmp_path / f"home of user {number}"
        shutil.copytree(models, home / "work")
        (home / "work" / f"{name}.py").write_text(text)
        environment = os.environ | {
            "PYTHONHASHSEED": str(number), "HOME": str(home), "USER": f"user{number}",
            "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT), "TZ": f"UTC{number}", "LC_ALL": "C",
        }  # fmt: skip
        target = f"work/{name}.py" if number else f"{name}.py"
        words = [sys.executable, "-m", "graphc", "-q", "compile", target, "-o", home / "out.graphc"]
        done = run(*words, cwd=home if number else home / "work", env=environment, text=True)
        assert done.returncode == 0, done.stderr
        found.append({each.name: each.read_bytes() for each in sorted((home / "out.graphc").iterdir())})
        time.sleep(0.02)
    assert found[0].keys() == found[1].keys()
    assert [each for each in found[0] if found[0][each] != found[1][each]] == []
    for each, content in found[0].items():
        for secret in (str(tmp_path), str(ROOT), os.path.expanduser("~"), sys.prefix, os.uname().nodename):
            if len(secret) > 3 and secret.encode() in content:
                raise AssertionError(f"{each} holds {secret}")


# Calls --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet", "mlp_numpy"])
def test_sixteen_threads_call_one_artefact(name: str, artefact: Make) -> None:
    model = graphc.load(artefact(name))
    batches = [draw(1 + number % 5, *model.inputs[0].dims[1:]) for number in range(16)]
    expected = [model(x) for x in batches]
    start = threading.Barrier(16)
    wrong: list[int] = []

    def work(number: int) -> None:
        start.wait()
        for _ in range(50):
            if not np.array_equal(model(batches[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, lying in memory in other ways."""
    wide = np.zeros((2 * len(x), *x.shape[1:]), x.dtype)
    wide[::2] = x
    last = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
    last[..., 1::3] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    return {
        "every second row": wide[::2],
        "every third column": last[..., 1::3],
        "Fortran": np.asfortranarray(x),
        "backwards": x[::-1].copy()[::-1],
        "backwards along the last axis": np.ascontiguousarray(x[..., ::-1])[..., ::-1],
        "transposed": np.ascontiguousarray(x.T).T,
        "read-only": readonly,
        "not aligned": unaligned,
        "of the other byte order": x.astype(x.dtype.newbyteorder()),
        "broadcast": np.broadcast_to(x[:1], x.shape),
        "a subclass": x.view(np.matrix) if x.ndim == 2 else x.view(np.recarray),
    }


@pytest.mark.parametrize("name", ["lenet", "mlp_numpy"])
def test_arrays_however_they_lie(name: str, artefact: Make) -> None:
    model = graphc.load(artefact(name))
    x = draw(4, *model.inputs[0].dims[1:])
    for how, array in layouts(x).items():
        before = array.copy()
        np.testing.assert_array_equal(model(array), model(np.array(array, order="C")), err_msg=how)
        np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(model(memoryview(x)), model(x))
    np.testing.assert_array_equal(model(x=x), model(x))


def test_an_array_of_another_kind_is_told_by_name(artefact: Make) -> None:
    model = graphc.load(artefact("lenet"))
    x = draw(3, 1, 32, 32)
    for wrong, kind, said in (
        (x.astype(np.float64), errors.DTypeError, ["x", "float64", "float32"]),
        (x.astype(np.int32), errors.DTypeError, ["x", "int32"]),
        (x > 0, errors.DTypeError, ["x", "bool"]),
        (x.astype(object), errors.DTypeError, ["x", "object"]),
        ("an image", errors.DTypeError, ["x"]),
        (None, errors.DTypeError, ["x"]),
        (x[:, 0], errors.ArgumentShapeError, ["x", "3 axes", "4"]),
        (x[:, :, :31], errors.ArgumentShapeError, ["axis 2", "31", "32"]),
        (x[None], errors.ArgumentShapeError, ["5 axes"]),
    ):
        with pytest.raises(kind) as caught:
            model(wrong)
        for text in said:
            assert text in str(caught.value), str(caught.value)
        assert caught.value.exit_code == 1
    for arguments, named in (((), {}), ((x, x), {}), ((x,), {"x": x}), ((), {"y": x})):
        with pytest.raises(errors.UsageError):
            model(*arguments, **named)


@pytest.mark.parametrize("name", ["lenet", "mlp_numpy"])
def test_no_samples(name: str, artefact: Make) -> None:
    model = graphc.load(artefact(name))
    y = model(draw(0, *model.inputs[0].dims[1:]))
    assert y.shape == (0, 10) and y.dtype == np.float32


def test_out(artefact: Make) -> None:
    model = graphc.load(artefact("lenet"))
    x = draw(3, 1, 32, 32)
    expected = model(x)
    out = np.full((3, 10), np.nan, np.float32)
    assert model(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    strided = np.zeros((3, 20), np.float32)
    model(x, out=strided[:, ::2])
    np.testing.assert_array_equal(strided[:, ::2], expected)
    assert (strided[:, 1::2] == 0).all()
    for wrong in (np.zeros((3, 10)), np.zeros((3, 9), np.float32), [0.0], (out, out)):
        with pytest.raises(errors.GraphcError, match="out="):
            model(x, out=wrong)
    locked = np.zeros((3, 10), np.float32)
    locked.flags.writeable = False
    with pytest.raises(errors.GraphcError, match="out="):
        model(x, out=locked)


def test_results_are_the_callers(artefact: Make) -> None:
    """They are arrays of their own, written to by nobody else, that outlive the model."""
    model = graphc.load(artefact("lenet"))
    x = draw(2, 1, 32, 32)
    first, second = model(x), model(x)
    assert type(first) is np.ndarray and first.flags.owndata and first.flags.writeable
    first[...] = 0
    assert not np.array_equal(second, first)
    del model
    np.testing.assert_array_equal(second, graphc.load(artefact("lenet"))(x))


def test_a_range_is_kept(tmp_path: Path) -> None:
    graphc.compile(lambda x: x + x, {"x": "float32[N]"}, dims={"N": (2, 5)}, name="twice").save(
        tmp_path / "twice"
    )
    model = graphc.load(tmp_path / "twice")
    assert model(np.ones(5, np.float32)).tolist() == [2] * 5
    for size in (1, 6):
        with pytest.raises(errors.ArgumentShapeError, match=f"N is {size}"):
            model(np.ones(size, np.float32))


def test_an_index_out_of_range_is_the_users_error(tmp_path: Path) -> None:
    """Found while a loaded artefact runs: the same class as from the interpreter, not a bug in graphc."""

    words = nn.Embedding(4, 3)
    words.load_state_dict({"weight": np.arange(12, dtype=np.float32).reshape(4, 3)})
    compiled = graphc.compile(words, {"x": "int64[N]"}, name="lookup")
    compiled.save(tmp_path / "lookup")
    for model in (compiled, graphc.load(tmp_path / "lookup")):
        assert model(np.array([3, 0])).tolist() == [[9, 10, 11], [0, 1, 2]]
        with pytest.raises(IndexOutOfRange) as caught:
            model(np.array([0, 4]))
        assert caught.value.exit_code == 1 and "out of range" in str(caught.value)


def test_the_graph_comes_back(artefact: Make) -> None:
    """The text beside the code is the whole graph: types, names, lines; it can be drawn and differentiated."""
    graph = graphc.load(artefact("lenet")).graph
    assert [str(v.type) for v in graph.inputs] == ["float32[N,1,32,32]"]
    spans = [node.provenance.span for node in graph.nodes]
    assert all(span is not None and span.file == "lenet.py" for span in spans)
    assert {span.line for span in spans if span is not None} == {21, 22, 23, 24, 25, 26}
    joint = graphc.differentiate(graph, loss="cross_entropy")
    assert len(joint.outputs) == 11
    assert dataclasses.is_dataclass(graph)


def test_an_artefact_of_numpy_source(models: Path, tmp_path: Path) -> None:
    """`--backend numpy`: no native code, the same numbers, the same checks of what it is given."""
    path = tmp_path / "lenet.graphc"
    assert main(["-q", "compile", str(models / "lenet.py"), "--backend", "numpy", "-o", str(path)]) == 0
    assert sorted(os.listdir(path)) == ["graph.gir", "lenet.py", "manifest.json", "weights.safetensors"]
    model = graphc.load(path)
    x = draw(3, 1, 32, 32)
    np.testing.assert_array_equal(model(x), interpret(model.graph, [x])[0])
    for wrong in (x.astype(np.float64), x[:, 0]):
        with pytest.raises(errors.GraphcError, match="x"):
            model(wrong)
    assert model(x[:0]).shape == (0, 10)
