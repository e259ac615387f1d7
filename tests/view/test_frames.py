"""Steps as still pictures: what is not known yet is blank, nothing moves, and what cannot be is refused."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from graphc import api
from graphc.errors import UsageError
from graphc.view import draw, make_picture, render, render_frames
from graphc.view.frames import frame_dot
from graphc.view.render_ir import Text
from graphc.view.theme import DEFAULT

needs_engine = pytest.mark.skipif(not draw.working_engines(), reason="no layout engine on this machine")
SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = {Text.VALUE: False, Text.GRADIENT: True, Text.PRODUCT: True}


def circuit():
    graph = api.graph_of(lambda x, y, z: (x * y + z) * x * 1234.5678, dict.fromkeys("xyz", "float64[]"))
    joint = api.reverse_mode(graph)
    return joint, api.evaluated(
        joint, {name: np.array(number) for name, number in zip("xyz", (1.2345, -2.0, 0.5), strict=True)}
    )


def matrices():
    def function(x, w, v):
        return (x @ w).tanh() @ v

    types = {"x": "float32[2,4]", "w": "float32[4,8]", "v": "float32[8,2]"}
    joint = api.reverse_mode(api.graph_of(function, types))
    return joint, api.evaluated(joint, True)


def blank(dot: str) -> dict[str, list[str]]:
    """The texts without colour, by node."""
    found = {}
    for line in dot.splitlines():
        node = re.match(r'\s*"([^"]+)" \[', line)
        if node:
            texts = re.findall(r'COLOR="#00000000"[^>]*>(?:<I>)*([^<]*)', line)
            found[node[1]] = [text.replace("&#160;", " ") for text in texts]
    return found


@pytest.mark.parametrize("make", [circuit, matrices])
def test_exactly_what_is_not_known_yet_is_blank(make) -> None:
    joint, values = make()
    picture = make_picture(joint, values=values, known={})
    last = len(picture.steps)
    assert not any(blank(frame_dot(picture, 0, DEFAULT)).values())
    assert not any(blank(frame_dot(picture, last, DEFAULT)).values())
    for number in range(1, last + 1):
        known = [(name, step.backward) for step in picture.steps[:number] for name in step.shows]
        told = {(name, step.backward) for step in picture.steps for name in step.shows}
        hidden = blank(frame_dot(picture, number, DEFAULT))
        for node in picture.nodes:
            wanted = [
                line.text
                for line in node.lines
                if line.kind in NUMBERS
                and (key := (node.id, NUMBERS[line.kind])) in told
                and key not in known
            ]
            assert (
                "".join(sorted(" ".join(wanted))).strip()
                == "".join(sorted(" ".join(hidden.get(node.id, [])))).strip()
            )
    assert blank(frame_dot(picture, 1, DEFAULT)) != blank(frame_dot(picture, last - 1, DEFAULT))


@needs_engine
def test_nothing_moves(tmp_path) -> None:
    joint, values = circuit()
    paths = render_frames(joint, tmp_path, values=values)
    assert [path.name for path in paths] == [f"{i:03}.svg" for i in range(len(paths))]
    places = []
    for path in paths:
        root = ET.fromstring(path.read_bytes())
        groups = [g for g in root.iter(f"{SVG}g") if "node" in g.get("class", "").split()]
        texts = {
            (g.get("id"), t.text): (t.get("x"), t.get("y")) for g in groups for t in g.iter(f"{SVG}text")
        }
        places.append((root.get("viewBox"), texts))
    assert all(place == places[0] for place in places)


def test_steps_there_are_not(tmp_path) -> None:
    joint, values = circuit()
    with pytest.raises(UsageError, match="no step 99"):
        render(joint, tmp_path / "a.dot", step=99, values=values)
    with pytest.raises(UsageError, match="not written as .html"):
        render(joint, tmp_path / "a.html", step=1, values=values)
    with pytest.raises(UsageError, match="memory map"):
        render(joint, tmp_path / "a.svg", step=1, view="memory")
    with pytest.raises(UsageError, match="has no steps"):
        render(make_picture(joint), tmp_path / "a.svg", step=1)
    assert list(tmp_path.iterdir()) == []


def test_from_the_command_line(tmp_path) -> None:
    from graphc.cli.main import main

    file = tmp_path / "f.py"
    file.write_text('inputs = {"x": "float64[]", "y": "float64[]"}\ndef model(x, y):\n    return x * y\n')
    assert main(["render", str(file), "--values", "--frames", str(tmp_path / "s"), "-o", "f.dot"]) == 0
    assert main(["render", str(file), "--values", "--step", "1", "-o", str(tmp_path / "f.dot")]) == 0
    assert sorted(p.name for p in (tmp_path / "s").iterdir())[:2] == ["000.dot", "001.dot"]
    assert (tmp_path / "f.dot").read_text("utf-8") == (tmp_path / "s/001.dot").read_text("utf-8")
