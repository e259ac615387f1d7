"""`graphc bench` measures, profiles and compares; nothing here looks at how long anything took."""

import json
from pathlib import Path

import numpy as np
import pytest

from graphc.bench.latency import Latency, time_calls
from graphc.cli.bench import _latencies
from graphc.cli.main import main

MODEL = """
from graphc import nn
model = nn.Linear(3, 4)
inputs = {"x": "float32[N,3]"}
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(MODEL)
    return str(tmp_path / "net.py")


def run(capsys, *arguments: str):
    code = main(["bench", *arguments, "--seconds", "0.01", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_row_for_each_batch_and_number_of_threads(model, capsys):
    code, data = run(capsys, model, "--batch", "1,5", "--threads", "1,2")
    assert code == 0
    assert [(r["threads"], r["batch"]) for r in data["rows"]] == [(1, 1), (1, 5), (2, 1), (2, 5)]
    for row in data["rows"]:
        assert 0 < row["median"] <= row["p90"] <= row["p99"]
        assert row["flop"] == row["batch"] * (2 * 3 * 4 + 4)
        assert row["per_second"] == pytest.approx(row["batch"] / row["median"])


def test_profile(model, capsys):
    code, data = run(capsys, model, "--profile")
    assert code == 0
    (profile,) = data["profiles"]
    assert [kernel["ops"] for kernel in profile["kernels"]] == [["matmul", "add"]]


def test_compare(model, capsys):
    code, data = run(capsys, model, "--compare", "numpy", "--batch", "2")
    assert code == 0
    (comparison,) = data["comparisons"]
    assert comparison["batch"] == 2
    assert [(r["peer"], r["reason"], len(r["seconds"])) for r in comparison["results"]] == [
        ("graphc", "", 7), ("numpy", "", 7),
    ]  # fmt: skip
    assert all(r["error"] < 1e-6 for r in comparison["results"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "write whole numbers from 1"),
        (["--threads", "x"], "write whole numbers from 1"),
        (["--compare", "torhc"], "did you mean torch"),
        (["--dim", "N=3", "--batch", "2"], "no dimension of the inputs is left open"),
        (["-i", "x:float32[N,M,3]"], "several dimensions are open: M, N"),
    ],
)
def test_what_cannot_be_measured(model, capsys, arguments, message):
    code, data = run(capsys, model, *arguments)
    assert code == 2
    assert message in json.dumps(data["error"])


def test_the_table():
    lines = _latencies([Latency(8, 2, 700, 1e-3, 2e-3, 3e-3, 10**8, 400.0, 3 << 20)]).split("\n")
    assert lines[0].split("  ")[0] == "threads"
    assert lines[1].split() == "2 8 1 ms 2 ms 3 ms 8,000 100.0 25 % 3.00 MiB".split()


def test_short_calls_are_timed_together(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("graphc.bench.latency.time.perf_counter", lambda: clock[0])
    calls = []

    def call():
        calls.append(1)
        clock[0] += 1e-6

    samples, count = time_calls(call, 1e-3)
    assert count == len(calls) - 3 == 20 * len(samples)
    assert np.allclose(samples, 1e-6)
