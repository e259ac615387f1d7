"""How a command line ends: exit codes, what goes to stdout and what to stderr, crashes, signals."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import graphc
import graphc.cli.main as cli
from graphc.cli.main import COMMANDS, main

ROOT = Path(graphc.__file__).parents[1]


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAPHC_DEBUG", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def interruptible() -> None:
    """Programs started in the background ignore SIGINT, and hand that on to those they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def started(*words: str):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "graphc", *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"graphc {graphc.__version__}\n"
    assert main(["--json", "--version"]) == 0
    assert json.loads(capsys.readouterr().out) == {"graphc": graphc.__version__}
    for words in ([], ["-h"], ["--help"]):
        assert main(words) == 0
        said = capsys.readouterr()
        assert all(f"  {name} " in said.out for name in COMMANDS)
        assert said.err == ""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_each_command(capsys, name, option):
    assert main([name, option]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: graphc {name} ")
    assert "--json" in out


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        ["doctor", "--nonsense"],
        ["doctor", "extra"],
        ["compile"],
        ["compile", "no-such-file.py"],
        ["compile", "m.py", "--threads", "0"],
        ["compile", "m.py", "--threads", "1000000"],
        ["compile", "m.py", "--backend", "cuda"],
        ["compile", "m.py", "--emit", "so,exe"],
        ["compile", "m.py", "-i", "x"],
        ["compile", "m.py", "-i", "x:f32[1]", "-i", "x:f32[2]"],
        ["compile", "m.py", "-i", "x:float33[1]"],
        ["compile", "m.py", "-i", "z:f32[1]"],
        ["compile", "m.py", "--dim", "N"],
        ["compile", "m.py", "--dim", "N="],
        ["compile", "m.py", "--dim", "N=-1"],
        ["compile", "m.py", "--dim", "N=1e9"],
        ["compile", "m.py", "--dim", "N=9999999999999999999999"],
        ["compile", "m.py", "--dim", "M=3"],
        ["compile", "m.py", "--dim", "N=9"],
        ["compile", "m.py", "--dim", "N=1:2", "--dim", "N=1:3"],
        ["run", "m.py", "-o", "out.txt"],
        ["explain", "GC1234"],
        ["render", "m.py", "--view", "sideways"],
        ["--color", "sometimes", "doctor"],
    ],
)
def test_usage_errors_exit_with_2(capsys, tmp_path, words):
    (tmp_path / "m.py").write_text("dims = {'N': (1, 8)}\ndef forward(x: 'float32[N,4]'): return x\n")
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.match(r"error GC0002: \S", said.err)
    assert "Traceback" not in said.err
    assert main(["--json", *words]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "GC0002"
    assert said.err == ""


@pytest.mark.parametrize("words", [["--json", "doctor"], ["doctor", "--json"]])
def test_global_options_stand_anywhere(capsys, words):
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["graphc"]["version"] == graphc.__version__


def test_colors_only_when_asked_for(capsys, monkeypatch):
    main(["nonsense"])
    assert "\x1b" not in capsys.readouterr().err
    main(["--color", "always", "doctor", "--nonsense"])
    assert "\x1b[1;31m" in capsys.readouterr().err
    main(["doctor", "--color", "never", "--nonsense"])
    assert "\x1b" not in capsys.readouterr().err


class Secret(Exception):
    pass


def crash(*_):
    weights = list(range(12345, 12399))
    raise Secret(f"wrong shape of {'x' * 10_000}") from KeyError(len(weights))


def test_a_crash_writes_a_report_without_values(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(cli.group, "invoke", crash)
    assert main(["doctor"]) == 70
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error GC9000: a bug in graphc: Secret: wrong shape")
    assert "Traceback" not in said.err
    (report,) = tmp_path.glob("graphc-report-*.txt")
    assert str(report) in said.err
    assert report.stat().st_mode & 0o077 == 0
    text = report.read_text()
    assert "command graphc doctor" in text and "in crash" in text and "KeyError" in text
    assert "12345, 12346" not in text
    assert len(text) < 6000
    assert str(tmp_path) not in text and str(Path.home()) + "/" not in text


def test_a_crash_with_debugging_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("GRAPHC_DEBUG", "1")
    monkeypatch.setattr(cli.group, "invoke", crash)
    assert main(["doctor"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_crash_where_no_report_can_be_written(capsys, monkeypatch):
    monkeypatch.setattr(cli.group, "invoke", crash)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    assert main(["doctor"]) == 70
    assert "a report could not be written: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141), (cli.Terminated, 143)]
)
def test_how_else_it_ends(monkeypatch, capfd, raised, status):
    def stop(*_):
        raise raised

    monkeypatch.setattr(cli.group, "invoke", stop)
    if raised is BrokenPipeError:
        with open(os.devnull, "w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            assert main(["doctor"]) == status
    else:
        assert main(["doctor"]) == status
    said = capfd.readouterr()
    assert said.err == ("interrupted\n" if raised is KeyboardInterrupt else "")


def test_an_error_of_the_operating_system_is_no_crash(monkeypatch, capsys):
    def stop(*_):
        raise PermissionError(13, "Permission denied", "secret.npy")

    monkeypatch.setattr(cli.group, "invoke", stop)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "error GC0410: secret.npy: permission denied\n"


def test_a_reader_that_leaves():
    with started("-h") as process:
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


SLOW_MODEL = "import time, sys\nprint('loading', flush=True)\ntime.sleep(30)\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(tmp_path, number, status):
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    with started("compile", "slow.py") as process:
        assert process.stderr.readline() == "loading\n", "what a model prints goes to stderr"
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert time.monotonic() - begin < 10
    assert (out, err) == ("", "interrupted\n" if status == 130 else "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow.py"]


def test_shell_completion(monkeypatch, capsys):
    monkeypatch.setenv("_GRAPHC_COMPLETE", "bash_source")
    assert main([]) == 0
    assert "_GRAPHC_COMPLETE" in capsys.readouterr().out
    monkeypatch.setenv("_GRAPHC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "graphc do")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,doctor\n"
