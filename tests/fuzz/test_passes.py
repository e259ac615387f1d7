"""Random graphs: the interpreter's numbers before a pass are its numbers after it.

For each pass, passes in any order, and the pipelines.  `GRAPHC_FUZZ_CASES=10000` runs more, `GRAPHC_FUZZ_SEED=123`
begins elsewhere.  Every failure names the seed of its graph: `random_case(seed)` makes it again.
"""

import os
from functools import partial

import numpy as np
import pytest

from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.verifier import verify
from graphc.passes.canonicalize import canonicalize
from graphc.passes.cse import cse
from graphc.passes.dce import dce
from graphc.passes.expand import expand
from graphc.passes.fill_weights import fill_weights
from graphc.passes.fold_batch_norm import fold_batch_norm
from graphc.passes.fold_constants import fold_constants
from graphc.passes.fold_linear import fold_linear
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import before_autodiff, inference_passes, run_passes, training_passes
from graphc.passes.stabilize import stabilize
from tests.fuzz.comparing import bound, breaks_ties, compare, compare_bits, contracts
from tests.fuzz.random_graphs import random_case, with_gradient
from tests.passes.partitions import check_partition

CASES = int(os.environ.get("GRAPHC_FUZZ_CASES", "120"))
FIRST = int(os.environ.get("GRAPHC_FUZZ_SEED", "0"))
CHUNK = 40
SEEDS = [range(start, min(start + CHUNK, FIRST + CASES)) for start in range(FIRST, FIRST + CASES, CHUNK)]
EXACT = {
    "canonicalize exact": partial(canonicalize, grades=("exact",)),
    "fill weights": fill_weights,
    "fold constants": fold_constants,
    "fold parameters": partial(fold_constants, parameters=True),
    "cse": cse,
    "dce": partial(dce, parameters=True),
    "expand": expand,
}
CLOSE = {
    "canonicalize": canonicalize,
    "canonicalize fast": partial(canonicalize, grades=("exact", "stable", "fast")),
    "stabilize": stabilize,
    "fold batch norm": fold_batch_norm,
    "fold linear": fold_linear,
}
chunks = pytest.mark.parametrize("seeds", SEEDS, ids=lambda r: f"seeds {r.start} to {r.stop - 1}")


@chunks
def test_passes_change_no_number(seeds):
    compared = outputs = 0
    for seed in seeds:
        case = random_case(seed)
        wanted = bound(case.graph, case.inputs, seed)
        for name, graph in rewritten(case, seed):
            label = f"seed {seed}, {name}"
            verify(graph)
            assert [v.name for v in graph.inputs] == [v.name for v in case.graph.inputs], label
            if name in EXACT and not contracts(case.graph) and not breaks_ties(case.graph):
                compare_bits(graph, case.inputs, wanted, label)
            compared += compare(graph, case.inputs, wanted, label)
            outputs += len(graph.outputs)
    assert compared > 0.8 * outputs  # roundings decide a branch of few graphs only


def rewritten(case, seed):
    """(what was done, the graph then): each pass alone, several in a random order, the pipelines."""
    for name, each in (EXACT | CLOSE).items():
        yield name, each(case.graph)[0]
    graph, order = case.graph, list(np.random.default_rng(seed).permutation(sorted(EXACT | CLOSE))[:6])
    if "stabilize" in order:  # never behind expand: opened bodies are stable as they are
        order.insert(0, order.pop(order.index("stabilize")))
    for name in order:
        graph, _ = (EXACT | CLOSE)[name](graph)
    yield ", then ".join(order), graph
    for name, passes in (("inference", inference_passes()), ("training", training_passes())):
        log = run_passes(case.graph, passes)
        assert all(old in log.mapping for old in case.graph.outputs)
        text = print_graph(log.graph, provenance=True)
        assert print_graph(parse_graph(text), provenance=True) == text
        yield name, log.graph


@chunks
def test_stabilized_before_autodiff(seeds):
    """Gradients of the stable form are gradients of the form as written."""
    for seed in seeds:
        case = random_case(seed, (5, 25), gradient=False)
        number = [n for n, v in enumerate(case.graph.outputs) if v.type.rank == 0 and v.dtype.is_float]
        wrt = [v.name for v in case.graph.inputs + case.graph.parameters if v.dtype.is_float][:3]
        if not number:
            continue
        of = case.graph.output_names[number[0]]
        plain = with_gradient(case.graph, wrt, of)
        stable = with_gradient(run_passes(case.graph, before_autodiff()).graph, wrt, of)
        compare(stable, case.inputs, bound(plain, case.inputs, seed), f"seed {seed}")


@chunks
def test_kernels(seeds):
    for seed in seeds:
        case = random_case(seed, (5, 30))
        graph = run_passes(case.graph, training_passes()).graph
        check_partition(fuse(graph), case.inputs, run=seed % 4 == 0 and len(graph.nodes) < 80)
