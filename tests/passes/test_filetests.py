"""Passes on graphs in text: each file of tests/filetests/passes holds a graph, and below `// ---` what comes out.

`// run: canonicalize, fuse` names the passes.  What comes out is their notes, then the graph, or after `fuse` the
kernels and the refusals.  `GRAPHC_UPDATE_GOLDEN=1` writes what comes out now; read the difference before committing.
"""

import os
import re
from pathlib import Path

import pytest

from graphc.explain import print_partition
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.verifier import verify
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import inference_passes, run_passes, training_passes

FILES = sorted((Path(__file__).parents[1] / "filetests" / "passes").glob("*.gir"))
PASSES = {each.name: each for each in (*inference_passes(), *training_passes())}
MARK = "// ---\n"


def result(text: str) -> str:
    match = re.search(r"^// run: (.*)$", text, re.MULTILINE)
    assert match, "no line '// run: PASS, ...'"
    names = [name.strip() for name in match[1].split(",")]
    fused = names[-1] == "fuse"
    log = run_passes(
        verify(parse_graph(text)), [PASSES[name] for name in names[: len(names) - fused]], check=True
    )
    lines = [f"note {note}" for note in log.notes]
    if not fused:
        return "\n".join([*lines, print_graph(log.graph)]) + "\n"
    partition = fuse(log.graph)
    lines.append(print_partition(partition))
    lines += [f"%{r.producer} | %{r.consumer}: {r.reason}" for r in partition.refusals]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_filetest(path):
    text, _, expected = path.read_text(encoding="utf-8").partition(MARK)
    got = result(text)
    if os.environ.get("GRAPHC_UPDATE_GOLDEN"):
        path.write_text(text + MARK + got, encoding="utf-8")
    else:
        assert got == expected


def test_there_are_file_tests():
    assert len(FILES) >= 10
