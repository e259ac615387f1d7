"""Themes, computed: contrast, colour differences under colour-vision deficiencies, the agreed colours."""

import math
from dataclasses import fields

import pytest

from graphc.view.theme import CS231N, DEFAULT, PRINT, THEMES, Theme, contrast, luminance

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
DEFICIENCIES = {
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritan": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TELLING = [theme for theme in THEMES.values() if theme not in (PRINT, CS231N)]


def linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def lab(rgb: list[float]) -> list[float]:
    r, g, b = (min(max(c, 0.0), 1.0) for c in rgb)
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def difference(a: str, b: str, deficiency: str | None = None) -> float:
    """CIE76 between two colours, as somebody with the deficiency sees them."""
    seen = []
    for colour in (a, b):
        rgb = linear(colour)
        if deficiency:
            rgb = [sum(m * c for m, c in zip(row, rgb, strict=True)) for row in DEFICIENCIES[deficiency]]
        seen.append(lab(rgb))
    return math.dist(*seen)


def test_known_values() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert luminance("#FF0000") == pytest.approx(0.2126)
    assert (
        difference("#008000", "#FF0000", "protan") < 15 < difference("#008000", "#FF0000")
    )  # the tradition's flaw


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_every_colour_is_a_colour(theme: Theme) -> None:
    for field in fields(theme):
        value = getattr(theme, field.name)
        for colour in value if isinstance(value, tuple) else [value] * (field.name != "name"):
            assert len(colour) == 7 and int(colour[1:], 16) >= 0


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_lines_stand_out(theme: Theme) -> None:
    own = {f.name: getattr(theme, f.name) for f in fields(theme) if f.name.endswith("_fill")}
    for fill in (theme.background, *own.values(), *theme.hulls):
        assert contrast(theme.ink, fill) >= 7
        assert contrast(theme.muted, fill) >= 4.5
        assert contrast(theme.line, fill) >= 3
    for fill in (theme.background, theme.op_fill, theme.input_fill, theme.loss_fill, theme.parameter_fill):
        assert contrast(theme.forward, fill) >= 4.5
    if theme is not CS231N:  # kept exactly as in the lecture, where red is 4.0:1
        for fill in (theme.background, theme.gradient_fill, theme.module_fill):
            assert contrast(theme.backward, fill) >= 4.5


@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
@pytest.mark.parametrize("theme", TELLING, ids=lambda t: t.name)
def test_forward_and_backward_differ_for_every_eye(theme: Theme, deficiency: str | None) -> None:
    assert difference(theme.forward, theme.backward, deficiency) >= 40


def test_the_lecture_colours_are_exact() -> None:
    assert (CS231N.forward, CS231N.backward) == ("#008000", "#FF0000")
    assert (DEFAULT.forward, DEFAULT.backward) == ("#00594C", "#C2410C")
    assert {PRINT.forward, PRINT.backward, PRINT.ink} == {"#000000"}
