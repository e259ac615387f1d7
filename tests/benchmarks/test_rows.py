"""Ratios, errors and cells of the table, from made-up times."""

import json
import math

import numpy as np
import pytest

from benchmarks import table, workloads
from benchmarks.rows import Row, as_data, from_data
from graphc.bench.contest import Result, error_of
from graphc.bench.serve import measure

LENET = workloads.named("lenet-b1")


def row(*results: Result) -> Row:
    return Row(LENET, 1, list(results))


def test_the_ratio_is_that_of_the_medians_to_the_fastest_peer():
    found = row(
        Result("graphc", [2.0, 1.0, 9.0]), Result("slow", [7.0, 1.0, 8.0]), Result("fast", [5.0, 6.0, 7.0])
    )
    assert [r.peer for r in found.others] == ["fast", "slow"]
    assert found.ratio == 3.0
    assert found.met
    assert not row(Result("graphc", [2.1]), Result("fast", [6.0])).met


def test_a_wrong_answer_of_graphc_fails_the_row_however_fast_it_is():
    found = row(
        Result("graphc", reason="wrong answer: error 1.0e-02, tolerance 1e-04"), Result("peer", [6.0])
    )
    assert found.ratio is None
    assert not found.met
    assert "FAILS: wrong answer" in table.markdown([found])


def test_a_peer_with_a_wrong_answer_does_not_count_but_is_told_of():
    found = row(
        Result("graphc", [1.0]), Result("peer", [0.1], reason="wrong answer: x"), Result("good", [3.5])
    )
    assert found.ratio == 3.5
    assert "peer: wrong answer: x" in table.markdown([found])


def test_without_peers_there_is_a_time_and_no_verdict():
    found = row(Result("graphc", [1e-6]), Result("jax", reason="No module named 'jax'"))
    assert table.cells(found) == ("lenet-b1", "1", "1.00 µs", "-", "no peer", "-", "3.00", "", "")


def test_the_lines_of_the_table_are_of_one_length():
    lines = table.markdown([row(Result("graphc", [1.0]), Result("a", [2.0]), Result("b", [0.004]))]).split(
        "\n"
    )
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1


def test_data_has_every_time_and_gives_the_row_again():
    found = row(Result("graphc", [2.0, 4.0], error=0.0), Result("peer", [9.0], error=1e-7))
    data = json.loads(json.dumps(as_data(found)))
    assert data["ratio"] == 3.0
    assert [r["seconds"] for r in data["results"]] == [[2.0, 4.0], [9.0]]
    assert from_data(data) == found


def test_errors_are_relative_to_the_size_of_the_answer():
    wanted = [np.array([3.0, 4.0]), np.array(2.0)]
    assert error_of([np.float32([3.0, 4.5]), np.float32(2.0)], wanted) == pytest.approx(0.5 / math.sqrt(12.5))
    assert error_of([np.array([3.0, 4.0])], wanted) == math.inf
    assert error_of([np.zeros((1, 2)), np.array(2.0)], wanted) == math.inf
    assert math.isnan(error_of([np.array([3.0, math.nan]), np.array(2.0)], wanted))


def test_nan_is_no_right_answer():
    assert not error_of([np.array(math.nan)], [np.array(1.0)]) <= LENET.tolerance


def test_measuring_calls_often_enough(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]

    class Timer:  # a call takes a millisecond, the first one ten
        def __init__(self, call):
            self.call = call

        def timeit(self, count):
            start = clock[0]
            for _ in range(count):
                clock[0] += 0.001 if clock[0] else 0.01
                self.call()
            return clock[0] - start

    calls = []
    monkeypatch.setattr("graphc.bench.serve.timeit.Timer", Timer)
    assert measure(lambda: calls.append(1), 0.1) == pytest.approx(0.001)
    assert len(calls) >= 100


def test_names_of_workloads():
    assert [w.name for w in workloads.chosen("")] == [w.name for w in workloads.WORKLOADS]
    assert [w.name for w in workloads.chosen("mlp-b1,lenet")] == ["mlp-b1", "lenet-b1", "lenet-b64"]
    with pytest.raises(ValueError, match="no workload nothing"):
        workloads.chosen("nothing")
