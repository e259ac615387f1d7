"""Draws the figures of docs/gallery.md and writes the page.

python docs/gallery.py [NAME...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphc
import graphc.nn.functional as F
from graphc import nn

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
FOLDER = DOCS / "pictures" / "gallery"


@dataclass(frozen=True)
class Figure:
    """A picture of the page: `how` is the line a reader types to get its like."""

    name: str
    title: str
    says: str
    how: str
    draw: Callable[[], str]
    width: int = 0


def _svg(model: Any, inputs: Mapping[str, str] | None = None, **options: Any) -> str:
    picture = graphc.render(model, inputs=inputs, **{"view": "joint", **options})
    assert isinstance(picture, str)
    return picture


def _circuit(function: Callable[..., Any], numbers: Mapping[str, float], **options: Any) -> str:
    inputs = dict.fromkeys(numbers, "float64[]")
    values = {name: np.array(number) for name, number in numbers.items()}
    return _svg(function, inputs, values=values, show=("shapes", "check"), **options)


def product_and_sum(x, y, z):  # type: ignore[no-untyped-def]
    g = x * y
    return g + z


def sum_and_product(x, y, z):  # type: ignore[no-untyped-def]
    q = x + y
    return q * z


def neuron(w0, x0, w1, x1, w2):  # type: ignore[no-untyped-def]
    return F.sigmoid(w0 * x0 + w1 * x1 + w2)


def neuron_opened(w0, x0, w1, x1, w2):  # type: ignore[no-untyped-def]
    s = w0 * x0 + w1 * x1 + w2
    return 1.0 / (1.0 + np.exp(-s))


def swish(w, x):  # type: ignore[no-untyped-def]
    return F.silu(w * x)


SWISH = {"w": -1.5, "x": 2.0}


def square_of_product(x, W):  # type: ignore[no-untyped-def]
    q = W @ x
    return (q * q).sum()


def fork(x, y):  # type: ignore[no-untyped-def]
    a = x * y
    return a * x


A2 = {"x": -2.0, "y": 5.0, "z": -4.0}
NEURON = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}


class Unrolled(nn.Module):
    """One LSTM cell read three times: the weights are shared, the calls are not."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x, h, c):  # type: ignore[no-untyped-def]
        for step in range(3):
            h, c = self.cell(x[:, step], (h, c))
        return self.head(h)


UNROLLED = {"x": "float32[N,3,4]", "h": "float32[N,8]", "c": "float32[N,8]"}


