"""How wide text is in the fonts of the pictures, read from their files: an oracle for the layout engine's guess."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

FONTS = Path(__file__).resolve().parents[2] / "graphc/view/fonts"


@cache
def _font(style: str) -> tuple[dict[int, int], list[int], int]:
    """Glyph by character, advance by glyph, units per em: tables cmap (format 4), hmtx and head of OpenType."""
    data = (FONTS / f"DejaVuSans{style}.ttf").read_bytes()
    tables = {
        data[at : at + 4]: struct.unpack(">I", data[at + 8 : at + 12])[0]
        for at in range(12, 12 + 16 * struct.unpack(">H", data[4:6])[0], 16)
    }

    def words(at: int, count: int, code: str = "H") -> tuple[int, ...]:
        return struct.unpack(f">{count}{code}", data[at : at + 2 * count])

    per_em = words(tables[b"head"] + 18, 1)[0]
    known = words(tables[b"hhea"] + 34, 1)[0]
    advances = list(words(tables[b"hmtx"], 2 * known)[::2])
    cmap = tables[b"cmap"]
    places = struct.iter_unpack(">HHI", data[cmap + 4 : cmap + 4 + 8 * words(cmap + 2, 1)[0]])
    (at,) = {cmap + offset for _, _, offset in places if words(cmap + offset, 1)[0] == 4}
    count = words(at + 6, 1)[0] // 2
    ends, starts = words(at + 14, count), words(at + 16 + 2 * count, count)
    deltas, offsets = words(at + 16 + 4 * count, count, "h"), words(at + 16 + 6 * count, count)
    glyphs = {}
    for i, (first, last, delta, offset) in enumerate(zip(starts, ends, deltas, offsets, strict=True)):
        for c in range(first, last + 1):
            glyph = words(at + 16 + 6 * count + 2 * i + offset + 2 * (c - first), 1)[0] if offset else c
            glyphs[c] = (glyph + delta) & 0xFFFF
    return glyphs, advances, per_em


def width(text: str, size: float, bold: bool = False, italic: bool = False) -> float:
    """In points."""
    glyphs, advances, per_em = _font(_style(bold, italic))
    return sum(advances[min(glyphs[ord(c)], len(advances) - 1)] for c in text) * size / per_em


def has(character: str, bold: bool = False, italic: bool = False) -> bool:
    """Whether the font has a picture of a character; glyph 0 is the empty box."""
    return _font(_style(bold, italic))[0].get(ord(character), 0) != 0


def _style(bold: bool, italic: bool) -> str:
    return "-Bold" if bold else "-Oblique" if italic else ""
