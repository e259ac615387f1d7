"""Line charts: every point at its place, text that cannot break the file, nothing without numbers."""

import math
import xml.etree.ElementTree as ET

import pytest

from graphc.errors import UsageError
from graphc.view.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart, save_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    root = ET.fromstring(text)
    lines = {
        line.find(f"{SVG}title").text: [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        for line in root.iter(f"{SVG}polyline")
    }
    return lines, [element.text for element in root.iter(f"{SVG}text")]


def test_points_stand_where_they_should():
    lines, _ = parsed(line_chart({"a": [0, 10], "b": [5, 5]}))
    assert lines["a"] == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]
    middle = (HEIGHT - BOTTOM + TOP) / 2
    assert lines["b"] == [(LEFT, middle), (WIDTH - RIGHT, middle)]


def test_powers_of_ten_and_numbers_that_cannot_be_shown():
    lines, texts = parsed(line_chart({"loss": [1, 10, 100], "bad": [0, math.nan, 10]}, log=True, first=1))
    assert [y for _, y in lines["loss"]] == [HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2, TOP]
    assert len(lines["bad"]) == 1
    assert {"1e0", "1e1", "1e2", "1", "2", "3"} <= set(texts)


def test_one_point_and_a_flat_line():
    lines, _ = parsed(line_chart({"one": [3.0]}))
    assert len(lines["one"]) == 1
    parsed(line_chart({"flat": [2.0, 2.0, 2.0]}))


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
