"""A bug in graphc: a report on the disk, a few lines on the terminal.

The report holds versions, the command line and the traceback with its source lines.  It holds no values of variables,
so no weights and no data.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from graphc import __version__
from graphc.cli.console import Console
from graphc.diagnostics import debug_level
from graphc.errors import GraphcError, InternalError

_LONGEST_MESSAGE = 500  # a message may quote an array
PACKAGES = ("numpy", "llvmlite", "networkx", "graphviz", "pygraphviz", "click", "rich", "safetensors")


def tell(error: Exception, words: list[str], console: Console) -> None:
    """Write the report and say where it is."""
    text = report(error, words)
    try:
        handle, name = tempfile.mkstemp(prefix="graphc-report-", suffix=".txt", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        place = f"a report without your weights is in {name}; please send it"
    except OSError as refusal:
        place = f"a report could not be written: {refusal.strerror}"
    if debug_level():
        console.note(text, level=-1)
    if isinstance(error, GraphcError):  # already told
        console.note(place, level=-1)
        return
    console.error(InternalError(f"a bug in graphc: {_short(error)}", fix=place))


def report(error: Exception, words: list[str]) -> str:
    """The text of the report."""
    return "\n".join([*_lines(error, words), ""])


def _lines(error: Exception, words: list[str]) -> Iterator[str]:
    yield f"graphc {__version__}"
    yield f"Python {platform.python_version()} {platform.python_implementation()}"
    yield f"system {platform.system()} {platform.release()} {platform.machine()}"
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"
    yield f"command graphc {' '.join(words)}"
    yield ""
    chain: BaseException | None = error
    while chain is not None:
        yield "Traceback (most recent call last):"
        for frame in traceback.extract_tb(chain.__traceback__):
            yield f"  {_shown(frame.filename)}:{frame.lineno} in {frame.name}"
            yield f"    {frame.line}"
        yield _short(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
        if chain is not None:
            yield ""
            yield "which happened while handling:" if chain is not None else ""


def _shown(file: str) -> str:
    """The path from the package or the environment on: the user's folders are nobody's business."""
    for folder in (Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)):
        with contextlib.suppress(ValueError):
            return str(Path(file).relative_to(folder))
    return Path(file).name


def _short(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error.message if isinstance(error, GraphcError) else error}"
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " ..."
