"""Random graphs: native code gives the interpreter's numbers.

`GRAPHC_FUZZ_NATIVE=500` runs more, `GRAPHC_FUZZ_SEED` begins elsewhere; see test_passes.py.
"""

import os

import numpy as np
import pytest

from graphc import api
from tests.fuzz.comparing import bound, compare_outputs
from tests.fuzz.random_graphs import random_case

CASES = int(os.environ.get("GRAPHC_FUZZ_NATIVE", "16"))
FIRST = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))
CHUNK = 4
SEEDS = [range(start, min(start + CHUNK, FIRST + CASES)) for start in range(FIRST, FIRST + CASES, CHUNK)]


@pytest.mark.parametrize("seeds", SEEDS, ids=lambda r: f"seeds {r.start} to {r.stop - 1}")
def test_native_code(seeds):
    for seed in seeds:
        case = random_case(seed, (5, 25))
        wanted = bound(case.graph, case.inputs, seed)
        executable = api.compile(case.graph, cache=False)
        results = executable(*(case.inputs[v.name] for v in case.graph.inputs))
        outputs = results if isinstance(results, tuple) else (results,)
        compare_outputs([np.asarray(y) for y in outputs], wanted, f"seed {seed}")
