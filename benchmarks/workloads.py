"""The rows of the table: which model, which sizes, which ratio to reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import sources
from benchmarks.weights import draw

MODELS = "benchmarks/models.py"
NETWORKS = "examples/networks"


@dataclass(frozen=True, slots=True)
class Workload:
    """A row.

    source, entry   where the model's class stands; `choices` are its keywords
    shape           of the input
    ratio           best peer's time / graphc's time to reach
    tolerance       largest error / root mean square of the float64 answer
    loss, target    of a training step: a function of torch.nn.functional or of the source, and the target's shape;
                    classes are drawn when the loss is the cross entropy
    rate            of the SGD of a training step
    limited         "call" where there is next to nothing to compute
    stored          how graphc stores the weights of products, as the name says; its peers keep float32
    """

    name: str
    source: str
    entry: str
    shape: tuple[int, ...]
    ratio: float
    tolerance: float = 1e-3
    choices: Mapping[str, Any] = field(default_factory=dict)
    loss: str = ""
    target: tuple[int, ...] = ()
    rate: float = 0.01
    limited: str = ""
    stored: str = "fp32"

    @property
    def trains(self) -> bool:
        return bool(self.loss)

    @property
    def key(self) -> str:
        """Names what is computed: the sizes and the source."""
        read = (self.source, MODELS, "benchmarks/weights.py")
        told = (self.entry, self.shape, sorted(self.choices.items()), self.loss, self.target, self.rate)
        text = repr(told) + "".join((sources.ROOT / path).read_text("utf-8") for path in read)
        return f"{self.name.removesuffix(f'-{self.stored}')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def model(self, library: str) -> Any:
        """The module, in either library, with that library's initial weights."""
        names = sources.read(self.source, library)
        net = names[self.entry](**self.choices)
        if self.entry == "GoogLeNet":  # the measured peers' GoogLeNet has no response normalisation
            net.norm1, net.norm2 = names["nn"].Identity(), names["nn"].Identity()
        return net

    def loss_function(self, library: str) -> Callable[..., Any]:
        names = sources.read(MODELS, library)
        return names[self.loss] if self.loss in names else getattr(names["F"], self.loss)

    def input(self) -> np.ndarray:
        return draw("x", self.shape)

    def target_array(self) -> np.ndarray:
        if self.loss == "cross_entropy":
            return np.random.default_rng(1).integers(0, 10, self.target)
        return draw("target", self.target)


IMAGE = (1, 3, 224, 224)
MLP = {"source": f"{NETWORKS}/mlp.py", "entry": "MLP"}
LENET = {"source": "examples/lenet.py", "entry": "Net"}
WIDE = {"sizes": (784, 512, 512, 10)}

WORKLOADS = [
    Workload("mlp3", **MLP, shape=(1, 3), ratio=3.5, limited="call", tolerance=1e-5,
             choices={"sizes": (3, 4, 4, 1), "activation": "sigmoid", "head": "regression"}),
    Workload("mlp-b1", **MLP, shape=(1, 784), ratio=1.0, choices=WIDE, tolerance=1e-4),
    Workload("mlp-b1-fp16", **MLP, shape=(1, 784), ratio=1.6, choices=WIDE, tolerance=1e-2, stored="fp16"),
    Workload("mlp-b64", **MLP, shape=(64, 784), ratio=1.15, choices=WIDE, tolerance=1e-4),
    Workload("lenet-b1", **LENET, shape=(1, 1, 32, 32), ratio=3.0, tolerance=1e-4),
    Workload("lenet-b64", **LENET, shape=(64, 1, 32, 32), ratio=2.5, tolerance=1e-4),
    Workload("alexnet", "examples/alexnet.py", "AlexNet", IMAGE, 1.1),
    Workload("alexnet-fp16", "examples/alexnet.py", "AlexNet", IMAGE, 1.6, tolerance=1e-2, stored="fp16"),
    Workload("vgg16", f"{NETWORKS}/vgg.py", "VGG16", IMAGE, 1.8),
    Workload("googlenet", f"{NETWORKS}/googlenet.py", "GoogLeNet", IMAGE, 1.5),
    Workload("resnet18", f"{NETWORKS}/resnet.py", "ResNet18", IMAGE, 1.5),
    Workload("resnet50", f"{NETWORKS}/resnet.py", "ResNet50", IMAGE, 1.25),
    Workload("vit_tiny", f"{NETWORKS}/vit.py", "ViTTiny", IMAGE, 1.4),
    Workload("lstm", MODELS, "Sequence", (64, 1, 128), 2.0, choices={"features": 128, "hidden": 256}),
    Workload("matmul-1024", MODELS, "Product", (1024, 1024), 1.05, 2e-5,
             choices={"inner": 1024, "columns": 1024}),
    Workload("matmul-128x768x768", MODELS, "Product", (128, 768), 1.1, 2e-5,
             choices={"inner": 768, "columns": 768}),
    Workload("train-mlp2", MODELS, "TwoLayers", (64, 1000), 2.0,
             choices={"features": 1000, "hidden": 100, "outputs": 10}, loss="squares", target=(64, 10), rate=1e-4),
    Workload("train-lenet-b64", **LENET, shape=(64, 1, 32, 32), ratio=4.0, loss="cross_entropy", target=(64,)),
]  # fmt: skip


def named(name: str) -> Workload:
    """The workload of a name.  Raises KeyError."""
    return {w.name: w for w in WORKLOADS}[name]


def chosen(names: str) -> list[Workload]:
    """The workloads of a list with commas; a name stands for all that begin with it, an empty list for all of them.

    >>> [w.name for w in chosen("lenet,lstm")]
    ['lenet-b1', 'lenet-b64', 'lstm']

    Raises ValueError for a name that no workload begins with.
    """
    found = []
    for name in names.split(",") if names else [""]:
        matches = [w for w in WORKLOADS if w.name == name] or [
            w for w in WORKLOADS if w.name.startswith(name)
        ]
        if not matches:
            raise ValueError(f"no workload {name}; there are {', '.join(w.name for w in WORKLOADS)}")
        found += [w for w in matches if w not in found]
    return found
