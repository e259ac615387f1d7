"""DOT text to SVG, PNG or PDF bytes.

The layout comes from `dot` on the PATH, else from the pygraphviz wheel, which brings Graphviz along.
Either runs as a process of its own with a time limit and with the fonts of this package, so a machine
without fonts draws the same picture (else every letter of a PNG is an empty box and the exit status
is 0), and one machine draws the same bytes each time.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from graphc.errors import GraphcError, InternalError, MissingToolError, UsageError
from graphc.view import glyphs

FORMATS = ("svg", "png", "pdf")
PIXELS = 32_000  # longest side of a PNG: above it cairo scales or leaves the picture blank
TIMEOUT = 20.0
INSTALL = "apt-get install graphviz, or pip install pygraphviz"
FONTS = Path(__file__).parent / "fonts"

SYSTEM = tuple(  # asked for what the bundled fonts do not have
    Path(folder).expanduser()
    for folder in (
        "/usr/share/fonts",
        "/usr/local/share/fonts",
        "~/.local/share/fonts",
        "~/.fonts",
        "/System/Library/Fonts",
        "/Library/Fonts",
        "C:/Windows/Fonts",
    )
)


class PictureTooLarge(GraphcError):
    """A picture has too many or too far-reaching edges to be laid out in time, or too many pixels.

    Draw less of it: `--depth 1` folds modules, `--view forward` or `--view backward` draws one half, and
    `.svg` or `.pdf` have no limit of pixels.  `.dot` is written without any layout.
    """

    code = "GC0701"


def engines() -> list[str]:
    """The layout engines of this machine in order of preference: `dot`, `pygraphviz`.

    A `dot` older than 10 draws an edge between two clusters twice when its ends stand in one row
    (seen with 2.43, which Debian 12 and 13 have), so the wheel comes first then.
    """
    wheel = ["pygraphviz"] if importlib.util.find_spec("pygraphviz") else []
    path = shutil.which("dot")
    if path is None:
        return wheel
    return ["dot", *wheel] if _major_version(path) >= 10 else [*wheel, "dot"]


def working_engines() -> list[str]:
    """Those that can draw here: the wheel may be installed and lack a system library (libX11 in slim images)."""
    return [engine for engine in engines() if _works(engine)]


@cache
def _works(engine: str) -> bool:
    try:
        return bool(_run_engine(engine, "digraph { a }", "svg", 72, TIMEOUT))
    except (_EngineFailed, GraphcError):
        return False


@cache
def _major_version(dot: str) -> int:
    try:
        said = subprocess.run(
            [dot, "-V"], capture_output=True, text=True, timeout=TIMEOUT, check=False
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"version (\d+)", said)
    return int(found[1]) if found else 0


def draw(dot: str, form: str, *, timeout: float = TIMEOUT, scale: float = 2.0) -> bytes:
    """Lay out DOT text and return the picture as `svg`, `png` or `pdf`.

    `scale` is pixels per point of a PNG; a picture that would pass 32,000 pixels gets fewer, down to
    one, and is refused beyond.  Raises MissingToolError when the machine has no engine that works, and for a PNG or
    PDF of letters that no font here has: they would be empty boxes.  An SVG is drawn with its reader's fonts.
    """
    if form not in FORMATS:
        raise UsageError(f"cannot draw {form!r}", fix=f"choose one of {', '.join(FORMATS)}, dot, json")
    absent = glyphs.missing(dot, [FONTS, *SYSTEM]) if form != "svg" else ""
    if absent:
        raise MissingToolError(
            f"no font on this machine has {' '.join(absent[:8])}{' ...' * (len(absent) > 8)}",
            fix=f"install one (apt-get install fonts-noto-cjk, or fonts-noto), or write .svg instead of .{form}",
        )
    if form == "png":
        longest = max(size_in_points(_run(dot, "svg", 72, timeout)))
        scale = min(scale, PIXELS / longest)
        if scale < 1:
            raise PictureTooLarge(
                f"the picture is {longest:,.0f} points long, more than a PNG of {PIXELS:,} pixels holds",
                fix="write .svg or .pdf, or fold modules with depth=1",
            )
    data = _run(dot, form, round(72 * scale) if form == "png" else 72, timeout)
    match form:
        case "svg":
            return _clean_svg(data)
        case "pdf":
            return re.sub(rb"/CreationDate \(D:\d{14}", b"/CreationDate (D:19700101000000", data)
    return data


def size_in_points(svg: bytes) -> tuple[float, float]:
    """Width and height of an SVG written by Graphviz."""
    found = re.search(rb'<svg width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    if found is None:
        raise InternalError("the layout engine wrote an SVG without a size")
    return float(found[1]), float(found[2])


def _run(dot: str, form: str, dpi: int, timeout: float) -> bytes:
    """The output of the first engine that works."""
    failures = []
    for engine in engines():
        try:
            return _run_engine(engine, dot, form, dpi, timeout)
        except _EngineFailed as failure:
            failures.append(f"{engine}: {failure}")
    reason = "; ".join(failures) or "neither `dot` nor the pygraphviz wheel is here"
    raise MissingToolError(f"cannot lay out a picture ({reason})", fix=INSTALL)


class _EngineFailed(Exception):
    """An engine is there but does not work (a missing library or format); the next one is tried."""


@dataclass(slots=True)
class _Started:
    """An engine that waits for its DOT text."""

    process: subprocess.Popen[bytes]
    folder: tempfile.TemporaryDirectory[str]

    @property
    def config(self) -> Path:
        return Path(self.folder.name) / "fonts.conf"

    def end(self) -> None:
        _stop(self.process)
        self.folder.cleanup()


_waiting: dict[tuple[str, str, int], _Started] = {}


def warm_up(form: str = "svg") -> None:
    """Start the engine that will draw `form`, so that it loads while the model is still read.

    Does nothing where there is none, or one waits already.
    """
    for engine in engines()[:1]:
        if (engine, form, 72) not in _waiting:
            _waiting[engine, form, 72] = _start(engine, form, 72)


@atexit.register
def _end_waiting() -> None:
    while _waiting:
        _waiting.popitem()[1].end()


def _start(engine: str, form: str, dpi: int) -> _Started:
    folder = tempfile.TemporaryDirectory(prefix="graphc-")
    process = subprocess.Popen(
        _command(engine, form, dpi),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"FONTCONFIG_FILE": str(Path(folder.name) / "fonts.conf")},
        start_new_session=True,
    )
    return _Started(process, folder)


def _run_engine(engine: str, dot: str, form: str, dpi: int, timeout: float) -> bytes:
    started = _waiting.pop((engine, form, dpi), None) or _start(engine, form, dpi)
    process = started.process
    try:
        started.config.write_text(_font_config(dot, started.folder.name), encoding="utf-8")
        data, noise = process.communicate(dot.encode("utf-8"), timeout=timeout)
    except subprocess.TimeoutExpired:
        raise PictureTooLarge(
            f"the layout took more than {timeout:g} s",
            fix="fold modules with depth=1, draw one view (forward or backward), or write .dot",
        ) from None
    finally:
        started.end()
    said = noise.decode("utf-8", "replace")
    wrong = next(
        (
            line
            for line in said.splitlines()
            if re.search("syntax error|mismatched tag|not well-formed", line)
        ),
        "",
    )
    if wrong:
        raise InternalError(f"Graphviz cannot read the DOT text: {wrong}")
    if process.returncode != 0 or not data:
        raise _EngineFailed(_last_line(said) or f"exit status {process.returncode}")
    return data


def _command(engine: str, form: str, dpi: int) -> Sequence[str]:
    if engine == "dot":
        from graphviz.backend import dot_command

        return [str(part) for part in dot_command.command("dot", form)] + [f"-Gdpi={dpi}"]
    return [sys.executable, "-P", str(Path(__file__).with_name("_pygraphviz_worker.py")), form, str(dpi)]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the engine if it still runs: its whole process group where there are groups."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()


def _font_config(dot: str, cache: str) -> str:
    folders = [FONTS, *(SYSTEM if glyphs.missing(dot, [FONTS]) else ())]
    listed = "".join(f"<dir>{escape(str(folder))}</dir>" for folder in folders)
    return (
        f'<?xml version="1.0"?><fontconfig>{listed}<cachedir>{escape(cache)}</cachedir>'
        '<match target="pattern"><edit name="hinting" mode="assign"><bool>false</bool></edit>'
        '<edit name="hintstyle" mode="assign"><const>hintnone</const></edit></match></fontconfig>'
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Fontconfig" not in line]
    return lines[-1] if lines else ""


def _clean_svg(data: bytes) -> bytes:
    """The same SVG without what differs between machines, and with fonts a reader's machine has."""
    text = data.decode("utf-8")
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*" class="cluster">\s*<title>[^<]*</title>\s*</g>\s*', "", text)  # unseen ones
    text = text.replace('stroke="transparent"', 'stroke="none"')
    text = text.replace('font-family="DejaVu Sans"', 'font-family="DejaVu Sans,Verdana,Geneva,sans-serif"')
    return text.encode("utf-8")
