"""Where the command line writes: results to stdout, notes and errors to stderr, one JSON object with `--json`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from graphc.diagnostics import draw, printable, wants_color
from graphc.errors import GraphcError, OutputError


class Console:
    """The terminal as a command sees it.

    json        results are one JSON object, nothing else
    verbosity   -1 quiet, 0 notes, 1 and more: details
    color       auto, always or never
    broken      stdout cannot be written to
    """

    def __init__(self) -> None:
        self.json = False
        self.verbosity = 0
        self.broken = False
        self.color = "auto"
        # A closed stream is None in Python; what is written to it goes nowhere.
        self.out: IO[str] = sys.stdout or open(os.devnull, "w")
        self.err: IO[str] = sys.stderr or open(os.devnull, "w")

    def result(self, data: Any, text: str) -> None:
        """What the command was asked for: the data with `--json`, else the text."""
        if self.json:
            self.write(json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        elif text:
            self.write(text if text.endswith("\n") else text + "\n")

    def write(self, text: str) -> None:
        """Text to stdout.  Raises OutputError when it cannot be written: a full disk is no bug."""
        try:
            self.out.write(text)
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            with contextlib.suppress(
                OSError, ValueError
            ):  # Python would flush it once more, and fail once more
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())
            raise OutputError(f"cannot write to stdout: {(error.strerror or str(error)).lower()}") from error

    def note(self, text: str, *, level: int = 0) -> None:
        """Something to know besides the result; silent with `-q`, and details only with `-v`."""
        if self.verbosity >= level:
            self._say(text)

    def error(self, error: GraphcError) -> None:
        """The error on stderr; with `--json` as the object on stdout."""
        if self.json and not self.broken:
            self.result({"error": error.as_dict(), "exit_code": error.exit_code}, "")
        else:
            self._say(draw(error, color=wants_color(self.err, self.color)))

    def _say(self, text: str) -> None:
        # Who reads the notes may have gone, or their disk may be full; the work is still wanted.
        with contextlib.suppress(OSError):
            self.err.write(text + "\n")
            self.err.flush()

    @contextlib.contextmanager
    def user_output_to_stderr(self) -> Iterator[None]:
        """What a model prints while it is imported or traced is no result."""
        with contextlib.redirect_stdout(self.err):
            yield

    @contextlib.contextmanager
    def own_warnings(self) -> Iterator[None]:
        """What graphc warns of becomes a note; the warnings of the user's program stay as they are."""
        with warnings.catch_warnings():
            shown = warnings.showwarning

            def show(
                message: Warning | str, category: type[Warning], filename: str, lineno: int,
                file: Any = None, line: str | None = None,
            ) -> None:  # fmt: skip
                if category.__module__.partition(".")[0] == "graphc":
                    self.note(f"note: {message}")
                else:
                    shown(message, category, filename, lineno, file, line)

            warnings.showwarning = show
            yield

    @property
    def bold(self) -> tuple[str, str]:
        """What to put around a heading on stdout."""
        return ("\x1b[1m", "\x1b[0m") if wants_color(self.out, self.color) else ("", "")


def table(rows: Iterable[Sequence[Any]], *, indent: str = "  ") -> str:
    """Rows with aligned columns; the last column is not padded.

    >>> print(table([("x", "float32[N,4]", "input"), ("logits", "float32[N]", "output")]))
      x       float32[N,4]  input
      logits  float32[N]    output
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [
        max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells), default=0))
    ]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths))).rstrip() for row in cells
    )


def in_bytes(count: float) -> str:
    """A number of bytes for people: binary units.

    >>> in_bytes(900), in_bytes(3 << 20)
    ('900 B', '3.00 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    raise AssertionError("the loop ends at TiB")


def in_seconds(seconds: float) -> str:
    """A time for people.

    >>> in_seconds(0.0000381), in_seconds(1.5)
    ('38.1 µs', '1.5 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _plain(value: Any) -> Any:
    """Data as JSON has it; NaN and infinities, which JSON does not have, become their names."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            items = sorted(value) if isinstance(value, (set, frozenset)) else value
            return [_plain(item) for item in items]
    if hasattr(value, "tolist"):  # a NumPy array or number
        return _plain(value.tolist())
    return str(value)
