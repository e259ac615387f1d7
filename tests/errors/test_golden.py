"""Every program here fails; what graphc says about it stands beside it as `.err`.

A case is `<kind>/<case>.py` with `<case>.err`.  Its first line says how it is run: `# run` executes it as a script,
`# graphc compile ...` gives the file to that command (`FILE` stands for its name).  The text starts with the exit
code.  `GRAPHC_UPDATE_GOLDEN=1` writes what is said now; read the difference before committing it.
"""

import contextlib
import io
import os
import runpy
import shlex
from pathlib import Path

import pytest

from graphc.diagnostics import draw
from graphc.errors import GraphcError

FOLDER = Path(__file__).parent
CASES = sorted(path for path in FOLDER.glob("*/*.py") if not path.name.startswith("_"))


def said(case: Path) -> str:
    """What a user sees on the terminal, under the exit code."""
    manner = case.read_text("utf-8").splitlines()[0].removeprefix("#").strip()
    if manner == "run":
        try:
            runpy.run_path(str(case))
        except GraphcError as error:
            return f"exit {error.exit_code}\n{draw(error)}\n"
        pytest.fail("the program did not fail")
    from graphc.cli.main import main

    words = [case.name if word == "FILE" else word for word in shlex.split(manner)]
    assert words[0] == "graphc"
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = main(words[1:])
    assert status != 0
    assert stdout.getvalue() == "", "an error writes nothing to stdout"
    return f"exit {status}\n{stderr.getvalue()}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_error_text(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case.parent)
    monkeypatch.delenv("GRAPHC_DEBUG", raising=False)
    text = said(case)
    golden = case.with_suffix(".err")
    if os.environ.get("GRAPHC_UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def test_every_text_has_its_program() -> None:
    texts = {path.with_suffix("") for path in FOLDER.glob("*/*.err")}
    assert texts == {path.with_suffix("") for path in CASES}
