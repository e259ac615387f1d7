"""docs/gallery.md shows the figures there are, and the small ones are as graphc draws them now."""

import re
import runpy
import shlex
import xml.etree.ElementTree as ElementTree

import pytest

from graphc.view import draw
from tests.docs.commands import ROOT
from tests.docs.test_generated import structure
from tests.view import metrics

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
    "silu-opened",
    "a3",
    "nan",
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
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert len(texts) > 5
    for text in texts:  # each letter is in the font it is set in: no empty boxes
        style = {"bold": "font-weight" in text.attrib, "italic": "font-style" in text.attrib}
        missing = [c for c in text.text or "" if not metrics.has(c, **style)]
        assert not missing, text.text


@pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
@pytest.mark.parametrize("name", SMALL)
def test_small_figures_are_as_they_are_drawn_now(name: str, tmp_path, capsys) -> None:
    gallery["draw"](FIGURES[name], tmp_path / "now.svg")
    now = (tmp_path / "now.svg").read_text(encoding="utf-8")
    assert structure((FOLDER / f"{name}.svg").read_text(encoding="utf-8")) == structure(now), STALE


def test_every_command_of_the_page_names_a_model_and_options_there_are() -> None:
    from graphc.cli.render import command

    known = {flag for parameter in command.params for flag in parameter.opts}
    for figure in FIGURES.values():
        target, *words = shlex.split(figure.drawn)
        assert {word for word in words if re.match("--?[a-z]", word)} <= known, figure.name
        assert (ROOT / target.partition(":")[0]).is_file(), figure.name


def test_the_page_is_not_heavy() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3_000_000
