"""Where a thing was written: a `Span` names a file, a line and the exact columns.

`user_span()` finds the line of the user's program that led here: the innermost frame which
belongs neither to graphc nor to a library it is called through (NumPy, the standard library).
Every node of a graph carries such a span, so it has to be quick: about a microsecond when
the same expression is met again, a few the first time.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    import ast

_Positions = list[tuple[int | None, int | None, int | None, int | None]]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of source text.

    Lines count from 1.  Columns count characters of the line from 0, the end is exclusive, as in
    a slice; -1 means unknown.

    >>> span = Span("lenet.py", 18, 11, 18, 22)
    >>> str(span)
    'lenet.py:18'
    """

    file: str
    line: int
    column: int = -1
    end_line: int = -1
    end_column: int = -1

    @property
    def text(self) -> str:
        """The first line of the span as it stands in the file; "" if it cannot be read."""
        return linecache.getline(self.file, self.line).rstrip("\r\n")

    @property
    def name(self) -> str:
        """The file's own name with the line, for artefacts: no folder, so no machine shows in it."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def __str__(self) -> str:
        return f"{display_path(self.file)}:{self.line}" if self.line > 0 else display_path(self.file)


def display_path(path: str | os.PathLike[str]) -> str:
    """The path as a reader would type it: relative when it lies below the current folder."""
    name = os.fspath(path)
    if name.startswith("<"):  # <stdin>, <string>: not a file
        return name
    try:
        relative = os.path.relpath(name)
    except (ValueError, OSError):  # another drive; the current folder was removed
        return name
    return name if relative.startswith("..") else relative


def _internal_roots() -> tuple[str, ...]:
    package = Path(__file__).resolve().parent
    roots = [package]
    if (package.parent / "setup.cfg").is_file():  # a checkout: the two folders stand beside the package
        roots += [package.parent / "frontends", package.parent / "backends"]
    return tuple(f"{root}{os.sep}" for root in roots)


def _library_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    standard = {paths["stdlib"], paths["platstdlib"], os.path.dirname(os.__file__)}
    numpy_root = os.path.dirname(numpy.__file__)
    return tuple(sorted(f"{os.path.realpath(p)}{os.sep}" for p in standard)) + (f"{numpy_root}{os.sep}",)


_INTERNAL = _internal_roots()
_LIBRARIES = _library_roots()
_SITE = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")  # lie below the standard library
_USER, _LIBRARY, _OURS = range(3)
_file_kinds: dict[str, int] = {}


def _classify(file: str) -> int:
    if file.startswith("<frozen "):
        return _LIBRARY
    if file.startswith("<"):
        return _USER
    path = os.path.realpath(file)
    if path.startswith(_INTERNAL):
        return _OURS
    if path.startswith(_LIBRARIES[-1]):
        return _LIBRARY
    if path.startswith(_LIBRARIES) and not any(site in path for site in _SITE):
        return _LIBRARY
    return _USER


def _file_kind(file: str) -> int:
    kind = _file_kinds.get(file)
    if kind is None:
        kind = _file_kinds[file] = _classify(file)
    return kind


def is_internal(file: str) -> bool:
    """Whether the file belongs to graphc itself (its frontends and backends included)."""
    return _file_kind(file) == _OURS


def is_user(file: str) -> bool:
    """Whether the file is the user's: neither graphc's, nor NumPy's, nor the standard library's."""
    return _file_kind(file) == _USER


def user_frames(start: int = 1) -> Iterator[FrameType]:
    """The frames of the user's program, innermost first."""
    frame: FrameType | None = sys._getframe(start)
    while frame is not None:
        if _file_kind(frame.f_code.co_filename) == _USER:
            yield frame
        frame = frame.f_back


# Code objects hash by content, which is slow, so they are found by identity.  An entry holds its
# code object, so that the identity stays its own.
_positions: dict[int, tuple[CodeType, _Positions]] = {}
_spans: dict[tuple[int, int], Span] = {}
_CACHED_CODES = 4096  # programs that make functions without end must not fill the memory


def frame_span(frame: FrameType) -> Span:
    """The expression which the frame is evaluating."""
    return instruction_span(frame.f_code, frame.f_lasti, frame.f_lineno)


def instruction_span(code: CodeType, instruction: int, line: int) -> Span:
    """The expression of an instruction, given as in a frame or a traceback; `line` is used where no more is known."""
    span = _spans.get((id(code), instruction))
    if span is not None:
        return span
    held = _positions.get(id(code))
    if held is None:
        if len(_positions) >= _CACHED_CODES:
            _positions.clear()
            _spans.clear()
        held = _positions[id(code)] = (code, list(code.co_positions()))
    table = held[1]
    index = instruction // 2
    position = table[index] if 0 <= index < len(table) else (None, None, None, None)
    span = _spans[id(code), instruction] = _make_span(code.co_filename, line, position)
    return span


def _make_span(file: str, line: int, position: tuple[int | None, int | None, int | None, int | None]) -> Span:
    first, last, column, end_column = position
    if first is None or last is None or column is None or end_column is None:
        return Span(file, line or 0)
    # Python counts bytes of UTF-8; a reader counts characters.
    return Span(file, first, _characters(file, first, column), last, _characters(file, last, end_column))


def syntax_span(file: str, node: ast.expr) -> Span:
    """The place of a piece of syntax."""
    return _make_span(file, node.lineno, (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset))


def _characters(file: str, line: int, byte_column: int) -> int:
    text = linecache.getline(file, line)
    if text.isascii():
        return byte_column
    return len(text.encode("utf-8", "surrogatepass")[:byte_column].decode("utf-8", "ignore"))


def user_span() -> Span | None:
    """The expression of the user's program that is being evaluated; None when there is no such frame.

    Frames of graphc, of NumPy and of the standard library are passed over, so a model's layer
    points at the line that calls it and a plain `np.tanh(x)` at itself.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        kind = _file_kinds.get(frame.f_code.co_filename)
        if kind is None:
            kind = _file_kind(frame.f_code.co_filename)
        if kind == _USER:
            return frame_span(frame)
        frame = frame.f_back
    return None


def user_frame() -> FrameType | None:
    """The innermost frame of the user's program."""
    return next(user_frames(2), None)


def is_user_frame(frame: FrameType) -> bool:
    """Whether the frame belongs to the user's program."""
    return _file_kind(frame.f_code.co_filename) == _USER
