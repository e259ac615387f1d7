"""Which object of a file is the model, and what its inputs are."""

import sys
import textwrap
from pathlib import Path

import pytest

from graphc.errors import (
    GraphcError,
    ModelError,
    ModelFileFailed,
    NoInputsError,
    NoModelError,
    SeveralErrors,
    UnsupportedError,
    UsageError,
)
from graphc.frontends.python.model_file import ModelFile, load_model_file
from graphc.ir.types import parse_type


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a model file into the current folder; the process is put back as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write_file(source: str, name: str = "lenet.py") -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(source), "utf-8")
        return name

    yield write_file
    for name in set(sys.modules) - before:
        if name.startswith("graphc_model_"):
            del sys.modules[name]


INPUTS = 'inputs = {"x": "float32[N,4]"}\n'


def load(write, source: str, target: str = "lenet.py", **options) -> ModelFile:
    write(source)
    return load_model_file(target, **options)


def test_everything_a_file_says(write):
    found = load(
        write,
        """
        inputs = {"x": "float32[N,1,28,28]"}
        dims = {"N": (1, 4096)}
        weights = "lenet.safetensors"

        def forward(x):
            return x
        """,
    )
    assert (found.name, found.entry, found.path.name) == ("lenet", "forward", "lenet.py")
    assert str(found.span) == "lenet.py:6"
    assert found.inputs == {"x": parse_type("float32[N,1,28,28]")}
    assert found.dims == {"N": (1, 4096)}
    assert found.weights == Path("lenet.safetensors").absolute()
    assert found.notes == ()


ORDER = [
    ("def a(x): ...\ndef b(x): ...\n", "lenet.py:b", None, "b"),
    ("def a(x): ...\ndef b(x): ...\n", "lenet.py", "b", "b"),
    ("class C:\n    f = staticmethod(lambda x: x)\n", "lenet.py:C.f", None, "C.f"),
    ("import graphc.frontends.python.mark as g\nmodel = 1\n@g.model\ndef a(x): ...\n", "lenet.py", None, "a"),
    ("def a(x): ...\ndef b(x): ...\nmodel = b\n", "lenet.py", None, "model"),
    ("def forward(x): ...\ndef model(x): ...\n", "lenet.py", None, "model"),
    ("def predict(x): ...\ndef forward(x): ...\n", "lenet.py", None, "forward"),
    ("def predict(x): ...\ndef other(x): ...\n", "lenet.py", None, "predict"),
    (
        "from os.path import join\ndef _hidden(x): ...\ndef main(): ...\ndef only(x): ...\n",
        "lenet.py",
        None,
        "only",
    ),
    ("def only(x): ...\nalias = only\n", "lenet.py", None, "only"),
    ("if True:\n    def only(x): ...\n", "lenet.py", None, "only"),
]


@pytest.mark.parametrize(("source", "target", "entry", "expected"), ORDER)
def test_the_order_of_the_search(write, source, target, entry, expected):
    assert load(write, INPUTS + source, target, entry=entry).entry == expected


def test_a_mark_carries_the_inputs(write):
    found = load(
        write,
        """
        from graphc.frontends.python.mark import model
        inputs = {"y": "float32[3]"}

        @model(inputs={"x": "float32[B,2]"}, dims={"B": (1, 8)}, weights="w.npz")
        def classify(x):
            return x
        """,
    )
    assert found.inputs == {"x": parse_type("float32[B,2]")}
    assert (found.dims, found.weights) == ({"B": (1, 8)}, Path("w.npz").absolute())


def test_a_class_is_instantiated_and_a_factory_called(write):
    source = INPUTS + "class Net:\n    def __call__(self, x):\n        return x\n"
    for parameters in ("", "**choices"):
        found = load(write, source + f"def model({parameters}):\n    return Net()\n")
        assert type(found.model).__name__ == "Net"
    assert type(load(write, source, "lenet.py:Net").model).__name__ == "Net"


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("x = 1\n", "lenet.py", "no object could be the model"),
        ("def a(x): ...\n\ndef b(x): ...\n", "lenet.py", r"2 objects could be the model"),
        ("def forward(x): ...\n", "lenet.py:forwrad", "no object named forwrad; did you mean forward?"),
        ("def f(x): ...\n", "lenet.py:f.g", "f.g: function has no attribute g"),
        ("model = 3\n", "lenet.py", "model is of type int, which cannot be called"),
        (
            "from graphc.frontends.python.mark import model as m\n@m\ndef a(x): ...\n@m\ndef b(x): ...\n",
            "lenet.py",
            "2 objects are marked @graphc.model",
        ),
    ],
)
def test_no_model(write, source, target, message):
    with pytest.raises(NoModelError) as caught:
        load(write, source, target)
    assert message in caught.value.message


