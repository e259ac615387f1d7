"""docs/gallery.md shows the figures there are, and the small ones are as graphc draws them now."""

import re
import runpy
import xml.etree.ElementTree as ElementTree

import pytest

from graphc.view import draw
from tests.docs.commands import ROOT
from tests.docs.test_generated import structure

gallery = runpy.run_path(str(ROOT / "docs/gallery.py"))
FIGURES = {figure.name: figure for figure in gallery["FIGURES"]}
FOLDER = gallery["FOLDER"]
SMALL = [
    "a1",
    "a2",
    "a2-dark",
    "a2-cs231n",
    "fork",
    "neuron",
    "neuron-opened",
    "silu",
    "silu-opened",
    "a3",
    "lstm",
]
STALE = "run make gallery"


def test_the_page_is_that_of_the_figures() -> None:
    assert (ROOT / "docs/gallery.md").read_text(encoding="utf-8") == gallery["page"](), STALE


def test_every_figure_is_there_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == FIGURES.keys(), STALE


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_read_and_is_not_empty(name: str) -> None:
    root = ElementTree.parse(FOLDER / f"{name}.svg").getroot()
    assert root.get("viewBox")
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert len(texts) > 5


@pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
@pytest.mark.parametrize("name", SMALL)
def test_small_figures_are_as_they_are_drawn_now(name: str) -> None:
    gallery["nn"].init.manual_seed(0)
    drawn = FIGURES[name].draw()
    assert structure((FOLDER / f"{name}.svg").read_text(encoding="utf-8")) == structure(drawn), STALE


def test_every_line_of_the_page_is_a_command_there_is() -> None:
    from graphc.cli.render import command

    known = {flag for parameter in command.params for flag in parameter.opts}
    for figure in FIGURES.values():
        used = set(re.findall(r"(?<= )--?[a-z][a-z-]*", figure.how))
        assert used <= known, figure.name
