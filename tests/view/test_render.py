"""The doors: suffixes, themes, whole files, and refusals with a way out."""

import json
import re
from pathlib import Path

import pytest

from graphc.autodiff import differentiate
from graphc.errors import MissingToolError, OutputError, UsageError
from graphc.view import Picture, draw, make_picture, render, to_dot, to_svg
from graphc.view import render as render_function
from graphc.view.draw import PictureTooLarge
from graphc.view.render_ir import Edge, Layout, Node, Role

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
MAGIC = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF", ".dot": b"digraph", ".json": b"{"}


@needs_engine
@pytest.mark.parametrize("suffix", MAGIC)
def test_every_suffix(graphs, tmp_path, suffix: str) -> None:
    path = render(differentiate(graphs.mlp()), tmp_path / f"mlp{suffix}")
    assert path.read_bytes().startswith(MAGIC[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [f"mlp{suffix}"]


def test_text_needs_no_engine(graphs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(draw, "engines", list)
    joint = differentiate(graphs.mlp())
    assert render(joint, tmp_path / "mlp.dot").read_text(encoding="utf-8") == to_dot(joint)
    picture = Picture.from_json(render(joint, tmp_path / "mlp.json").read_text(encoding="utf-8"))
    assert picture == make_picture(joint)
    assert to_dot(picture) == to_dot(joint)
    with pytest.raises(MissingToolError):
        render(joint, tmp_path / "mlp.svg")
    assert not (tmp_path / "mlp.svg").exists()


def test_what_was_there_stays_when_drawing_fails(graphs, tmp_path, monkeypatch) -> None:
    (tmp_path / "mlp.png").write_bytes(b"before")
    monkeypatch.setattr(draw, "engines", list)
    with pytest.raises(MissingToolError):
        render(graphs.mlp(), tmp_path / "mlp.png")
    assert (tmp_path / "mlp.png").read_bytes() == b"before"


@pytest.mark.parametrize("name", ["mlp.webp", "mlp", "mlp.svg.gz"])
def test_other_suffixes_are_refused(graphs, tmp_path, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(name)) as caught:
        render(graphs.mlp(), tmp_path / name)
    assert ".svg" in caught.value.fix


def test_an_unknown_theme_is_refused(graphs, tmp_path) -> None:
    with pytest.raises(UsageError, match="no theme 'pink'") as caught:
        render(graphs.mlp(), tmp_path / "mlp.dot", theme="pink")
    assert "cs231n" in caught.value.fix


def test_a_folder_in_the_way(graphs, tmp_path) -> None:
    (tmp_path / "mlp.dot").mkdir()
    with pytest.raises(OutputError):
        render(graphs.mlp(), tmp_path / "mlp.dot")


@needs_engine
def test_the_svg_has_a_title_of_its_own(graphs) -> None:
    svg = to_svg(graphs.mlp(), title="a <b> & c")
    assert "<title>a &lt;b&gt; &amp; c</title>" in svg and '<svg role="img"' in svg


def chain(length: int, skip: int) -> Picture:
    nodes = tuple(Node(f"o-{i}", Role.OP, "add") for i in range(length))
    edges = tuple(Edge(f"o-{i}", f"o-{i + 1}") for i in range(length - 1))
    edges += tuple(Edge(f"o-{i}", f"o-{i + skip}") for i in range(length - skip))
    return Picture("chain", Layout.ROWS, nodes, edges, (), tuple((n.id,) for n in nodes))


def test_what_cannot_be_laid_out_in_time_is_refused_at_once(tmp_path) -> None:
    with pytest.raises(PictureTooLarge, match="2,000 boxes") as caught:
        render_function(chain(2000, 900), tmp_path / "chain.svg")
    assert "depth=1" in caught.value.fix
    assert render_function(chain(2000, 900), tmp_path / "chain.dot").exists()


@needs_engine
def test_large_mirrored_graphs_are_laid_out(graphs, tmp_path) -> None:
    picture = make_picture(differentiate(graphs.residual(20)), depth=9)
    assert len(picture.nodes) > 450
    assert render(picture, tmp_path / "residual.svg").stat().st_size > 100_000


def test_names_for_everything_drawn(graphs) -> None:
    """The JSON names each op's source, so that a page can lead back to it."""
    assert {"id", "role", "label", "lines", "cluster", "backward", "source"} == set(
        json.loads(make_picture(graphs.mlp()).to_json())["nodes"][0]
    )


def test_no_path_of_this_machine_is_written(graphs) -> None:
    assert str(Path(__file__).parents[2]) not in to_dot(graphs.mlp(), show=("shapes", "source"))
