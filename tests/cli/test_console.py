"""Results and notes: which stream, which form."""

import io
import json

import numpy as np
import pytest

from graphc.cli.console import Console, in_bytes, in_seconds, table
from graphc.errors import ShapeError


@pytest.fixture
def console():
    made = Console()
    made.out, made.err = io.StringIO(), io.StringIO()
    return made


def test_text_and_json(console):
    data = {"a": np.float32(1.5), "b": np.arange(3), "c": float("nan"), "d": (1, None, True), "é": {2, 1}}
    console.result(data, "text")
    assert console.out.getvalue() == "text\n"
    console.json = True
    console.out = io.StringIO()
    console.result(data, "text")
    text = console.out.getvalue()
    assert json.loads(text) == {"a": 1.5, "b": [0, 1, 2], "c": "nan", "d": [1, None, True], "é": [1, 2]}
    assert "é" in text


@pytest.mark.parametrize(("verbosity", "said"), [(-1, ""), (0, "note\n"), (1, "note\ndetail\n")])
def test_notes(console, verbosity, said):
    console.verbosity = verbosity
    console.note("note")
    console.note("detail", level=1)
    assert console.err.getvalue() == said
    assert console.out.getvalue() == ""


def test_errors(console):
    error = ShapeError("sizes differ", fix="make them equal")
    console.error(error)
    assert console.err.getvalue() == "error GC0100: sizes differ\n  fix: make them equal\n"
    console.json = True
    console.error(error)
    assert json.loads(console.out.getvalue())["error"]["code"] == "GC0100"
    assert json.loads(console.out.getvalue())["exit_code"] == 1


def test_what_a_model_prints_is_no_result(console):
    with console.user_output_to_stderr():
        print("hello")
    assert (console.out.getvalue(), console.err.getvalue()) == ("", "hello\n")


def test_table_and_units():
    assert table([]) == ""
    assert table([("a", 1), ("bcd", "\x1b")], indent="") == "a    1\nbcd  \\x1b"
    assert [in_bytes(n) for n in (0, 1023, 1024, 1 << 50)] == ["0 B", "1023 B", "1.00 KiB", "1024.00 TiB"]
    assert [in_seconds(s) for s in (2, 0.5, 3e-5, 5e-9, 0)] == ["2 s", "500 ms", "30 µs", "5 ns", "0 ns"]
