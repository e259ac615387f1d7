"""How cost grows: time against batch, image size and depth, with the compile time beside it.

`python -m benchmarks.costs [--only batch,image,depth] [--json FILE]`.  What does more work than the point before may
cost as much more; what costs more than CLIFF times that is marked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import aligned, time_text

CLIFF = 1.5
SECONDS = 0.15
BATCHES = (1, 2, 3, 4, 8, 16, 31, 32, 64, 128, 256)
IMAGES = (64, 96, 128, 160, 191, 192, 224, 256, 320, 384, 448, 512)
DEPTHS = (10, 30, 100, 300, 1000)


@dataclass(frozen=True, slots=True)
class Cost:
    """A point: what was varied and its value, seconds of a call, floating-point operations, seconds to compile."""

    series: str
    varied: str
    value: int
    seconds: float
    flop: int
    compiled: float


def cliffs(costs: Sequence[Cost]) -> set[int]:
    """Positions whose time per operation is more than CLIFF times that of the point before, of the same series.

    >>> steady = [Cost("a", "batch", n, n * 1.0, n, 0.0) for n in (1, 2, 4)]
    >>> cliffs(steady), cliffs([*steady, Cost("a", "batch", 8, 13.0, 8, 0.0)])
    (set(), {3})
    """
    found = set()
    for position, (before, now) in enumerate(itertools.pairwise(costs), 1):
        alike = (before.series, before.varied) == (now.series, now.varied)
        if alike and now.seconds / now.flop > CLIFF * before.seconds / before.flop:
            found.add(position)
    return found


def batches(values: Sequence[int] = BATCHES) -> Iterator[Cost]:
    """LeNet, ResNet-18 and an MLP, compiled once for any batch."""
    from benchmarks.workloads import named

    for name in ("mlp-b1", "lenet-b1", "resnet18"):
        workload = named(name)
        net, shape = workload.model("graphc").eval(), workload.shape[1:]
        exe, compiled = compiled_for(net, f"float32[N,{','.join(map(str, shape))}]")
        for n in values if name != "resnet18" else [n for n in values if n <= 32]:
            yield measured(name.removesuffix("-b1"), "batch", n, exe, (n, *shape), compiled)


def images(values: Sequence[int] = IMAGES) -> Iterator[Cost]:
    """ResNet-18 for each size of image."""
    from benchmarks.workloads import named

    for size in values:
        net = named("resnet18").model("graphc").eval()
        exe, compiled = compiled_for(net, f"float32[1,3,{size},{size}]")
        yield measured("resnet18", "image", size, exe, (1, 3, size, size), compiled)


def depths(values: Sequence[int] = DEPTHS) -> Iterator[Cost]:
    """Fully connected layers and convolutions, one after the other."""
    from graphc import nn

    for depth in values:
        net = nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(64, 64), nn.ReLU())])
        exe, compiled = compiled_for(net, "float32[1,64]")
        yield measured("linear 64", "depth", depth, exe, (1, 64), compiled)
    for depth in values:
        convs = [nn.Conv2d(16, 16, 3, padding=1) for _ in range(depth)]
        net = nn.Sequential(*[layer for conv in convs for layer in (conv, nn.ReLU())])
        exe, compiled = compiled_for(net, "float32[1,16,16,16]")
        yield measured("conv 16x16x16", "depth", depth, exe, (1, 16, 16, 16), compiled)


def compiled_for(net: Any, type: str) -> tuple[Any, float]:
    """A network compiled from nothing, and the seconds that took."""
    import graphc

    start = time.perf_counter()
    exe = graphc.compile(net, inputs={"x": type}, cache=False)
    return exe, time.perf_counter() - start


def measured(series: str, varied: str, value: int, exe: Any, shape: tuple[int, ...], compiled: float) -> Cost:
    """The least of several repeats."""
    from graphc.bench.serve import measure
    from graphc.ir.cost import total_flops
    from graphc.ir.dims import substitute

    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    flop = substitute(total_flops(exe.graph.nodes), dict.fromkeys(exe.graph.dims or ("N",), shape[0]))
    assert isinstance(flop, int)
    seconds = min(measure(lambda: exe(x), SECONDS / 3) for _ in range(3))
    return Cost(series, varied, value, seconds, flop, compiled)


SERIES = {"batch": batches, "image": images, "depth": depths}


def table(costs: Sequence[Cost]) -> str:
    """The points in Markdown, series by series."""
    costs = sorted(costs, key=lambda c: (list(SERIES).index(c.varied), c.series, c.value))
    marked = cliffs(costs)
    lines = [("series", "varied", "value", "time", "GFLOP/s", "compiled in", "")]
    for position, cost in enumerate(costs):
        rate = f"{cost.flop / cost.seconds / 1e9:.1f}"
        mark = "cliff" if position in marked else ""
        lines.append(
            (
                cost.series,
                cost.varied,
                str(cost.value),
                time_text(cost.seconds),
                rate,
                time_text(cost.compiled),
                mark,
            )
        )
    return aligned(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--only", default=",".join(SERIES))
    parser.add_argument("--values", help="instead of all: as 1,2,4")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    costs: list[Cost] = []
    for name in options.only.split(","):
        values = [tuple(map(int, options.values.split(",")))] if options.values else []
        for cost in SERIES[name](*values):
            costs.append(cost)
            print(cost, file=sys.stderr, flush=True)
    print(table(costs))
    if options.json:
        Path(options.json).write_text(
            json.dumps({"costs": [asdict(cost) for cost in costs]}, indent=1), "utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
