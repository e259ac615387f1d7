"""Colour themes.

Colour is always the second code: position, prefix and line style say the same thing, so a
picture stays readable in grey.  The default pair keeps the lecture tradition (green values,
red gradients) in hues that stay apart for every common colour-vision deficiency; the tests
compute contrast (WCAG 2.2) and colour difference (CIE76 after Machado 2009) of every theme.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Theme:
    """Every colour of a picture as `#rrggbb`; text colours keep 4.5:1 on `background`, lines 3:1."""

    name: str
    background: str
    ink: str  # text, op outlines, forward arrows
    muted: str  # second text line, local derivatives
    line: str  # module outlines, saved-for-backward arrows
    forward: str  # forward values
    backward: str  # gradients
    op_fill: str
    gradient_fill: str
    input_fill: str
    parameter_fill: str
    constant_fill: str
    loss_fill: str
    module_fill: str
    hulls: tuple[str, ...]  # fusion groups and memory boxes, in turn


DEFAULT = Theme(
    name="default",
    background="#FFFFFF",
    ink="#1B1F23",
    muted="#4A4F55",
    line="#6B7178",
    forward="#00594C",
    backward="#C2410C",
    op_fill="#FFFFFF",
    gradient_fill="#FFF6F0",
    input_fill="#EAF2FB",
    parameter_fill="#F3EEFA",
    constant_fill="#F2F3F4",
    loss_fill="#FBF3D9",
    module_fill="#F7F9FA",
    hulls=("#E3EEF8", "#FBEBDD", "#E4F2E7", "#F6E7F1", "#F5F0D5", "#E6E6F7"),
)

DARK = Theme(
    name="dark",
    background="#14171A",
    ink="#E8EAED",
    muted="#B4BAC1",
    line="#8A9199",
    forward="#5EEAD4",
    backward="#FF9D60",
    op_fill="#1E2328",
    gradient_fill="#2A211B",
    input_fill="#1A2733",
    parameter_fill="#261F33",
    constant_fill="#24282C",
    loss_fill="#302A17",
    module_fill="#191D21",
    hulls=("#1B2A38", "#33261A", "#1B2F22", "#33202C", "#302C17", "#23233A"),
)

BLUE_ORANGE = replace(
    DEFAULT,
    name="blue-orange",
    forward="#005A9C",
    backward="#B34700",
    parameter_fill="#F1F1F1",
    constant_fill="#F6F6F6",
    module_fill="#F8F9FB",
    hulls=("#E3EEF8", "#FBEBDD", "#EDEDED", "#D5E5F2", "#F6E0CC", "#F7F7F7"),
)

# White boxes on white paper; what is left of colour is forward and backward, in the lecture's green and red.
CS231N = replace(
    DEFAULT,
    name="cs231n",
    ink="#000000",
    muted="#4A4A4A",
    line="#6B6B6B",
    forward="#008000",
    backward="#FF0000",
    hulls=("#F2F2F2", "#FFFFFF"),
    **{f.name: "#FFFFFF" for f in fields(Theme) if f.name.endswith("_fill")},
)

PRINT = replace(
    CS231N,
    name="print",
    muted="#333333",
    line="#555555",
    forward="#000000",
    backward="#000000",
    hulls=("#FFFFFF", "#EEEEEE"),
)

THEMES: dict[str, Theme] = {t.name: t for t in (DEFAULT, DARK, CS231N, BLUE_ORANGE, PRINT)}


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 (black) to 1 (white), as WCAG 2.2 defines it.

    >>> luminance("#FFFFFF")
    1.0
    """
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2).

    >>> round(contrast("#000000", "#FFFFFF"))
    21
    """
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