class Normalized(nn.Module):
    """A convolution with batch normalization, and a logarithm of a sum of exponentials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = F.relu(self.bn(self.conv(x))).mean((2, 3))
        return self.fc(x).exp().sum(1).log()


def _example(path: str, entry: str | None = None, **options: Any) -> str:
    from graphc.frontends.python.model_file import load_model_file

    sys.path.insert(0, str(EXAMPLES / "networks"))
    found = load_model_file(str(EXAMPLES / path), entry=entry)
    options.setdefault("name", found.name)
    return _svg(found.model, found.inputs, **options)


def _network(module: str, model: str, image: str, **options: Any) -> str:
    sys.path.insert(0, str(EXAMPLES / "networks"))
    made = getattr(__import__(module), model)()
    return _svg(made, {"x": image}, name=model, **options)


def _evaluated(model: nn.Module) -> nn.Module:
    model.eval()
    return model


LENET = "graphc render examples/lenet.py"
IMAGE = "float32[N,3,224,224]"

FIGURES = [
    Figure(
        "a1", "A product and a sum",
        "f = x·y + z. Values stand above the wire, gradients below it; on the way into an op stands "
        "the local derivative, and under it upstream · local = downstream. ✓: a finite difference agrees.",
        "graphc render f.py --values --show check -o f.svg",
        lambda: _circuit(product_and_sum, {"x": -3.0, "y": 5.0, "z": 2.0}, name="f = x·y + z"),
    ),
    Figure(
        "a2", "The circuit of the lecture",
        "f = (x + y)·z: the sum hands the gradient on, the product swaps its inputs.",
        "graphc render f.py --values --show check -o f.svg",
        lambda: _circuit(sum_and_product, A2, name="f = (x + y)·z"),
    ),
    Figure(
        "fork", "A fork", "x is used twice, and what comes back adds up at ⊕: the sum stands below the wire.",
        "graphc render f.py --values -o f.svg",
        lambda: _circuit(fork, {"x": 3.0, "y": -2.0}, name="f = x·y·x"),
    ),
    Figure(
        "a2-dark", "The same in the dark", "Theme `dark`; position, prefix and line style say what colour says.",
        "graphc render f.py --values --theme dark -o f.svg",
        lambda: _circuit(sum_and_product, A2, name="f = (x + y)·z", theme="dark"),
    ),
    Figure(
        "a2-cs231n", "The same in green and red", "Theme `cs231n`, with exactly the lecture's colours.",
        "graphc render f.py --values --theme cs231n -o f.svg",
        lambda: _circuit(sum_and_product, A2, name="f = (x + y)·z", theme="cs231n"),
    ),
    Figure(
        "neuron", "A neuron with two inputs", "The sigmoid as one op: its local derivative is (1 − σ)σ.",
        "graphc render neuron.py --values -o neuron.svg",
        lambda: _circuit(neuron, NEURON, name="neuron"),
    ),
    Figure(
        "neuron-opened", "The same neuron, opened",
        "1/(1 + e^(−s)) in its parts: the product of their local derivatives "
        "is the one of the sigmoid.",
        "graphc render neuron.py --values -o neuron.svg",
        lambda: _circuit(neuron_opened, NEURON, name="neuron, opened"),
    ),
    Figure(
        "silu", "A composite op", "x·σ(x) as one op: its local derivative is that of the whole.",
        "graphc render f.py --values --show check -o f.svg",
        lambda: _circuit(swish, SWISH, name="silu(w·x)"),
    ),
    Figure(
        "silu-opened", "The same op, opened", "`--expand silu` draws it as what it is made of.",
        "graphc render f.py --values --show check --expand silu -o f.svg",
        lambda: _circuit(swish, SWISH, name="silu(w·x), opened", expand=["silu"]),
    ),
    Figure(
        "a3", "A matrix and a vector", "f = ‖W·x‖². Tensors are drawn in rows: forward runs down on the left, the "
        "gradient comes back up on the right, each beside what it belongs to; dotted is what forward keeps for "
        "backward.",
        "graphc render f.py --values --show shapes,norms -o f.svg",
        lambda: _svg(
            square_of_product, {"x": "float64[2]", "W": "float64[2,2]"}, name="f = ‖W·x‖²", show=("shapes", "norms"),
            values={"W": np.array([[0.4, 0.6], [0.7, -0.2]]), "x": np.array([0.5, 0.3])},
        ), 560,
    ),
    Figure(
        "lenet", "LeNet", "Every op of forward with its gradient in the same row.",
        f"{LENET} -o lenet.svg", lambda: _example("lenet.py"), 560,
    ),
    Figure(
        "lenet-overlays", "LeNet with numbers",
        "Norms of values and gradients, bytes, work, and units that never fire (∅).",
        f"{LENET} --values --show shapes,params,flops,bytes,norms,health -o lenet.svg",
        lambda: _example(
            "lenet.py", values=True, show=("shapes", "params", "flops", "bytes", "norms", "health")
        ), 560,
    ),
    Figure(
        "lenet-kernels", "LeNet's kernels", "What runs as one piece of code: thin edges are registers, thick ones go "
        "through memory and say how many bytes.",
        f"{LENET} --view fusion -o lenet.svg", lambda: _example("lenet.py", view="fusion"), 420,
    ),
    Figure(
        "lenet-memory", "LeNet's memory in training",
        "Steps to the right, addresses upward. No two boxes overlap; hatched "
        "is what backward still needs; the line marks the least any placement can reach.",
        f"{LENET} --view memory --train -o lenet.svg", lambda: _example("lenet.py", view="memory", train=True),
    ),
    Figure(
        "fold-batch-norm", "What a pass did",
        "− went, + came, ~ was replaced. `--side before` and `--side after` draw one "
        "side with everything in the same place.",
        "graphc render m.py --view passes --after fold_batch_norm -o m.svg",
        lambda: _svg(
            _evaluated(Normalized()), {"x": "float32[N,3,8,8]"}, view="passes", after="fold_batch_norm", name="m"
        ), 480,
    ),
    Figure(
        "resnet18", "ResNet-18", "More than 150 boxes are folded by module, equal neighbours into one; the head says "
        "how many ops are in how many boxes.",
        "graphc render examples/networks/resnet.py:ResNet18 -o resnet18.svg", lambda: _example("networks/resnet.py", "ResNet18", name="resnet18"), 560,
    ),
    Figure(
        "resnet18-block", "Inside of one block", "Everything folded but one module.",
        "graphc render examples/networks/resnet.py:ResNet18 --depth 1 --expand layer3.0 -o resnet18.svg",
        lambda: _example("networks/resnet.py", "ResNet18", name="resnet18", depth=1, expand=["layer3.0"]), 560,
    ),
    Figure(
        "resnet18-gradient", "The way of one gradient", "From the weight to the loss, and back.",
        "graphc render examples/networks/resnet.py:ResNet18 --grad-path-of layer4.1.conv2.weight -o path.svg",
        lambda: _example("networks/resnet.py", "ResNet18", name="resnet18", grad_path_of="layer4.1.conv2.weight"), 560,
    ),
    Figure(
        "resnet18-focus", "Around one addition", "What lies within two edges of it.",
        "graphc render examples/networks/resnet.py:ResNet18 --focus layer2.0.add --hops 2 -o focus.svg",
        lambda: _example("networks/resnet.py", "ResNet18", name="resnet18", focus="layer2.0.add", hops=2), 640,
    ),
    Figure(
        "resnet50", "ResNet-50", "Blocks that are equal op by op, type by type and wire by wire stand in one box.",
        "graphc render resnet50.py -o resnet50.svg", lambda: _network("resnet", "ResNet50", IMAGE), 560,
    ),
    Figure(
        "vit-tiny", "ViT-Tiny", "Twelve equal layers: the first is open, the other eleven are one box.",
        "graphc render examples/networks/vit.py:ViTTiny -i x:float32[N,3,224,224] -o vit.svg",
        lambda: _network("vit", "ViTTiny", IMAGE), 620,
    ),
    Figure(
        "lstm", "An LSTM, unrolled", "One cell called three times: the weights are shared, their gradients add up.",
        "graphc render lstm.py --depth 1 -o lstm.svg",
        lambda: _svg(Unrolled(), UNROLLED, name="lstm", depth=1), 620,
    ),
    Figure(
        "lstm-cell", "Inside of the cell", "The gates of the first call.",
        "graphc render lstm.py -o lstm.svg", lambda: _svg(Unrolled(), UNROLLED, name="lstm"), 620,
    ),
]  # fmt: skip

HEAD = """# Gallery

Every figure is drawn by graphc from a graph as it is compiled; `make gallery` draws them all.  Above each stands the
line that makes its like.  `-o picture.html` instead of `.svg` gives the page that steps through forward and backward op
by op, with the sentence for each step, opens and closes modules, and shows formula, source line, NumPy statement,
kernel and memory of each box.  It is one file, loads nothing, and everything in it works from the keyboard (`?` lists
the keys).
"""


def page() -> str:
    """The text of gallery.md."""
    parts = [HEAD]
    for figure in FIGURES:
        width = f' width="{figure.width}"' if figure.width else ""
        image = f'<img src="pictures/gallery/{figure.name}.svg"{width} alt="{figure.title}">'
        parts.append(f"## {figure.title}\n\n{figure.says}\n\n```sh\n{figure.how}\n```\n\n{image}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    for figure in FIGURES:
        if not wanted or figure.name in wanted:
            nn.init.manual_seed(0)
            (FOLDER / f"{figure.name}.svg").write_text(figure.draw(), encoding="utf-8")
            print(figure.name)
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
