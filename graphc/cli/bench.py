"""`graphc bench`: how fast a model is, kernel by kernel or beside others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from graphc.cli.console import Console, in_bytes, in_seconds, table
from graphc.cli.main import Command, console_of
from graphc.cli.options import Request, load_model, model_at_work, model_options
from graphc.errors import UsageError

if TYPE_CHECKING:
    from graphc.bench.contest import Result
    from graphc.bench.latency import Latency
    from graphc.executable import Executable
    from graphc.ir.graph import Graph
    from graphc.profile import Profile


@click.command(cls=Command)
@model_options
@click.option("--batch", metavar="SIZES", help="Sizes of the dimension left open, as 1,8,64; 1 by default.")
@click.option("--threads", default="1", show_default=True, metavar="COUNTS", help="As 1,2.")
@click.option(
    "--compare", metavar="PEERS", help="Of numpy,torch,onnxruntime,openvino, in processes of their own."
)
@click.option("--profile", is_flag=True, help="A row for every kernel.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
    help="To measure for, in each case.",
)  # fmt: skip
@click.pass_context
def command(
    context: click.Context, request: Request, batch: str | None, threads: str, compare: str | None,
    profile: bool, seconds: float,
) -> None:  # fmt: skip
    """Measure how fast a model is.

    \b
      graphc bench lenet.py --batch 1,64 --threads 1,2
      graphc bench lenet.py --profile
      graphc bench lenet.py --compare torch,onnxruntime
    """
    console = console_of(context)
    batches, counts = _numbers(batch or "1", "--batch"), _numbers(threads, "--threads")
    with model_at_work(console):
        graph = _graph(request, console)
    symbols = sorted({s for v in graph.inputs for s in v.type.symbols})
    if batch and not symbols:
        raise UsageError("--batch: no dimension of the inputs is left open")
    if len(symbols) > 1:
        raise UsageError(
            f"several dimensions are open: {', '.join(symbols)}",
            fix=f"fix all but one: --dim {symbols[-1]}=64",
        )
    cases = [(count, size) for count in counts for size in (batches if symbols else [1])]
    if compare:
        _compare(graph, cases, compare.split(","), seconds, console)
        return
    from graphc import api
    from graphc.bench.latency import latency
    from graphc.ir.cost import total_flops
    from graphc.ir.dims import substitute

    rows: list[Latency] = []
    profiles: list[Profile] = []
    for count, size in cases:
        exe = api.compile(graph, threads=count)
        arrays = list(api.random_inputs(graph, size).values())
        if profile:
            profiles.append(exe.profile(*arrays, seconds=seconds))
            continue
        flop = substitute(total_flops(graph.nodes), dict.fromkeys(symbols, size))
        assert isinstance(flop, int)
        rows.append(
            latency(
                partial(exe, *arrays),
                batch=size,
                threads=count,
                flop=flop,
                memory=_memory(exe, size),
                seconds=seconds,
            )  # fmt: skip
        )
    if profile:
        data = [{"batch": size, **found.as_dict()} for (_, size), found in zip(cases, profiles, strict=True)]
        console.result({"profiles": data}, "\n\n".join(map(str, profiles)))
    else:
        console.result({"rows": [row.as_dict() for row in rows]}, _latencies(rows))


def _graph(request: Request, console: Console) -> Graph:
    found = load_model(request, console)
    from graphc import api
    from graphc.ir.specialize import specialize

    for name, sizes in request.sizes.items():
        if len(sizes) > 1:
            raise UsageError(f"--dim {name}: one size here, not {len(sizes)}", fix="--batch takes several")
    graph = api.graph_of(
        found.model, inputs=found.inputs, dims=found.dims, weights=found.weights, name=found.name
    )
    return specialize(graph, {name: sizes[0] for name, sizes in request.sizes.items()})


def _numbers(text: str, option: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 2**31 for part in parts):
        raise UsageError(f"{option} {text}: write whole numbers from 1, as 1,8,64")
    return [int(part) for part in parts]


def _memory(exe: Executable, size: int) -> int:
    weights = exe.native.facts.weights_bytes if exe.native else 0
    return exe.plan.workspace(size) + weights


def _latencies(rows: Sequence[Latency]) -> str:
    lines: list[tuple[str, ...]] = [
        ("threads", "batch", "median", "p90", "p99", "samples/s", "GFLOP/s", "of peak", "memory")
    ]
    for row in rows:
        times = (in_seconds(t) for t in (row.median, row.p90, row.p99))
        rates = (f"{row.per_second:,.0f}", f"{row.gflops:.1f}", f"{100 * row.gflops / row.peak:.0f} %")
        lines.append((str(row.threads), str(row.batch), *times, *rates, in_bytes(row.memory)))
    return table(lines, indent="")


def _compare(
    graph: Graph, cases: Sequence[tuple[int, int]], peers: Sequence[str], seconds: float, console: Console
) -> None:
    from graphc import api
    from graphc.bench.compare import compare
    from graphc.ir.specialize import specialize

    found: list[tuple[int, int, list[Result]]] = []
    for threads, size in cases:
        symbols = sorted({s for v in graph.inputs for s in v.type.symbols})
        fixed = specialize(graph, dict.fromkeys(symbols, size))
        arrays = api.random_inputs(fixed, size)
        results = compare(fixed, arrays, peers, threads=threads, seconds=seconds / 7)
        found.append((threads, size, results))
    data = [
        {"threads": threads, "batch": size, "results": [asdict(result) for result in results]}
        for threads, size, results in found
    ]
    lines: list[tuple[str, ...]] = [("threads", "batch", "who", "median", "least", "ratio", "error")]
    for threads, size, results in found:
        lines += [(str(threads), str(size), *_compared(result, results[0])) for result in results]
    console.result({"comparisons": data}, table(lines, indent=""))


def _compared(result: Result, ours: Result) -> tuple[Any, ...]:
    if not result.counts:
        return result.peer, result.reason
    ratio = f"{result.median / ours.median:.2f}" if ours.counts and result is not ours else ""
    return result.peer, in_seconds(result.median), in_seconds(result.best), ratio, f"{result.error:.0e}"
