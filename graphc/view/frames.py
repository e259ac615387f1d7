"""The steps of a picture's story as still pictures: for slides, and for print.

A frame is the whole picture with what is not known yet left blank, and with the box of its step in bold.  Blank text
keeps its place and every caption has the same height, so nothing moves from one frame to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from textwrap import wrap

from graphc.errors import UsageError
from graphc.view.dot import to_dot
from graphc.view.dot_text import elide, escape
from graphc.view.render_ir import Picture, Step, Text
from graphc.view.theme import Theme

WIDE = 88  # letters of a line of the caption
FORWARD = (Text.VALUE,)
BACKWARD = (Text.GRADIENT, Text.PRODUCT)
BOLD, LIGHT = 3.5, 2.2  # pens for the box of the step and for what it reads


def frame_dot(picture: Picture, number: int, theme: Theme) -> str:
    """The DOT text of one step, from 1; 0 is the whole picture.

    Raises UsageError for a step there is not.
    """
    if not picture.steps:
        raise UsageError("the picture has no steps", fix="draw view='joint' or 'forward' of a graph")
    if not 0 <= number <= len(picture.steps):
        raise UsageError(
            f"there is no step {number}",
            fix=f"choose 0, the whole picture, or one of 1 to {len(picture.steps)}",
        )
    captions = [_caption(step, i + 1, len(picture.steps)) for i, step in enumerate(picture.steps)]
    tall = max(map(len, captions))
    said = captions[number - 1] if number else [f"{len(picture.steps)} steps"]
    said += [""] * (tall - len(said))
    dot = to_dot(replace(picture, notices=(*picture.notices, *said)), theme)
    step = picture.steps[number - 1] if number else None
    hidden = _unknown(picture, number) if number else {}
    nodes = {node.id: node for node in picture.nodes}
    lines = []
    for line in dot.split("\n"):
        found = re.match(r'\s*"([^"]+)" \[', line)
        if found and found[1] in nodes:
            node = nodes[found[1]]
            for kind in hidden.get(node.id, ()):
                for text in (t.text for t in node.lines if t.kind is kind):
                    line = _blank(line, text)
            if step is not None and node.id == step.at:
                line = _bold(line, BOLD, theme)
            elif step is not None and node.id in step.uses:
                line = _bold(line, LIGHT, theme)
        elif step is not None:
            line = _bold_edge(line, step)
        lines.append(line)
    return "\n".join(lines)


def _caption(step: Step, number: int, count: int) -> list[str]:
    lines = [part for line in step.text.split("\n") for part in wrap(line, WIDE) or [""]]
    return [f"step {number} of {count}, {'backward' if step.backward else 'forward'}", *lines]


def _unknown(picture: Picture, number: int) -> dict[str, Sequence[Text]]:
    """Kinds of lines, by node, that a later step makes known."""
    made: dict[tuple[str, bool], int] = {}
    for i, step in enumerate(picture.steps, start=1):
        for name in step.shows:
            made.setdefault((name, step.backward), i)
    unknown: dict[str, Sequence[Text]] = {}
    for (name, backward), i in made.items():
        if i > number:
            unknown[name] = (*unknown.get(name, ()), *(BACKWARD if backward else FORWARD))
    return unknown


def _blank(line: str, text: str) -> str:
    """The text stays and takes its room, in no colour; a long formula stands in two rows."""
    head, _, result = text.rpartition(" = ")
    for shown in dict.fromkeys((text, elide(text), *((head, f"= {result}") if head else ()))):
        words = rf"((?:<[A-Z]+>)*{re.escape(escape(shown))}<)"
        line = re.sub(rf'<FONT COLOR="[^"]*"([^>]*)>{words}', r'<FONT COLOR="#00000000"\1>\2', line)
    return line


def _bold(line: str, width: float, theme: Theme) -> str:
    """A thicker pen; what has no outline of its own gets a ground."""
    if "shape=plain" in line or 'shape="plain"' in line:
        ground = theme.loss_fill if width == BOLD else theme.module_fill
        return line.replace("<TABLE ", f'<TABLE BGCOLOR="{ground}" ', 1)
    return re.sub(r"\]$", f', penwidth="{width:g}"]', line)


def _bold_edge(line: str, step: Step) -> str:
    """The edges by which the step reads."""
    found = re.match(r'\s*"([^"]+)" -> "([^"]+)" \[', line)
    if found is None or 'style="invis"' in line:
        return line
    made, (a, b) = {step.at, *step.shows}, found.groups()
    reads = (a in step.uses and b in made) or (
        b in step.uses and a in made
    )  # a gradient's may be written backwards
    return re.sub(r"\]$", f', penwidth="{LIGHT:g}"]', line) if reads else line
