"""A shared library from an object file, by whatever linker there is.

Tried in order: `cc`, `gcc`, `clang`; `ld.lld`, `ld`; the `ziglang` package. None of them brings in start
files, a build id, a path or a date, so the same object gives the same library with the same linker. What
comes out is read back: it must export the interface and nothing else, and import from libc and libm alone.
Without a linker there is the object, and a note that says what would add the library.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.call import wrapper_object
from graphc.backends.llvm.elf import dynamic_symbols
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import NAMES, team_object
from graphc.backends.llvm.wrapper import CALL
from graphc.errors import InternalError

# All that emitted code may call: memory and files in `open` and `close`, what LLVM itself puts in for block
# moves, the threads of a model, and arithmetic a processor without FMA or SSE4.1 lacks; fmod, which is exact.
ALLOWED_IMPORTS = frozenset(
    "aligned_alloc calloc free madvise memcpy memmove memset mmap munmap open close lseek "
    "pthread_create pthread_join pthread_detach sched_getcpu sched_yield sysconf syscall "
    "ceil ceilf floor floorf fma fmaf fmod fmodf rint rintf roundeven roundevenf trunc truncf".split()
)
COMPILERS = ("cc", "gcc", "clang")
LINKERS = ("ld.lld", "ld")
HOW = "install a C compiler (apt-get install gcc), or run: pip install ziglang"
TIME_LIMIT = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Library:
    """A linked library, or why there is none."""

    image: bytes | None
    tool: str = ""
    note: str = ""


def link_shared(objects: Sequence[bytes], name: str, exports: Sequence[str], triple: str) -> Library:
    """Link objects into NAME.so, which exports exactly `exports`.

    Raises InternalError when the result exports or imports something else.
    """
    problems: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
            place = Path(folder)
            inputs = [f"{i}.o" for i in range(len(objects))]
            for file, image in zip(inputs, objects, strict=True):
                (place / file).write_bytes(image)
            versions = "{ global: " + " ".join(f"{e};" for e in sorted(exports)) + " local: *; };\n"
            (place / "exports").write_text(versions)
            for tool, command in _commands(name, triple, inputs):
                problem = _run(command, place)
                if problem:
                    problems.append(f"{tool}: {problem}")
                    continue
                linked = (place / "out.so").read_bytes()
                _verify(linked, exports)
                return Library(linked, tool)
    except OSError as error:
        return Library(None, note=f"{name}.so could not be linked: {error}")
    if not problems:
        return Library(None, note=f"no linker was found, so there is no {name}.so; to have one, {HOW}")
    return Library(None, note=f"{name}.so could not be linked ({'; '.join(problems)}); {HOW}")


def python_side(
    target: Target, inputs: int, outputs: int, cache: Cache | None = None
) -> tuple[list[bytes], list[str]]:
    """Objects, and what they export, with which Python calls a model of so many arrays without LLVM at hand."""
    objects, names = [wrapper_object(target, inputs, outputs, cache)], [CALL]
    if team := team_object(target, cache):
        objects.append(team)
        names += NAMES
    return objects, names


def _commands(name: str, triple: str, inputs: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Command lines to try."""
    link = ["--version-script=exports", f"-soname={name}.so", "--build-id=none", "--hash-style=gnu", "-s"]
    link += ["-z", "noexecstack", "-z", "relro", "-z", "now", "--as-needed"]
    compiled = ["-nostdlib", "-shared", "-o", "out.so", f"-Wl,{','.join(link)}", *inputs]
    for tool in filter(shutil.which, COMPILERS):
        for libraries in _libraries(triple):
            yield tool, [tool, *compiled, *libraries]
    for tool in filter(shutil.which, LINKERS):
        for libraries in _libraries(triple):
            yield tool, [tool, "-shared", "-o", "out.so", *link, *inputs, *libraries]
    if importlib.util.find_spec("ziglang"):
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{triple.split('-')[0]}-linux-gnu"]
        yield "ziglang", [*zig, *compiled, "-lm", "-lc"]


def _libraries(triple: str) -> Iterator[list[str]]:
    """How to name libm and libc: with development files, without them, and not at all.

    The last leaves the names to be found in the process, where libc always is.
    """
    yield ["-lm", "-lc"]
    architecture = triple.split("-")[0]
    folders = [
        f"/lib/{architecture}-linux-gnu",
        f"/usr/lib/{architecture}-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
    ]
    yield [*(f"-L{folder}" for folder in folders), "-l:libm.so.6", "-l:libc.so.6"]
    yield []


def _run(command: list[str], place: Path) -> str:
    """The reason why the command failed, or nothing."""
    try:
        done = subprocess.run(
            command,
            cwd=place,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return lines[-1] if lines else f"exit code {done.returncode}"
    return "" if (place / "out.so").is_file() else "it wrote nothing"


def _verify(image: bytes, exports: Sequence[str]) -> None:
    found = dynamic_symbols(image)
    extra = set(found.imports) - ALLOWED_IMPORTS
    if extra:
        raise InternalError(f"the library would import {', '.join(sorted(extra))}")
    if set(found.exports) != set(exports):
        raise InternalError(
            f"the library exports {', '.join(found.exports)} and not {', '.join(sorted(exports))}"
        )
