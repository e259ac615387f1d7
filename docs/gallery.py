"""Draws the figures of docs/gallery.md and writes the page: every figure is what the command above it writes.

python docs/gallery.py [NAME...]
"""

from __future__ import annotations

import ast
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
FOLDER = DOCS / "pictures" / "gallery"
sys.path.insert(0, str(ROOT))

from graphc import nn  # noqa: E402
from graphc.cli.main import main  # noqa: E402


@dataclass(frozen=True)
class Figure:
    """A picture of the page; `drawn` is what follows `graphc render`, from the folder of this project."""

    name: str
    title: str
    says: str
    drawn: str

    @property
    def command(self) -> str:
        return f"graphc render {self.drawn} -o {self.name}.svg"


CIRCUITS, RESNET = "examples/circuits.py", "examples/networks/resnet.py"
A2 = "-x x=-2 -x y=5 -x z=-4"
NEURON = f"{CIRCUITS}:neuron -x w0=2 -x x0=-1 -x w1=-3 -x x1=-2 -x w2=-3 --show check"

CIRCUIT_FIGURES = [
    Figure(
        "a1", "A product and a sum",
        "f = x·y + z at x = −3, y = 5, z = 2. The value stands above its wire, the gradient below it. On the way into "
        "an op stands the local derivative, and under it upstream · local = downstream. ✓: a finite difference agrees.",
        f"{CIRCUITS}:product_and_sum -x x=-3 -x y=5 -x z=2 --show check",
    ),
    Figure(
        "a2", "A sum and a product",
        "f = (x + y)·z at x = −2, y = 5, z = −4: the sum hands its gradient on, the product swaps its inputs.",
        f"{CIRCUITS}:sum_and_product {A2} --show check",
    ),
    Figure(
        "fork", "A fork", "x is used twice, and what comes back is added at ⊕: the terms and their sum stand below the "
        "wire.",
        f"{CIRCUITS}:fork -x x=3 -x y=-2 --show check",
    ),
    Figure(
        "neuron", "A neuron with two inputs", "The sigmoid as one op: its local derivative is f(1 − f).", NEURON,
    ),
    Figure(
        "neuron-opened", "The same neuron, opened",
        "`--expand sigmoid` draws 1/(1 + e^(−s)) gate by gate; the four local derivatives multiply to the one above.",
        f"{NEURON} --expand sigmoid",
    ),
    Figure(
        "silu", "A composite op", "silu(u) = u·σ(u) as one op: the local derivative is that of the whole.",
        f"{CIRCUITS}:swish -x w=-1.5 -x x=2 --show check",
    ),
    Figure(
        "silu-opened", "The same op, opened", "Opened, it is a fork with a σ on one way.",
        f"{CIRCUITS}:swish -x w=-1.5 -x x=2 --show check --expand silu",
    ),
    Figure(
        "a2-dark", "Another theme", "`dark`. Position, prefix and line style say what colour says; the others are "
        "`cs231n`, `blue-orange` and `print`.",
        f"{CIRCUITS}:sum_and_product {A2} --show check --theme dark",
    ),
    Figure(
        "a2-cs231n", "The lecture's colours", "Theme `cs231n`: values green, gradients red.",
        f"{CIRCUITS}:sum_and_product {A2} --show check --theme cs231n",
    ),
]  # fmt: skip

LAYER_FIGURES = [
    Figure(
        "a3", "A matrix and a vector", "f = ‖W·x‖². Tensors are drawn in rows: forward runs down on the left, the "
        "gradient comes back up on the right, each beside what it belongs to, with the rule it follows. Dotted is what "
        "forward keeps for backward.",
        f"{CIRCUITS}:square_of_product -x 'W=[[0.4, 0.6], [0.7, -0.2]]' -x 'x=[[0.5], [0.3]]' --show shapes,rule",
    ),
    Figure(
        "lenet", "LeNet", "Every op with its gradient in the same row, every weight W with ∇W at the other end of it.",
        "examples/lenet.py",
    ),
    Figure(
        "lenet-overlays", "LeNet with numbers",
        "Norms of values and gradients, parameters, work and bytes for N samples, and units that never fire (∅).",
        "examples/lenet.py --values --show params,flops,bytes,norms,health",
    ),
    Figure(
        "vanishing", "Gradients that vanish", "Five sigmoid layers with small weights. ↓↓ marks what is less than "
        "a thousandth of the first gradient.",
        "examples/unhealthy.py:Vanishing --values --show norms,health",
    ),
    Figure(
        "nan", "Where a NaN comes from", "The loss is finite, but √ has no derivative at 0: ⚠ begins there and goes on "
        "to every weight.",
        "examples/unhealthy.py:NotANumber --values --show norms,health",
    ),
    Figure(
        "lstm", "An LSTM, unrolled", "One cell called three times. Its weights are shared, so their gradients "
        "are added.",
        "examples/unrolled.py:Unrolled --depth 1",
    ),
    Figure("lstm-cell", "Inside of the cell", "The four gates, and the sum where their gradients meet.",
           "examples/unrolled.py:Cell"),
]  # fmt: skip

