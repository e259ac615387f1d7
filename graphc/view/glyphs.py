"""Which characters a font has, read from its `cmap` table: a PNG or PDF must not show empty boxes.

Source: OpenType specification, `cmap`, formats 4 and 12.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

FONTS = (".ttf", ".otf", ".ttc")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNICODE = {(0, n) for n in range(7)} | {(3, 1), (3, 10)}  # platform and encoding of the maps that are read


def missing(text: str, folders: Iterable[Path]) -> str:
    """The visible characters of a text that no font in these folders has, sorted.

    The replacement character does not count: an empty box is what it means.
    """
    wanted = {ord(c) for c in set(text) - {REPLACEMENT} if unicodedata.category(c)[0] not in "CZ"}
    for folder in folders:
        for font in sorted(folder.rglob("*")) if wanted and folder.is_dir() else ():
            if wanted and font.suffix.lower() in FONTS:
                wanted = {c for c in wanted if not any(low <= c <= high for low, high in coverage(font))}
    return "".join(map(chr, sorted(wanted)))


@cache
def coverage(font: Path) -> tuple[tuple[int, int], ...]:
    """Ranges of characters, first and last, that a font file has; none of a file that is no font."""
    try:
        with font.open("rb") as file:
            found = [span for start in _starts(file) for span in _ranges(file, start)]
    except (OSError, struct.error):
        return ()
    return tuple(sorted(set(found)))


def _starts(file: BinaryIO) -> tuple[int, ...]:
    """Where the fonts of a file begin; a collection has several."""
    if file.read(4) != b"ttcf":
        return (0,)
    _, count = _read(file, ">II")
    return _read(file, f">{count}I")


def _ranges(file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
    file.seek(start)
    _, tables = _read(file, ">IH6x")
    places = {tag: offset for tag, _, offset, _ in (_read(file, ">4sIII") for _ in range(tables))}
    if b"cmap" not in places:
        return
    table = places[b"cmap"]
    file.seek(table)
    _, count = _read(file, ">HH")
    maps = [_read(file, ">HHI") for _ in range(count)]
    for offset in sorted({offset for platform, encoding, offset in maps if (platform, encoding) in UNICODE}):
        file.seek(table + offset)
        (form,) = _read(file, ">H")
        if form == 4:
            yield from _segments(file)
        elif form == 12:
            _, _, _, groups = _read(file, ">HIII")
            yield from ((first, last) for first, last, _ in (_read(file, ">III") for _ in range(groups)))


def _segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Format 4: a segment says how far its characters are from its glyphs, or where their numbers stand."""
    _, _, twice = _read(file, ">HHH6x")
    count = twice // 2
    lasts = _read(file, f">{count}H2x")
    firsts = _read(file, f">{count}H")
    shifts = _read(file, f">{count}H")
    here = file.tell()
    offsets = _read(file, f">{count}H")
    for i, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        if offsets[i] == 0:
            absent = {(0x10000 - shifts[i]) % 0x10000}  # the character that would be glyph 0
        else:
            file.seek(here + 2 * i + offsets[i])
            glyphs = _read(file, f">{last - first + 1}H")
            absent = {first + n for n, glyph in enumerate(glyphs) if glyph == 0}
        begin = first
        for gap in [*sorted(c for c in absent if first <= c <= last), last + 1]:
            if begin < gap and begin != 0xFFFF:
                yield begin, gap - 1
            begin = gap + 1


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
