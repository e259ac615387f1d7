"""Seconds and bytes of pictures beside their bars: `python -m benchmarks.drawing [--only lenet,resnet50] [--pages]`.

Every drawing is a fresh process, timed from its start to its end: import, model, trace, gradients, layout, file.  Pages
are then opened in a real Chromium (`drawing.mjs`; needs what tests/view/test_browser.py needs).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import aligned

HERE = Path(__file__).parent
NETWORKS = HERE.parent / "examples/networks"
MODULES = Path(os.environ.get("GRAPHC_NODE_MODULES") or HERE.parent / ".venv/browser/node_modules")
IMAGE = {"x": "float32[N,3,224,224]"}
EVERYTHING = 99  # levels of modules, more than any model has


@dataclass(frozen=True)
class Drawing:
    """A picture, with the seconds and bytes it may take; `seconds` is not judged where it is 0."""

    name: str
    suffix: str
    says: str
    seconds: float = 0.0
    size: int = 0
    options: Mapping[str, Any] | None = None


DRAWINGS = (
    Drawing("lenet", "svg", "LeNet, joint", 0.5),
    Drawing("lenet", "html", "LeNet, page with numbers", size=300_000, options={"values": True}),
    Drawing("resnet50", "svg", "ResNet-50, joint, folded", 1.0),
    Drawing("resnet50", "svg", "ResNet-50, joint, every op", 4.0, options={"depth": EVERYTHING}),
    Drawing("resnet50", "html", "ResNet-50, page", 6.0, 3_000_000),
    Drawing("resnet152", "svg", "ResNet-152, joint, every op", 4.0, options={"depth": EVERYTHING}),
    Drawing("resnet152", "html", "ResNet-152, page", 6.0),
)
BARS = {"opens": 1.0, "step": 0.05, "open or close a module": 0.1, "open or close all": 0.5, "search": 0.05}


def draw(drawing: Drawing, path: str) -> None:
    """What a user's script does, in this process."""
    import graphc

    if drawing.name == "lenet":
        sys.path.insert(0, str(NETWORKS.parent))
        import lenet

        model, inputs = lenet.model, lenet.inputs
        model = model() if isinstance(model, type) else model
    else:
        sys.path.insert(0, str(NETWORKS))
        import resnet

        depths = {"resnet50": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}
        model, inputs = resnet.ResNet(resnet.Bottleneck, depths[drawing.name]), IMAGE
    graphc.render(model, path, inputs=inputs, view="joint", **(drawing.options or {}))


def measure(drawing: Drawing, path: Path, repeats: int) -> float:
    """The least seconds of several processes."""
    number = str(DRAWINGS.index(drawing))
    command = [sys.executable, "-m", "benchmarks.drawing", "--once", number, str(path)]
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=HERE.parent)
        found.append(time.perf_counter() - start)
    return min(found)


def row(drawing: Drawing, path: Path, repeats: int) -> tuple[str, ...]:
    """Measured beside allowed, and how much is drawn."""
    seconds = measure(drawing, path, repeats)
    size = path.stat().st_size
    met = not (drawing.seconds and seconds > drawing.seconds) and not (drawing.size and size > drawing.size)
    return (
        drawing.says,
        drawing.suffix,
        f"{seconds:.2f} s",
        f"{drawing.seconds:.1f} s" if drawing.seconds else "",
        f"{size / 1000:,.0f} KB",
        f"{drawing.size / 1000:,.0f} KB" if drawing.size else "",
        "met" if met else "OVER",
    )


def page_rows(drawing: Drawing, path: Path) -> list[tuple[str, ...]]:
    """What a reader waits for in the page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None or not (MODULES / "playwright-core").is_dir():
        sys.exit(f"pages need chromium, node, and playwright-core in {MODULES}")
    command = ["node", str(HERE / "drawing.mjs"), str(MODULES), browser, str(path)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = []
    for what, bar in BARS.items():
        typical, worst = told[what]
        if not worst:
            continue  # it has nothing of the kind
        verdict = "met" if worst <= bar else "OVER"
        texts = (f"{1000 * typical:.0f} ms", f"{1000 * worst:.0f} ms", f"{1000 * bar:.0f} ms")
        rows.append((drawing.says, what, *texts, verdict))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawing", description=__doc__)
    parser.add_argument("--only", default="", help="models")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--pages", action="store_true", help="measure the pages in a browser, not the drawing"
    )
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.once:
        number, path = options.once
        draw(DRAWINGS[int(number)], path)
        return 0
    chosen = [d for d in DRAWINGS if not options.only or d.name in options.only.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number, drawing in enumerate(chosen):
            path = Path(folder) / f"{number}.{drawing.suffix}"
            if not options.pages:
                rows.append(row(drawing, path, options.repeats))
            elif drawing.suffix == "html":
                draw(drawing, str(path))
                rows += page_rows(drawing, path)
    heading = ("picture", "what", "median", "worst", "allowed", "")
    if not options.pages:
        heading = ("picture", "", "time", "allowed", "size", "allowed", "")
    print(aligned([heading, *rows]))
    return 1 if any(line[-1] == "OVER" for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
