"""The table of light models: ratios, failures told of, and the place in docs/onnx.md that it is written to."""

from benchmarks import light
from graphc.bench.contest import Result


def test_table() -> None:
    fast, slow = Result("graphc", [0.001, 0.001]), Result("onnxruntime", [0.0015, 0.0015])
    wrong = Result("graphc", [0.001], reason="wrong answer")
    lines = light.table({"a": {1: [fast, slow]}, "b": {1: [wrong, slow]}}).split("\n")
    assert [cell.strip() for cell in lines[2].split("|")][1:-1] == ["a", "1.00 ms", "1.50 ms", "1.50"]
    assert "FAILS: wrong answer" in lines[3] and lines[3].rstrip(" |").endswith("-")


def test_the_page_has_a_place_for_it() -> None:
    page = light.PAGE.read_text("utf-8")
    assert page.count(light.BEGIN) == page.count(light.END) == 1
    assert page.index(light.BEGIN) < page.index(light.END) < page.index("<!-- table -->")
