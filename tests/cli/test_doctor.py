"""`graphc doctor` says what there is, and never fails because something is not."""

import json
import os
import sys

import pytest

import graphc.cli.doctor as doctor
from graphc.cli.main import main


@pytest.fixture
def report(capsys):
    def run(*words):
        assert main(["doctor", "--json", *words]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return json.loads(said.out)

    return run


def test_what_there_is(report):
    found = report()
    assert found["python"]["executable"] == sys.executable
    assert found["llvmlite"]["llvm"].split(".")[0].isdigit()
    assert found["features"]["features"]
    assert found["cores"]["usable"] >= 1
    assert found["memory"]["total"] > 0
    assert {each["state"] for each in found.values()} <= {"ok", "note", "missing"}


def test_text(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "+  python" in out and "LLVM" in out
    assert max(map(len, out.splitlines())) < 160


def test_no_tools_at_all(report, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    found = report()
    assert found["drawing"]["state"] == "missing"
    assert found["linker"]["state"] == "note"
    assert found["onnx"]["state"] == "note"


def test_a_drawing_tool_that_does_not_work(report, monkeypatch, tmp_path):
    (tmp_path / "dot").write_text(
        "#!/bin/sh\necho 'libX11.so.6: cannot open shared object file' >&2\nexit 127\n"
    )
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("graphc.view.draw.engines", lambda: ["dot"])
    found = report()["drawing"]
    assert found["state"] == "missing" and "libX11" in found["text"]


def test_a_package_that_is_not_there():
    finding = doctor._package("no-such-package-of-graphc")
    assert (finding.state, finding.fix) == ("missing", "pip install no-such-package-of-graphc")


CACHES = ["absent", "empty", "full", "file", "open to others", "link"]


@pytest.mark.parametrize("kind", CACHES)
def test_the_cache(report, monkeypatch, tmp_path, kind):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "graphc"
    if kind == "file":
        root.write_text("")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        root.symlink_to(tmp_path / "elsewhere")
    elif kind != "absent":
        root.mkdir(mode=0o700)
    if kind == "full":
        (root / "a.o").write_bytes(b"x" * 10)
    if kind == "open to others":
        root.chmod(0o777)
    found = report()["cache"]
    assert found["state"] == ("ok" if kind in ("absent", "empty", "full") else "note")
    if kind == "full":
        assert (found["entries"], found["bytes"]) == (1, 10)
    assert os.path.lexists(root) == (kind != "absent"), "looking makes nothing"


def test_probe(report):
    peak = report("--probe")["peak"]
    assert peak["flops"] > 0 and peak["memory"] > 0