def test_candidates_come_with_their_lines(write):
    with pytest.raises(NoModelError) as caught:
        load(write, "def b(x): ...\n\n\ndef a(x): ...\n")
    assert [(fact.name, fact.note) for fact in caught.value.facts] == [
        ("b", "at lenet.py:1"),
        ("a", "at lenet.py:4"),
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lenett.py", "no file lenett.py; did you mean lenet.py?"),
        ("nowhere/lenet.py", "no file nowhere/lenet.py"),
        ("lenet.onnx", "is not a Python file"),
        ("lenet.graphc", "is an artefact, not a model"),
        ("folder.py", "is a folder"),
    ],
)
def test_no_such_file(write, tmp_path, target, message):
    write("x = 1")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError) as caught:
        load_model_file(target)
    assert message in caught.value.message


def test_two_different_names(write):
    with pytest.raises(UsageError, match="two names"):
        load(write, "def a(x): ...\n", "lenet.py:a", entry="b")


INPUT_SOURCES = [
    ('inputs = {"x": "float32[N,4]"}\ndef f(x): ...', {}, {"x": "float32[N,4]"}),
    ("import numpy as np\nexample_inputs = {'x': np.zeros((2, 4), 'f4')}\ndef f(x): ...", {}, {"x": "float32[2,4]"}),
    ("import numpy as np\nexample_inputs = [np.zeros(3), [1, 2]]\ndef f(x, y): ...", {},
     {"x": "float64[3]", "y": "int64[2]"}),
    ('def f(x: "float32[N,4]"): ...', {}, {"x": "float32[N,4]"}),
    ('from __future__ import annotations\ndef f(x: "float32[N,4]"): ...', {}, {"x": "float32[N,4]"}),
    ("from __future__ import annotations\ndef f(x: float32[N, 4]): ...", {}, {"x": "float32[N,4]"}),
    ('from typing import Annotated\ndef f(x: Annotated[list, "float32[N,4]"]): ...', {}, {"x": "float32[N,4]"}),
    ("def f(x): ...", {"x": "f32[N,4]"}, {"x": "float32[N,4]"}),
    ('inputs = {"x": "float32[N,4]"}\ndef f(x): ...', {"x": "float64[M]"}, {"x": "float64[M]"}),
    ('inputs = {"y": "float32[2]", "x": "float32[1]"}\ndef f(x, y, z=3): ...', {},
     {"x": "float32[1]", "y": "float32[2]"}),
    ('inputs = {"x": "float32[2*N, H//2]"}\ndef f(x): ...', {}, {"x": "float32[2*N,H//2]"}),
]  # fmt: skip


@pytest.mark.parametrize(("source", "given", "expected"), INPUT_SOURCES)
def test_where_inputs_come_from(write, source, given, expected):
    found = load(write, source + "\n", inputs=given)
    assert list(found.inputs.items()) == [(name, parse_type(text)) for name, text in expected.items()]


def test_sizes_of_an_example_are_not_taken_in_silence(write):
    found = load(write, "import numpy as np\nexample_inputs = np.zeros((2, 4), 'f4')\ndef f(x): ...\n")
    (note,) = found.notes
    assert "input x takes the sizes of its example, float32[2,4]" in note


@pytest.mark.parametrize(
    ("source", "options", "kind", "message"),
    [
        ("def f(x): ...", {}, NoInputsError, "the shape of input x of f is not known"),
        (
            "def f(x, y): ...",
            {"inputs": {"x": "f32[1]"}},
            NoInputsError,
            "the shape of input y of f is not known",
        ),
        ("def f(x): ...", {"inputs": {"x": "float33[N]"}}, UsageError, "float33"),
        ('inputs = {"x": "float32[N"}\ndef f(x): ...', {}, ModelError, "'float32[N'"),
        ('inputs = {"x": 4}\ndef f(x): ...', {}, ModelError, "should be written as text"),
        ("inputs = 3\ndef f(x): ...", {}, ModelError, "inputs should be a dictionary"),
        ("dims = 3\ndef f(x): ...", {"inputs": {"x": "f32[N]"}}, ModelError, "dims should be a dictionary"),
        ("weights = 3\ndef f(x): ...", {"inputs": {"x": "f32[N]"}}, ModelError, "weights should be the name"),
        ("def f(x): ...", {"inputs": {"x": "f32[N]", "y": "f32[N]"}}, UsageError, "no input named y"),
        ("def f(images): ...", {"inputs": {"image": "f32[N]"}}, UsageError, "did you mean images?"),
        ("def f(*x): ...", {}, NoModelError, "no object could be"),
        ("def forward(*x): ...", {}, UnsupportedError, "takes *x"),
        ("def f(x, **k): ...", {}, UnsupportedError, "takes **k"),
        (
            "def f(x): ...",
            {"inputs": {"x": "f32[N]"}, "dims": {"M": (1, 2)}},
            UsageError,
            "no input has a dimension M",
        ),
        ("dims={'N': (5, 2)}\ndef f(x): ...", {"inputs": {"x": "f32[N]"}}, ModelError, "0 <= low <= high"),
        ("dims={'N': 5}\ndef f(x): ...", {"inputs": {"x": "f32[N]"}}, ModelError, "not 5"),
        ("example_inputs = object()\ndef f(x): ...", {}, ModelError, "the example of input x cannot be used"),
    ],
)
def test_bad_inputs(write, source, options, kind, message):
    with pytest.raises(kind) as caught:
        load(write, source + "\n", **options)
    assert message in caught.value.message


