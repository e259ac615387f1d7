"""The page is what its results say, costs are marked where they jump, and the pictures show every workload."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks import costs, report, roofline
from benchmarks.costs import Cost
from benchmarks.footprint import table as footprint_table
from benchmarks.limits import from_data

RESULTS = json.loads(report.RESULTS.read_text("utf-8"))


@pytest.mark.parametrize("path", report.generated(RESULTS), ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path):
    assert path.read_text("utf-8") == report.generated(RESULTS)[path], "run python -m benchmarks.report"


def test_every_row_of_the_results_is_on_the_page():
    page = report.PAGE.read_text("utf-8")
    for row in RESULTS["rows"]:
        assert f"| {row['workload']} " in page
        assert all(result["seconds"] or result["reason"] for result in row["results"])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_picture_shows_every_workload_that_computes(threads):
    rows = report._rows(RESULTS)
    svg = roofline.picture(rows, from_data(RESULTS["machine"]), threads)
    texts = [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    for row in rows:
        if row.threads == threads and row.limit and row.limit.flop >= 1e5:
            assert row.workload.name in texts


def test_names_in_the_picture_do_not_lie_on_each_other():
    taken = []
    places = [roofline._free(400.0, 200.0, 70.0, taken) for _ in range(8)]
    assert len(set(places)) == len(places) == len(taken)
    assert not any(roofline._meet(a, b) for i, a in enumerate(taken) for b in taken[:i])


def test_files_replace_their_part_of_the_results(tmp_path):
    costs_file, other, text = (tmp_path / name for name in ("costs.json", "other.json", "lenet.txt"))
    costs_file.write_text('{"costs": []}')
    other.write_text('{"cost": []}')
    text.write_text("a profile")
    changed = report.with_file(report.with_file(RESULTS, costs_file), text)
    assert changed == {**RESULTS, "costs": [], "profile": "a profile"}
    with pytest.raises(ValueError, match="no part cost;"):
        report.with_file(RESULTS, other)


def test_cliffs_are_found_within_a_series_only():
    first = Cost("net", "batch", 1, 1.0, 100, 0.0)
    second = replace(first, value=2, seconds=2.9, flop=200)
    third = replace(first, value=4, seconds=9.0, flop=400)
    other = replace(first, series="other", seconds=50.0)
    assert costs.cliffs([first, second, third, other]) == {2}
    assert costs.cliffs([first, replace(second, seconds=3.1)]) == {1}
    assert "cliff" in costs.table([third, first, second])


def test_a_library_that_is_missing_is_told_of():
    rows = [
        {"workload": "net", "peer": "graphc", "import": 0.05, "first": 0.123, "memory": 100 << 20},
        {"workload": "net", "peer": "torch", "reason": "No module named 'torch'"},
    ]
    text = footprint_table(rows)
    assert "| net | graphc | 100 MiB | 0.05 s | 123 ms |" in text and "No module named 'torch'" in text


def test_what_is_written_along_a_roof_keeps_off_the_points():
    points = [(90.0, 80.0, 130.0, 120.0)]
    taken = list(points)
    x, y = roofline._along(80.0, 140.0, 300.0, -80.0, "L2 190 GB/s", taken)
    assert not any(roofline._meet(a, b) for a in taken[1:] for b in points)
    assert (x, y) != roofline._along(80.0, 140.0, 300.0, -80.0, "L2 190 GB/s", [])
