"""README.md is true: its model, its commands, its error, its exit codes and the paths of its map."""

import re
import shutil

import pytest

from graphc.cli import main
from graphc.cli.explain import declared_codes
from tests.docs.commands import ROOT, environment, shell

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL, COMMANDS = re.findall(r"^```(?:python|sh)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [line.split("  #")[0].strip() for line in COMMANDS.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


@pytest.mark.slow
def test_commands(folder):
    (folder / "mlp.py").write_text(MODEL)
    surroundings = environment(folder / "bin")
    assert len(LINES) >= 4
    for line in LINES:
        done = shell(line, folder, surroundings)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    made = {path.name for path in (folder / "mlp.graphc").iterdir()}
    assert {"mlp.h", "mlp.o", "mlp.py", "weights.safetensors", "manifest.json"} <= made
    assert (folder / "mlp.svg").stat().st_size > 1000


def test_the_error(folder):
    (shown,) = re.findall(r"^```\n(error .*?)^```$", README, re.MULTILINE | re.DOTALL)
    shutil.copy(ROOT / "tests/errors/shape/inner_sizes.py", folder / "lenet.py")
    done = shell("graphc compile lenet.py", folder, environment(folder / "bin2"))
    assert (done.returncode, done.stderr) == (1, shown)
    assert re.findall(r"GC\d{4}", README) and set(re.findall(r"GC\d{4}", README)) <= set(declared_codes())


def test_exit_codes():
    (shown,) = re.findall(r"^Exit codes: (.*?)\.$", README, re.MULTILINE | re.DOTALL)
    stated = re.search(r"Exit codes: (.*?)\.\n", main.__doc__ or "", re.DOTALL)
    assert stated
    assert " ".join(stated[1].split()).startswith(" ".join(shown.split()))


def test_the_map():
    page = README.split("## Map")[1]
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    assert len(rows) > 8
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row.split("|")[1])
        assert (ROOT / first).exists(), first
        base = (ROOT / first).parent
        for other in others:
            if not other.startswith("graphc."):
                assert (base / other).exists(), other


def test_the_targets_of_make():
    targets = re.findall(r"`make (\w+)`", README)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets and all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for command in re.findall(r"\.venv/bin/(\w+ [^&`]*)", README):
        tool = command.split()[0]
        assert tool in ("python", "pip", "ruff"), command
    for path in re.findall(r"(?:examples/\S+\.py|\.ci/\w+)", README):
        assert (ROOT / path).exists(), path
