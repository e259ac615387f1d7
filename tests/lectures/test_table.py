"""docs/networks.md tells the truth: what it names exists, and no row is missing."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from tests.lectures.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
file_name = runpy.run_path(str(ROOT / "docs" / "network_pictures.py"))["file_name"]
TEXT = (ROOT / "docs" / "networks.md").read_text("utf-8")
HEADINGS = ("#", "what", "network")


def rows():
    """(cells) of every table."""
    for line in TEXT.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells[0] not in HEADINGS:
                yield cells


ROWS = list(rows())


def defined_tests():
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`((?:graphc|examples|tests)/[\w/.]+)`", TEXT))
    assert len(named) > 30
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


def test_every_test_that_is_named_exists():
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 40
    assert not sorted(named - defined_tests())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_has_a_state_and_what_is_done_has_a_witness(row):
    state = row[-1]
    assert re.match(r"(done|open)\b", state), row
    if state.startswith("done"):
        assert re.search(r"`(test_\w+|examples/[\w/.]+)`", " ".join(row)), row


def test_no_row_is_open():
    assert not [row for row in ROWS if not row[-1].startswith("done")]


def test_pictures_have_names_of_their_own():
    assert len({file_name(name) for name in NETWORKS}) == len(NETWORKS)


def test_no_row_is_missing():
    first = [row[0] for row in ROWS]
    assert [name for name in first if re.fullmatch(r"[AC]\d+", name)] == [
        *(f"A{i}" for i in range(1, 17)),
        *(f"C{i}" for i in range(1, 5)),
    ]
    assert set(NETWORKS) <= set(first)
    for name in NETWORKS:
        (row,) = [row for row in ROWS if row[0] == name]
        assert f"`examples/{NETWORKS[name][0]}`" in row[1]
        assert row[2] == f"`{file_name(name)}`"
    examples = {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("[a-z]*/*.py")}
    unnamed = {e for e in examples if f"`{e}`" not in TEXT}
    assert unnamed == {"examples/training/common.py", "examples/training/run_all.py"}
