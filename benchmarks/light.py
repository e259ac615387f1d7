"""The light models of the onnx package beside ONNX Runtime: nine networks as others write them, their weights fills.

`python -m benchmarks.light [--only vgg19,...] [--threads 1,2] [--json FILE] [--write]`.  The answers are compared with
those that the package expects.  `--json` adds to what a file has, `--write` puts the table of all into docs/onnx.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.report import ROOT
from benchmarks.table import aligned, time_text
from graphc.bench.contest import Result, contest
from graphc.bench.serve import Contender, serve

PAGE = ROOT / "docs/onnx.md"
BEGIN, END = "<!-- light models -->\n", "<!-- end of light models -->\n"
PEER = "onnxruntime"
TOLERANCE = 1e-3  # of the root mean square, as onnx.backend.test allows


def models() -> dict[str, Path]:
    """The files by name."""
    import onnx.backend.test

    folder = Path(onnx.backend.test.__file__).parent / "data/light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("light_*.onnx"))}


def build(peer: str, path: Path, threads: int) -> Contender:
    """graphc or ONNX Runtime on a file, with the input that onnx.backend.test takes."""
    import graphc
    from graphc.bench.peers import with_onnx_model
    from graphc.frontends import onnx

    graph = onnx.load(str(path))
    (x,) = graph.inputs
    count = np.prod(x.shape)
    image = (np.arange(count) / count).reshape(x.shape).astype(np.float32)
    if peer == PEER:
        return with_onnx_model(str(path), [image], threads)
    run = graphc.compile(graph, threads=threads)
    return Contender(lambda: run(image), [np.asarray(run(image))])


def measured(path: Path, threads: int, *, repeats: int, seconds: float) -> list[Result]:
    """graphc's result and ONNX Runtime's."""
    import onnx

    expected = onnx.load_tensor(str(path.with_name(f"{path.stem}_output_0.pb")))
    reference = [onnx.numpy_helper.to_array(expected)]
    python = [sys.executable, "-m", "benchmarks.light", "--serve"]
    commands = {peer: [*python, peer, str(path), str(threads)] for peer in ("graphc", PEER)}
    return contest(commands, reference, TOLERANCE, threads=threads, repeats=repeats, seconds=seconds)


def table(rows: dict[str, dict[int, list[Result]]]) -> str:
    """A line for each model; the ratio is ONNX Runtime's time / graphc's."""
    counts = sorted({threads for row in rows.values() for threads in row})
    head = [f"{what}, {_threads(n)}" for n in counts for what in ("graphc", "ONNX Runtime", "ratio")]
    lines = [("model", *head)]
    for name, row in rows.items():
        cells = [cell for n in counts for cell in (_cells(*row[n]) if n in row else ("", "", ""))]
        lines.append((name, *cells))
    return aligned(lines)


def _cells(ours: Result, theirs: Result) -> tuple[str, str, str]:
    times = [time_text(r.median) if r.counts else f"FAILS: {r.reason}" for r in (ours, theirs)]
    ratio = f"{theirs.median / ours.median:.2f}" if ours.counts and theirs.counts else "-"
    return times[0], times[1], ratio


def _read(path: Path) -> dict[str, dict[int, list[Result]]]:
    data = json.loads(path.read_text("utf-8"))
    return {name: {int(n): [Result(**r) for r in row[n]] for n in row} for name, row in data.items()}


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "--serve":
        peer, path, threads, answer = arguments[1:]
        serve(lambda: build(peer, Path(path), int(threads)), int(threads), answer)
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.light", description=__doc__)
    parser.add_argument("--only", default="", help="names of models")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="least time of a repeat")
    parser.add_argument("--json", metavar="FILE", help="keep the times in a file, beside those it has")
    parser.add_argument("--write", action="store_true", help="put the table into docs/onnx.md")
    options = parser.parse_args(arguments)
    every = models()
    wanted = options.only.split(",") if options.only else list(every)
    if unknown := [name for name in wanted if name not in every]:
        parser.error(f"no model {unknown[0]}; there are {', '.join(every)}")
    kept = Path(options.json) if options.json else None
    rows = _read(kept) if kept and kept.exists() else {}
    for name in wanted:
        for threads in map(int, options.threads.split(",")):
            results = measured(every[name], threads, repeats=options.repeats, seconds=options.seconds)
            rows.setdefault(name, {})[threads] = results
            print(name, threads, *_cells(*results), file=sys.stderr, flush=True)
    rows = {name: rows[name] for name in every if name in rows}
    if kept:
        data = {name: {n: [asdict(r) for r in row[n]] for n in row} for name, row in rows.items()}
        kept.write_text(json.dumps(data, indent=1), "utf-8")
    print(table(rows))
    if options.write:
        before, rest = PAGE.read_text("utf-8").split(BEGIN)
        _, after = rest.split(END)
        PAGE.write_text(before + BEGIN + table(rows) + "\n" + END + after, "utf-8")
    return int(
        not all(result.counts for row in rows.values() for results in row.values() for result in results)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
