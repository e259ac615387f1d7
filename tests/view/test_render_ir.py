"""The picture as data: ids, invariants, JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.view.render_ir import SAFE, Edge, Ids, Layout, Node, Picture, Role, safe_id

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["circuit", "ladder"])
def test_json_is_exact(pictures, name: str) -> None:
    picture = getattr(pictures, name)()
    assert Picture.from_json(picture.to_json()) == picture
    assert json.loads(picture.to_json())["graphc_picture"] == 1


def test_json_golden(pictures) -> None:
    assert pictures.circuit().to_json() == (GOLDEN / "circuit.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"graphc_picture": 2}', '{"graphc_picture": 1}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Picture.from_json(text)


def test_unknown_fields_are_refused(pictures) -> None:
    fields = json.loads(pictures.circuit().to_json()) | {"extra": 1}
    with pytest.raises(ValueError, match="extra"):
        Picture.from_json(json.dumps(fields))


A = Node("a", Role.OP, "+")
WRONG = {
    "repeated id": {"nodes": (A, A)},
    "unsafe id": {"nodes": (replace(A, id='a"]'),)},
    "empty id": {"nodes": (replace(A, id=""),)},
    "edge to nothing": {"nodes": (A,), "edges": (Edge("a", "b"),)},
    "cluster that is not there": {"nodes": (replace(A, cluster="c"),)},
    "row member unknown": {"nodes": (A,), "rows": (("b",),)},
    "in two rows": {"nodes": (A,), "rows": (("a",), ("a",))},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_what_does_not_hold_together_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError):
        Picture("wrong", Layout.FLOW, **({"edges": ()} | fields))


@given(st.text(max_size=40), st.text(max_size=40))
def test_ids_are_safe_and_tell_names_apart(a: str, b: str) -> None:
    for name in (a, b):
        assert set(safe_id("v", name)) <= SAFE
    assert (safe_id("v", a) == safe_id("v", b)) == (a == b)


@given(st.lists(st.text(alphabet="ab -2é", max_size=4), max_size=12))
def test_numbered_ids_never_meet(names: list[str]) -> None:
    ids = Ids()
    made = [ids.new("o", name) for name in names]
    assert len(set(made)) == len(made)


def test_long_names_keep_apart() -> None:
    assert safe_id("v", "x" * 500) != safe_id("v", "x" * 501)
    assert len(safe_id("v", "é" * 500)) < 110


def test_numbering_is_per_name() -> None:
    first, second = Ids(), Ids()
    second.new("o", "layer1.relu")  # an edit elsewhere
    assert [first.new("o", "layer2.relu") for _ in range(2)] == [
        second.new("o", "layer2.relu") for _ in range(2)
    ]
