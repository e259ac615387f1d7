"""Random graphs, native, in hostile memory: the numbers are right for every N, and nothing else is touched.

Graphs of exact numbers agree with the interpreter bit for bit, others within what rounding can do.  Each runs
fused, and some with every node a kernel of its own.  `make fuzz` runs many more; a failure names its seed.
"""

import os

import numpy as np
import pytest

from graphc.errors import ArgumentShapeError
from graphc.interpret import interpret
from graphc.ir.dims import substitute
from graphc.ir.partition import singly
from graphc.pipeline import lower
from tests.fuzz.comparing import bound, compare_outputs
from tests.fuzz.exact_graphs import exact_case
from tests.fuzz.exactness import ranges
from tests.fuzz.native import POISONS, Native
from tests.fuzz.random_graphs import random_case

CASES = int(os.environ.get("GRAPHC_FUZZ_HOSTILE", "160"))
FIRST = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))
CHUNK = 20
SEEDS = [range(start, min(start + CHUNK, FIRST + CASES)) for start in range(FIRST, FIRST + CASES, CHUNK)]
BATCHES = (0, 1, 3, 7)
chunks = pytest.mark.parametrize("seeds", SEEDS, ids=lambda r: f"seeds {r.start} to {r.stop - 1}")


def batches(case):
    """The case's inputs for each N: other arrays of the same numbers."""
    if not any(v.type.symbols for v in case.graph.inputs):
        yield case.inputs
        return
    for n in BATCHES:
        rng = np.random.default_rng([case.seed, n])
        arrays = {}
        for v in case.graph.inputs:
            array, shape = case.inputs[v.name], tuple(substitute(d, {"N": n}) for d in v.shape)
            drawn = rng.choice(array.ravel(), shape) if array.size else np.zeros(shape)
            arrays[v.name] = array if shape == array.shape else np.asarray(drawn, array.dtype)
        yield arrays


def compiled(case, seed, every):
    """(label, graph after its passes, its native code)."""
    for training in (False, True) if every else (seed % 2 == 0,):
        lowered = lower(case.graph, training=training)
        for kind in ("fused", "singly") if every or seed % 4 == 0 else ("fused",):
            partition = lowered.partition if kind == "fused" else singly(lowered.graph)
            yield f"{'training' if training else 'inference'}, {kind}", lowered.graph, Native(partition)


def run_seeds(seeds, make, check, every):
    ran = 0
    for seed in seeds:
        case = make(seed)
        codes = list(compiled(case, seed, every))
        for arrays in batches(case):
            try:
                wanted = interpret(case.graph, arrays)
            except ArgumentShapeError as error:  # a maximum over a batch of 0
                assert "N = 0 is outside its range" in str(error), f"seed {seed}"
                assert all(native.signature.n_range[0] > 0 for _, _, native in codes)
                continue
            for label, graph, native in codes:
                for poison in POISONS[: 2 if every else 1]:
                    label = f"seed {seed}, {label}, {graph.bind(arrays)}, poison {poison:#x}"
                    try:
                        outputs = native.run(arrays, poison)
                    except AssertionError as error:
                        raise AssertionError(f"{label}: {error}") from None
                    check(case, graph, arrays, wanted, outputs, label)
                    ran += 1
    assert ran >= len(seeds)


def same_bits(case, graph, arrays, wanted, outputs, label):
    known, lowered = ranges(graph, arrays), interpret(graph, arrays)
    for i, (value, y) in enumerate(zip(graph.outputs, outputs, strict=True)):
        if known[value].loose:
            continue
        for z in (
            (lowered[i], wanted[i]) if known[value].grain else (lowered[i],)
        ):  # passes keep exact numbers
            assert y.dtype == z.dtype and y.shape == z.shape, label
            wrong = ~((y == z) | ((y != y) & (z != z)))
            assert not wrong.any(), f"{label}: output {i}: {z[wrong][:3]} became {y[wrong][:3]}"


def close(case, graph, arrays, wanted, outputs, label):
    compare_outputs(outputs, bound(case.graph, arrays, case.seed), label)


def every_way() -> bool:
    return "GRAPHC_FUZZ_HOSTILE" in os.environ


@chunks
def test_exact_numbers(seeds):
    run_seeds(seeds, exact_case, same_bits, every_way())


@chunks
def test_real_numbers(seeds):
    run_seeds(seeds if every_way() else seeds[:4], lambda s: random_case(s, (5, 25)), close, every_way())