def test_an_annotation_that_could_not_be_read_is_shown(write):
    with pytest.raises(NoInputsError) as caught:
        load(write, 'def f(x: "float33[N]"): ...\n')
    assert "float33" in caught.value.facts[0].note


def test_all_wrong_inputs_at_once(write):
    with pytest.raises(SeveralErrors) as caught:
        load(write, "def f(x, y): ...\n", inputs={"x": "float31[1]", "y": "f32[", "z": "f32[1]"})
    assert len(caught.value.errors) == 3


def test_no_inputs_at_all_is_fine(write):
    assert load(write, "def forward(x=1): ...\n").inputs == {}


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("def f(x:\n    pass\n", 1, "SyntaxError: '(' was never closed"),
        ("\n\nimport nowhere_to_be_found\n", 3, "ModuleNotFoundError"),
        ("def g():\n    return 1 / 0\n\ng()\n", 2, "ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        ("\nimport numpy as np\nnp.zeros(3) @ np.zeros(4)\n", 3, "ValueError"),
    ],
)
def test_a_file_that_fails(write, source, line, message):
    with pytest.raises(ModelFileFailed) as caught:
        load(write, source)
    assert message in caught.value.message
    assert caught.value.span.line == line


def test_the_way_to_the_failing_line(write):
    with pytest.raises(ModelFileFailed) as caught:
        load(write, "def inner():\n    return {}['key']\n\ndef outer():\n    inner()\n\nouter()\n")
    error = caught.value
    assert [(fact.name, fact.type, fact.note) for fact in error.facts] == [
        ("<module>", "lenet.py:7", "outer()"),
        ("outer", "lenet.py:5", "inner()"),
    ]
    assert error.span.text[error.span.column : error.span.end_column] == "{}['key']"


def test_errors_of_graphc_pass_unchanged(write):
    with pytest.raises(UsageError, match="of our own"):
        load(write, "from graphc.errors import UsageError\nraise UsageError('of our own')\n")


def test_a_bug_in_graphc_is_not_blamed_on_the_file(write):
    with pytest.raises(AttributeError):
        load(write, "from graphc.source import instruction_span\ninstruction_span(None, 0, 0)\n")


def test_a_library_that_graphc_calls_is_graphc(write, monkeypatch):
    import graphc.source

    monkeypatch.setattr(graphc.source, "display_path", graphc.source.linecache.getline)
    with pytest.raises(
        TypeError
    ):  # raised in the standard library, called by Span.__str__, called by the file
        load(write, "from graphc.source import Span\nstr(Span('f', 1))\n")


def test_helpers_beside_the_file(write):
    write("SIZE = 7\n", "models/sizes_of_the_test.py")
    write(
        "from sizes_of_the_test import SIZE\ninputs = {'x': f'f32[{SIZE}]'}\ndef f(x): ...\n", "models/net.py"
    )
    found = load_model_file("models/net.py")
    assert str(found.inputs["x"]) == "float32[7]"


def test_weights_are_relative_to_their_file(write):
    write(INPUTS + "weights = 'w.npz'\ndef f(x): ...\n", "models/net.py")
    assert load_model_file("models/net.py").weights == Path("models/w.npz").absolute()
    assert load_model_file("models/net.py", weights="w.npz").weights == Path("w.npz")


def test_nothing_is_written_beside_the_file(write, tmp_path):
    load(write, INPUTS + "def f(x): ...\n")
    assert [path.name for path in tmp_path.iterdir()] == ["lenet.py"]


def test_every_failure_is_one_of_ours(write):
    for source in (
        "",
        "#",
        "\x00",
        "é = 1\n",
        "def f(x): ...\ninputs = {'x': None}\n",
        "inputs = {1: 2}\ndef f(x): ...",
    ):
        with pytest.raises(GraphcError):
            load(write, source)
