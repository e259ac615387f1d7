"""Ratios, errors and cells of the table, from made-up times."""

import json
import math

import numpy as np
import pytest

from benchmarks import table, workloads
from benchmarks.kernels import longest
from benchmarks.limits import Limit, Machine, Part, Term, Work, work_of
from benchmarks.rows import Row, as_data, from_data
from graphc.bench.contest import Result, error_of
from graphc.bench.serve import measure
from graphc.profile import Profile
from graphc.profile import Row as KernelRow

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


LIMIT = Limit(480 * 10**9, 10**6, (Term("compute", 480e9, 240.0),))


def test_a_row_that_falls_short_says_what_the_machine_allows():
    found = Row(LENET, 1, [Result("graphc", [2.5]), Result("peer", [5.0])], LIMIT)
    assert found.possible == 2.5
    assert table.cells(found)[7:10] == ("short", "2.00 s", "80 % compute")
    (line,) = table.shortfalls([found])
    assert "2.00 of 3.00" in line and "480,000.0 MFLOP at the measured 240 GFLOP/s take 2.00 s" in line
    assert "no ratio above 2.50 is possible" in line
    far = Row(
        LENET, 1, [Result("graphc", [2.5]), Result("peer", [7.0])], LIMIT, ("2 x conv relu 90 % of the time",)
    )
    told = table.shortfalls([far])[0]
    assert told.endswith("1.25 times the limit.  Its kernels: 2 x conv relu 90 % of the time.")
    loop = Limit(10**9, 64 * 10**6, (Term("L2", 64e6, 200.0), Term("compute", 1e6, 100.0)), 64)
    (line,) = table.shortfalls([Row(LENET, 1, [Result("graphc", [1e-3]), Result("peer", [1e-3])], loop)])
    assert "64.0 MB of weights at the measured 200 GB/s of L2, over 64 steps, take 320 µs; 1.0 MFLOP" in line
    assert table.shortfalls([Row(LENET, 1, [Result("graphc", [2.0]), Result("peer", [6.0])], LIMIT)]) == []


def test_each_kernel_waits_for_the_slower_of_computing_and_reading():
    computer = Machine("m", (100.0, 200.0), 400.0, 200.0, 50.0, (10.0, 15.0), 10**6, 10**8)
    work = Work(
        (Part(10**9, 10**6), Part(10**6, 9 * 10**6))
    )  # a tenth of the weights lies in L2, the rest in L3
    one = work.limit(computer, 1)
    assert one.seconds == pytest.approx(0.01 + 0.9e6 / 200e9 + 8.1e6 / 50e9)
    assert (one.waits_for, one.read) == ("compute", 10**7)
    assert work.limit(computer, 2).seconds == pytest.approx(0.005 + 1.8e6 / 400e9 + 7.2e6 / 100e9)
    large = Work((Part(0, 10**9),)).limit(computer, 2)
    assert large.waits_for == "memory"
    assert large.seconds == pytest.approx(2e6 / 400e9 + 1e8 / 100e9 + (10**9 - 102e6) / 15e9)
    assert Work((Part(0, 10**5),)).limit(computer, 1).waits_for == "L2"


def test_a_loop_reads_its_weights_in_every_step_from_where_the_loops_lie():
    computer = Machine("m", (100.0, 200.0), 400.0, 200.0, 50.0, (10.0, 15.0), 10**6, 10**8)
    both = Work((Part(0, 4 * 10**6), Part(10**6, 10**6, 64))).limit(computer, 1)
    inside = sum(term.seconds for term in both.terms if term.place == "L2")
    assert inside == pytest.approx((64e6 + 0.8e6) / 200e9)  # a fifth of the others' weights is there too
    assert (both.read, both.steps) == (68 * 10**6, 64)
    net = work_of(workloads.named("lstm"))
    (loop,) = (part for part in net.parts if part.times > 1)
    assert (loop.times, loop.weights >> 20, loop.flop) == (64, 1, 64 * 2 * 4 * 256 * 256)
    assert net.flop == loop.flop + 64 * 2 * 4 * 256 * 128


def test_weights_in_half_the_bits_are_half_to_read():
    full, half = (work_of(workloads.named(name)).weights for name in ("mlp-b1", "mlp-b1-fp16"))
    biases = 4 * (512 + 512 + 10)
    assert half - biases == (full - biases) / 2
    wide = Row(workloads.named("mlp-b1-fp16"), 1, [Result("graphc", [1.0], 4e-4), Result("peer", [2.0])])
    assert table.cells(wide)[7] == "met, error 4e-04"


def test_kernels_that_take_longest_are_named_once():
    rows = [
        KernelRow(f"k{i}", "row", ops, seconds, flop, 0)
        for i, (ops, seconds, flop) in enumerate(
            [
                (("conv", "relu"), 0.3, 15 * 10**9),
                (("max_pool",), 0.1, 0),
                (("conv", "relu"), 0.4, 20 * 10**9),
            ]
        )
    ]
    told = longest(Profile("net", 1, tuple(rows), 0.8, 7, 100.0, 40.0))
    assert told == ["2 x conv relu 88 % of the time at 50 % of the peak", "max_pool 12 % of the time"]


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
