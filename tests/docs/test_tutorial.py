"""docs/tutorial.md does what it says: its blocks run in order in one folder, and print what stands below them."""

import contextlib
import doctest
import io
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphc.machine import linker
from tests.docs.commands import ROOT, environment, shell

TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    kind: str
    text: str
    line: int
    expected: str = ""


def blocks() -> list[Block]:
    """All blocks with a language, each with the `text` block below it, if any."""
    page = TUTORIAL.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in BLOCK.finditer(page):
        kind, text = match.groups()
        if kind == "text":
            assert not found[-1].expected
            found[-1].expected = text
        else:
            found.append(Block(kind, text, page[: match.start()].count("\n") + 2))
    return found


def check(block: Block, printed: str) -> None:
    if linker() is None:  # then there is no library in the list of files
        block.expected = "".join(x for x in block.expected.splitlines(keepends=True) if "mlp.so" not in x)
    if not doctest.OutputChecker().check_output(block.expected, printed, doctest.ELLIPSIS):
        pytest.fail(f"{TUTORIAL.name}:{block.line} prints\n{printed}\nand the page says\n{block.expected}")


def run_shell(block: Block, surroundings: dict[str, str]) -> str:
    printed = ""
    for line in block.text.splitlines():
        assert line.startswith("$ "), line
        done = shell(line[2:], Path.cwd(), surroundings)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    return printed


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder to work in, with `graphc` of this checkout on the path; nothing stays behind."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    yield environment(tmp_path / "bin")
    sys.modules.pop("mlp", None)


@pytest.mark.slow
def test_tutorial(surroundings):
    namespace: dict[str, object] = {"__name__": "tutorial"}
    page = blocks()
    has_compiler = shutil.which("cc") is not None
    # One file with every line at its place on the page, so that graphc finds the source it quotes.
    lines = [""] * max(block.line + block.text.count("\n") for block in page)
    for block in page:
        if block.kind == "python" and not block.text.startswith("# mlp.py\n"):
            lines[block.line - 1 : block.line - 1 + block.text.count("\n")] = block.text.splitlines()
    Path("tutorial.py").write_text("\n".join(lines))
    for block in page:
        match block.kind:
            case "python" if block.text.startswith("# mlp.py\n"):
                Path("mlp.py").write_text(block.text)
            case "python":
                code = compile("\n" * (block.line - 1) + block.text, "tutorial.py", "exec")
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(code, namespace)
                check(block, printed.getvalue())
            case "sh":
                if "cc " in block.text and not has_compiler:
                    pytest.skip("all but the C program is checked: no C compiler here")
                check(block, run_shell(block, surroundings))
            case other:
                pytest.fail(f"a block of kind {other}: what is to be done with it?")


def test_every_step_has_a_program():
    steps = re.split(r"^## ", TUTORIAL.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [int(step.split(".")[0]) for step in steps] == list(range(1, 11))
    assert all("```python" in step for step in steps)
