"""Spans point at the user's own expression, whatever it is called through."""

import functools
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc.backends
import graphc.frontends
from graphc.source import Span, display_path, is_internal, user_frames, user_span


def span_text(span: Span | None) -> str:
    assert span is not None
    assert span.line == span.end_line
    return span.text[span.column : span.end_column]


TRACER = """
class Traced:
    def __array_function__(self, function, types, arguments, keywords):
        return user_span()

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return user_span()

def key(x):
    return user_span()
"""
INSIDE = {"user_span": user_span}
exec(compile(TRACER, str(Path(graphc.__file__).parent / "made_by_a_test.py"), "exec"), INSIDE)
Traced, key = INSIDE["Traced"], INSIDE["key"]


def test_the_exact_expression():
    pair = (user_span(), user_span  ())  # fmt: skip
    assert span_text(pair[0]) == "user_span()"
    assert span_text(pair[1]) == "user_span  ()"


def test_columns_count_characters():
    span = "größe" and user_span()
    assert span_text(span) == "user_span()"


def test_numpy_and_the_standard_library_are_passed_over():
    t = Traced()
    spans = [  # not inside `assert`, whose pieces pytest gives positions of its own
        np.concatenate([t, t]),
        np.mean(t),
        np.tanh(t),
        functools.partialmethod(key).func(t),
        functools.singledispatch(key)(t),
        statistics.mode([key(t)]),
    ]
    assert [span_text(span) for span in spans] == [
        "np.concatenate([t, t])",
        "np.mean(t)",
        "np.tanh(t)",
        "functools.partialmethod(key).func(t)",
        "functools.singledispatch(key)(t)",
        "key(t)",
    ]


def test_frames_from_the_inside_out():
    def inner():
        frames = user_frames()
        return [next(frames).f_code.co_name, next(frames).f_code.co_name]

    assert inner() == ["inner", "test_frames_from_the_inside_out"]


def test_the_same_place_is_the_same_object():
    first, second = [user_span() for _ in range(2)]
    assert first is second


def test_code_made_at_run_time_keeps_its_own_place():
    for number in range(5000):  # more than the cache holds
        names: dict = {"user_span": user_span}
        exec(compile("\n" * (number % 7) + "here = user_span()", f"<made {number}>", "exec"), names)
        assert names["here"] == Span(f"<made {number}>", number % 7 + 1, 7, number % 7 + 1, 18)


def test_graphc_is_internal_and_the_user_is_not():
    for module in (graphc, graphc.frontends, graphc.backends):
        assert is_internal(module.__file__)
    assert not is_internal(__file__)
    assert not is_internal("<stdin>")


def test_without_a_user_frame():
    program = "import graphc.source as s; s._file_kinds['<string>'] = s._OURS; print(s.user_span())"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "None\n"


def test_display_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    below = tmp_path / "here" / "models"
    below.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert display_path(below / "m.py") == "models/m.py"
    assert display_path(tmp_path / "m.py") == str(tmp_path / "m.py")
    assert display_path("<stdin>") == "<stdin>"
    assert str(Span(str(below / "m.py"), 3)) == "models/m.py:3"
    assert str(Span(str(below / "m.onnx"), 0)) == "models/m.onnx"
    assert Span(str(below / "m.py"), 3).name == "m.py:3"


def test_positions_can_be_switched_off(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text("from graphc.source import user_span\nprint(repr(user_span()), user_span().text)\n")
    root = Path(__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-X", "no_debug_ranges", program.name],
        cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "line=2, column=-1" in result.stdout
    assert result.stdout.rstrip().endswith("print(repr(user_span()), user_span().text)")
