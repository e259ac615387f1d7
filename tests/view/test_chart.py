"""Line charts: every point at its place, text that cannot break the file, nothing without numbers."""

import math
import xml.etree.ElementTree as ET

import pytest

from graphc.errors import UsageError
from graphc.view.chart import BOTTOM, HEIGHT, LEFT, LETTER, ROW, TOP, WIDTH, line_chart, save_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    root = ET.fromstring(text)
    lines = {
        line.find(f"{SVG}title").text: [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    }
    return lines, [element.text for element in root.iter(f"{SVG}text")]


def test_points_stand_where_they_should():
    end = WIDTH - 50 - round(LETTER)
    lines, _ = parsed(line_chart({"a": [0, 10], "b": [5, 5]}))
    assert lines["a"] == [(LEFT, HEIGHT - BOTTOM), (end, TOP)]
    middle = (HEIGHT - BOTTOM + TOP) / 2
    assert lines["b"] == [(LEFT, middle), (end, middle)]


def test_powers_of_ten():
    lines, texts = parsed(line_chart({"loss": [1, 10, 100], "bad": [-1, math.nan, 10]}, log=True, first=1))
    assert [y for _, y in lines["loss"]] == [HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2, TOP]
    assert len(lines["bad"]) == 1
    assert {"10⁰", "10¹", "10²", "1", "2", "3"} <= set(texts) and "0" not in texts


def test_zero_has_a_line_of_its_own_below_all_powers_of_ten():
    lines, texts = parsed(line_chart({"some": [1e-3, 1], "none": [0, 0]}, log=True))
    bottom = HEIGHT - BOTTOM
    assert [y for _, y in lines["none"]] == [bottom, bottom] and "0" in texts
    assert TOP == lines["some"][1][1] < lines["some"][0][1] < bottom - 20


def dashes(text):
    return [line.get("stroke-dasharray") for line in ET.fromstring(text).iter(f"{SVG}polyline")]


def test_lines_that_lie_on_each_other_all_show():
    apart = {"a": [0, 1, 2, 3], "b": [3, 2, 1, 0]}
    assert dashes(line_chart(apart)) == [None, None]
    first, second, third = dashes(line_chart({"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1, 2.001]}))
    assert first is None and len({first, second, third}) == 3


def heights(text):
    """Of the names at the right."""
    labels = [e for e in ET.fromstring(text).iter(f"{SVG}text") if e.text in "abcd"]
    return {label.text: float(label.get("y")) for label in labels}


@pytest.mark.parametrize("ends", [(0, 0, 0, 0), (0, 1, 2, 3), (3, 3, 0, 0), (1, 3, 1, 1)])
def test_names_stand_where_lines_end_and_do_not_touch(ends):
    found = heights(line_chart({name: [0, 3, end] for name, end in zip("abcd", ends)}))
    rows = sorted(found.values())
    assert all(below - above >= ROW - 0.11 for above, below in zip(rows, rows[1:]))
    assert TOP - ROW < rows[0] and rows[-1] <= HEIGHT - BOTTOM + 5
    order = sorted("abcd", key=lambda name: -ends["abcd".index(name)])
    assert [ends["abcd".index(n)] for n in sorted(found, key=found.get)] == [
        ends["abcd".index(n)] for n in order
    ]


def test_a_marked_point():
    root = ET.fromstring(line_chart({"a": [3, 1, 2]}, first=1, marks={"best": (2, 1)}))
    (circle,) = root.iter(f"{SVG}circle")
    middle = (LEFT + WIDTH - 50 - round(LETTER)) / 2
    assert (float(circle.get("cx")), float(circle.get("cy"))) == (middle, HEIGHT - BOTTOM)
    assert "best" in [e.text for e in root.iter(f"{SVG}text")]


def test_one_point_and_a_flat_line():
    lines, _ = parsed(line_chart({"one": [3.0]}))
    assert len(lines["one"]) == 1 and "<circle" in line_chart({"one": [3.0]})
    parsed(line_chart({"flat": [2.0, 2.0, 2.0]}))


def test_a_long_name_has_room():
    name = "a name of many letters"
    root = ET.fromstring(line_chart({name: [1, 2]}))
    (label,) = [element for element in root.iter(f"{SVG}text") if element.text == name]
    assert float(label.get("x")) + 6.5 * len(name) < WIDTH


def test_names_are_text():
    lines, texts = parsed(line_chart({"<a> & b": [1, 2]}, title="<t>", x_label="x & y", y_label='"'))
    assert list(lines) == ["<a> & b"]
    assert {"<t>", "x & y", '"'} <= set(texts)


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [math.inf]}])
def test_nothing_to_draw(series):
    with pytest.raises(UsageError, match="no number to draw"):
        line_chart(series)


def test_the_file_is_the_text(tmp_path):
    save_chart(tmp_path / "c.svg", {"a": [1, 2]}, title="t", log=True)
    assert (tmp_path / "c.svg").read_text("utf-8") == line_chart({"a": [1, 2]}, title="t", log=True)
