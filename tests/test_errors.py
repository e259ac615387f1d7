"""Error kinds: codes, help pages, exit codes, and what an error carries."""

import pickle
import re
import sys

import pytest

import graphc.errors as errors
from graphc.diagnostics import draw, printable, user_traceback, wants_color
from graphc.errors import Fact, GraphcError, SeveralErrors, ShapeError, UsageError, kinds, raise_all
from graphc.source import Span, user_span

DECLARED = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GraphcError)
]


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.__name__)
def test_each_kind_has_a_code_and_a_help_page(kind):
    assert re.fullmatch(r"GC\d{4}", kind.code)
    assert kinds()[kind.code] is kind
    assert len(kind.help()) > 40
    assert kind.exit_code in (1, 2, 3, 4, 5, 70)


def test_exit_codes_are_those_of_the_manual():
    expected = {
        "GraphcError": 1, "TraceError": 1, "ShapeError": 1, "DTypeError": 1, "UnsupportedError": 1, "ModelError": 1,
        "UsageError": 2, "ArtefactError": 1, "CheckFailed": 3, "MissingToolError": 4, "HostMismatchError": 5,
        "InternalError": 70,
    }  # fmt: skip
    assert {name: getattr(errors, name).exit_code for name in expected} == expected


def test_a_code_cannot_be_taken_twice():
    with pytest.raises(TypeError, match="GC0107 of .*Mine already belongs to InnerSizesDiffer"):

        class Mine(ShapeError):
            """Another."""

            code = "GC0107"

    assert kinds()["GC0107"] is errors.InnerSizesDiffer


def test_at_adds_but_does_not_replace():
    here, there = Span("a.py", 1), Span("b.py", 2)
    error = ShapeError("m", facts=[("x", "f32[2]")])
    assert error.at(here, ("x", "other"), ("y", "f32[3]")) is error
    assert error.at(there).span == here
    assert error.facts == [Fact("x", "f32[2]"), Fact("y", "f32[3]")]


def test_text_of_an_exception_is_the_drawing_without_heading():
    error = ShapeError("sizes differ", fix="make them equal")
    assert str(error) == "GC0100: sizes differ\n  fix: make them equal"


def test_errors_travel_between_processes():
    one = ShapeError("m", span=user_span(), facts=[("x", "f32[2]")], fix="f")
    for error in (one, SeveralErrors([one, one])):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert draw(copy) == draw(error)
        assert copy.as_dict() == error.as_dict()


def test_raise_all():
    raise_all([])
    one, two = ShapeError("one"), GraphcError("two")
    with pytest.raises(ShapeError, match="one"):
        raise_all([one])
    with pytest.raises(SeveralErrors) as caught:
        raise_all([one, two])
    assert str(caught.value) == "GC0100: one\n\nGC0000: two\n\n2 errors"
    with pytest.raises(SeveralErrors) as caught:
        raise_all([UsageError("one"), two])
    assert caught.value.exit_code == 2


def test_as_dict_counts_columns_from_one():
    error = ShapeError("m", span=Span("a.py", 3, 0, 3, 4))
    found = error.as_dict()
    assert (found["line"], found["column"], found["end_column"]) == (3, 1, 5)


def test_color_only_adds_escapes():
    error = ShapeError(
        "m", span=user_span(), labels=[(user_span(), "here")], facts=[("x", "f")], cause="c", fix="f"
    )
    colored = draw(error, color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == draw(error)


class Terminal:
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("choice", "environ", "expected"),
    [
        ("auto", {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, True),
        ("auto", {"TERM": "dumb"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {}, False),
    ],
)
def test_wants_color(choice, environ, expected):
    assert wants_color(Terminal(), choice, environ) is expected


def test_no_color_into_a_file(tmp_path):
    with open(tmp_path / "log", "w") as file:
        assert wants_color(file, "auto", {}) is False


def test_internal_frames_only_when_debugging(monkeypatch):
    def fail():
        try:
            errors.unreachable("case")
        except errors.InternalError as error:
            return error

    error = fail()
    monkeypatch.delenv("GRAPHC_DEBUG", raising=False)
    assert "errors.py" not in draw(error)
    kept = user_traceback(error.__traceback__)
    assert kept.tb_frame.f_code.co_filename == __file__ and kept.tb_next is None
    monkeypatch.setenv("GRAPHC_DEBUG", "1")
    assert "errors.py" in draw(error)
    assert user_traceback(error.__traceback__) is error.__traceback__


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\u202eb", "\ud800", "\x00", "tab\there", "nul\x7f"])
def test_printable_shows_what_could_forge(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("utf-8")


def test_printable_keeps_words():
    assert printable("größe 重み ok") == "größe 重み ok"
    assert sys.getsizeof(printable("plain")) == sys.getsizeof("plain")