COMPILER_FIGURES = [
    Figure(
        "lenet-kernels", "Kernels", "What runs as one piece of code. A thin edge stays in registers, a thick one goes "
        "through memory and says how many bytes.",
        "examples/lenet.py --view fusion",
    ),
    Figure(
        "lenet-memory", "Memory in training", "Steps to the right, addresses upward. No two boxes overlap; hatched is "
        "what backward still needs; the bars below say what is alive, the dotted line how little any plan "
        "can do with.",
        "examples/lenet.py --view memory --train",
    ),
    Figure(
        "pass", "What a pass did", "`stabilize` finds 1/(1 + e^(−x)) in plain NumPy and takes σ(x) for it, which does "
        "not overflow: − is gone, + came, ~ was replaced.",
        "examples/programs/neuron.py --view passes --after stabilize",
    ),
    Figure("pass-before", "Before it", "One side with everything in the same place.",
           "examples/programs/neuron.py --view passes --after stabilize --side before"),
    Figure("pass-after", "After it", "The other side.",
           "examples/programs/neuron.py --view passes --after stabilize --side after"),
]  # fmt: skip

BIG_FIGURES = [
    Figure(
        "resnet18", "ResNet-18", "More than 150 boxes are folded by module; the head says how many ops are in how many "
        "boxes.",
        f"{RESNET}:ResNet18",
    ),
    Figure(
        "resnet18-block", "Inside of one block", "Everything folded but one module: the gradients of both ways meet at "
        "⊕ above it.",
        f"{RESNET}:ResNet18 --depth 1 --expand layer3.0",
    ),
    Figure(
        "resnet18-gradient", "The way of one gradient", "From a weight to the loss, and back.",
        f"{RESNET}:ResNet18 --grad-path-of layer4.1.conv2.weight",
    ),
    Figure(
        "resnet18-focus", "Around one addition", "What lies within two edges of it.",
        f"{RESNET}:ResNet18 --focus layer2.0.add --hops 2",
    ),
    Figure(
        "resnet50", "ResNet-50", "Blocks that are equal op by op, type by type and wire by wire share a box, which "
        "says how many there are.",
        f"{RESNET}:ResNet50",
    ),
    Figure(
        "vit-tiny", "ViT-Tiny", "Twelve equal layers: the first is open, the other eleven are one box.",
        "examples/networks/vit.py:ViTTiny -i 'x:float32[N,3,224,224]'",
    ),
]  # fmt: skip

PARTS = {
    "Circuits": CIRCUIT_FIGURES,
    "Layers": LAYER_FIGURES,
    "What the compiler did": COMPILER_FIGURES,
    "Large networks": BIG_FIGURES,
}
FIGURES = [figure for part in PARTS.values() for figure in part]

HEAD = """# Gallery

Each figure is what the command above it writes, run in the folder of this project; `make gallery` draws them all.
`-o picture.html` in place of `.svg` gives a page that steps through forward and backward op by op, with the sentence
for each step, opens and closes modules, and shows formula, source line, NumPy statement, kernel and memory of each box.
It is one file, loads nothing, and everything in it works from the keyboard (`?` lists the keys).
"""


def draw(figure: Figure, path: Path) -> None:
    """Run the command of a figure, but write to `path`."""
    nn.init.manual_seed(0)
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        code = main(["render", *shlex.split(figure.drawn), "-o", str(path), "--quiet"])
    finally:
        os.chdir(before)
    if code:
        raise SystemExit(f"{figure.name}: {figure.command} ends with status {code}")


def _source(file: str, name: str) -> str:
    """The lines of a function, without its decorator."""
    text = (ROOT / file).read_text(encoding="utf-8")
    (found,) = (n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == name)
    return "\n".join(text.splitlines()[found.lineno - 1 : found.end_lineno])


def _lines() -> Iterator[str]:
    yield HEAD
    seen: set[str] = set()
    for title, figures in PARTS.items():
        yield f"## {title}\n"
        for figure in figures:
            yield f"### {figure.title}\n\n{figure.says}\n"
            target = figure.drawn.split()[0]
            if target.startswith(CIRCUITS) and target not in seen:
                seen.add(target)
                yield f"```python\n{_source(*target.split(':'))}\n```\n"
            yield f"```sh\n{figure.command}\n```\n"
            yield f'<img src="pictures/gallery/{figure.name}.svg" alt="{figure.title}">\n'


def page() -> str:
    """The text of gallery.md."""
    return "\n".join(_lines())


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    for figure in FIGURES:
        if not wanted or figure.name in wanted:
            draw(figure, FOLDER / f"{figure.name}.svg")
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
