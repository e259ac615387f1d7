"""Ratios, errors and cells of the table, from made-up times."""

import json
import math

import numpy as np
import pytest

from benchmarks import table, workloads
from benchmarks.limits import Limit, Machine, Work, work_of
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
    assert table.cells(found) == ("lenet-b1", "1", "1.00 µs", "-", "no peer", "-", "3.00", "", "", "", "")


def test_the_lines_of_the_table_are_of_one_length():
    lines = table.markdown([row(Result("graphc", [1.0]), Result("a", [2.0]), Result("b", [0.004]))]).split(
        "\n"
    )
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1


LIMIT = Limit(2.0, "compute", 480 * 10**9, 10**6, 240.0, 100.0)


def test_a_row_that_falls_short_says_what_the_machine_allows():
    found = Row(LENET, 1, [Result("graphc", [2.5]), Result("peer", [5.0])], LIMIT)
    assert found.possible == 2.5
    assert table.cells(found)[7:10] == ("short", "2.00 s", "80 % compute")
    (line,) = table.shortfalls([found])
    assert "2.00 of 3.00" in line and "480,000.0 MFLOP at the measured 240 GFLOP/s take 2.00 s" in line
    assert "No ratio above 2.50 is possible" in line
    far = Row(LENET, 1, [Result("graphc", [2.5]), Result("peer", [7.0])], LIMIT)
    assert "graphc 2.50 s, 1.25 times the limit." in table.shortfalls([far])[0]
    assert table.shortfalls([Row(LENET, 1, [Result("graphc", [2.0]), Result("peer", [6.0])], LIMIT)]) == []


def test_each_kernel_waits_for_the_slower_of_computing_and_reading():
    computer = Machine("m", (100.0, 200.0), 400.0, 200.0, 50.0, (10.0, 15.0), 10**6, 10**8)
    work = Work(((10**9, 10**6), (10**6, 10**7)))  # 11 MB of weights: they lie in L3
    one = work.limit(computer, 1)
    assert one.seconds == pytest.approx(0.01 + 10**7 / 50e9)
    assert (one.waits_for, one.rate) == ("compute", 50.0)
    assert work.limit(computer, 2).seconds == pytest.approx(0.005 + 10**7 / 100e9)
    large = Work(((0, 10**9),)).limit(computer, 2)
    assert (large.waits_for, large.seconds) == ("memory", pytest.approx(10**9 / 15e9))
    assert Work(((0, 10**5),)).limit(computer, 1).waits_for == "L2"


def test_the_work_of_a_product_and_of_its_training():
    product = work_of(workloads.named("matmul-128x768x768"))
    assert (product.flop, product.weights) == (2 * 128 * 768 * 768, 4 * 768 * 768)
    forward = 2 * 64 * (1000 * 100 + 100 * 10)
    hidden_gradient = 2 * 64 * 100 * 10
    assert work_of(workloads.named("train-mlp2")).flop == 2 * forward + hidden_gradient


def test_data_has_every_time_and_gives_the_row_again():
    found = row(Result("graphc", [2.0, 4.0], error=0.0), Result("peer", [9.0], error=1e-7))
    data = json.loads(json.dumps(as_data(found)))
    assert data["ratio"] == 3.0
    assert [r["seconds"] for r in data["results"]] == [[2.0, 4.0], [9.0]]
    assert from_data(data) == found
    limited = Row(LENET, 1, [Result("graphc", [2.0], error=0.0)], LIMIT)
    assert from_data(json.loads(json.dumps(as_data(limited)))) == limited


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
