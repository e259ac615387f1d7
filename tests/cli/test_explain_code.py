"""`graphc explain GC0107` prints the help page of an error."""

import ast
import json
from pathlib import Path

import pytest

import graphc
from graphc.cli.explain import declared_codes
from graphc.cli.main import main
from graphc.errors import kinds

ROOT = Path(graphc.__file__).parents[1]


def codes_in_the_source() -> dict[str, str]:
    """Module by code."""
    found = {}
    for folder in ("graphc", "frontends", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts if parts[0] == "graphc" else ("graphc", *parts))
            text = path.read_text("utf-8")
            if '"GC' not in text:  # parsing every file takes a second before the first test
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
                    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                    if (
                        isinstance(target, ast.Name)
                        and target.id == "code"
                        and str(node.value.value).startswith("GC")
                    ):
                        found[node.value.value] = module
    return found


@pytest.mark.parametrize("code", sorted(codes_in_the_source()))
def test_every_code_in_the_source_has_a_page(code, capsys):
    assert main(["explain", code.lower()]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{code} ") and len(out.splitlines()) > 2
    assert main(["explain", code, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["help"] == kinds()[code].help()


def test_an_unknown_code(capsys):
    assert main(["explain", "GC0197"]) == 2
    assert "did you mean GC01" in capsys.readouterr().err


def test_the_search_finds_every_declaration():
    assert set(declared_codes()) == set(codes_in_the_source())
