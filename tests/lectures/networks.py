"""The networks of examples/networks at a size for tests, and the same text as PyTorch's.

Layers have PyTorch's names, so a network's file with other import lines is its own reference.
"""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
IMPORTS = (
    (r"^import graphc as torch$", "import torch"),
    (r"^import graphc\.nn\.functional as F$", "import torch.nn.functional as F"),
    (r"^from graphc import nn$", "from torch import nn"),
    (r"^import graphc$", "import tests.lectures.loops as graphc"),
)
TINY_GOOGLENET = ((64, 96, 128, 16, 32, 32), "pool", (192, 96, 208, 16, 48, 64))

# Row of the table in docs/networks.md: (file, class or function, its arguments, shape of the input)
NETWORKS = {
    "linear classifier": ("networks/linear.py", "LinearClassifier", {}, (5, 4)),
    "linear regression": ("networks/linear.py", "LinearRegression", {}, (5, 4)),
    "logistic regression": ("networks/linear.py", "LogisticRegression", {}, (5, 4)),
    "softmax regression": ("networks/linear.py", "SoftmaxRegression", {}, (5, 4)),
    "2-layer MLP": ("networks/mlp.py", "MLP", {"sizes": (7, 6, 3)}, (5, 7)),
    "3-layer MLP": (
        "networks/mlp.py",
        "MLP",
        {"sizes": (7, 6, 5, 1), "activation": "sigmoid", "head": "binary"},
        (5, 7),
    ),
    "L-layer MLP": (
        "networks/mlp.py",
        "MLP",
        {"sizes": (7, 6, 5, 4, 5, 2), "activation": "tanh", "head": "regression"},
        (5, 7),
    ),
    "two layers without a non-linearity": ("networks/mlp.py", "Collapsed", {}, (5, 64)),
    "LeNet-5": ("networks/lenet5.py", "LeNet5", {"width": 0.5}, (2, 1, 32, 32)),
    "LeNet of the tutorial": ("lenet.py", "Net", {}, (2, 1, 32, 32)),
    "AlexNet": ("alexnet.py", "AlexNet", {"classes": 5, "width": 0.03}, (1, 3, 224, 224)),
    "ZFNet": ("networks/zfnet.py", "ZFNet", {"classes": 5, "width": 0.03}, (1, 3, 224, 224)),
    "VGG-16": ("networks/vgg.py", "VGG16", {"classes": 5, "size": 32, "width": 0.04}, (2, 3, 32, 32)),
    "VGG-19": ("networks/vgg.py", "VGG19", {"classes": 5, "size": 32, "width": 0.04}, (2, 3, 32, 32)),
    "GoogLeNet": (
        "networks/googlenet.py",
        "GoogLeNet",
        {"classes": 5, "width": 0.1, "modules": TINY_GOOGLENET},
        (2, 3, 48, 48),
    ),
    "ResNet-18": ("networks/resnet.py", "ResNet18", {"classes": 5, "width": 3}, (2, 3, 33, 33)),
    "ResNet-34": (
        "networks/resnet.py",
        "ResNet34",
        {"classes": 5, "width": 2, "channels": 1, "stem": "small"},
        (2, 1, 9, 9),
    ),
    "ResNet-50": ("networks/resnet.py", "ResNet50", {"classes": 5, "width": 2}, (2, 3, 33, 33)),
    "DenseNet": (
        "networks/densenet.py",
        "DenseNet",
        {"blocks": (2, 3, 2), "growth": 4, "classes": 5},
        (2, 3, 32, 32),
    ),
    "SqueezeNet": ("networks/squeezenet.py", "SqueezeNet", {"classes": 5, "width": 0.1}, (2, 3, 48, 48)),
    "ShuffleNet": (
        "networks/shufflenet.py",
        "ShuffleNet",
        {"classes": 5, "channels": 12, "blocks": (2, 2), "stem": 6},
        (2, 3, 32, 32),
    ),
    "randomly wired network": (
        "networks/random_wired.py",
        "RandomlyWired",
        {"width": 3, "nodes": 6, "seed": 1},
        (2, 3, 16, 16),
    ),
    **{
        f"{kind}{', deep and bidirectional' if layers == 2 else ''}": (
            "networks/recurrent.py",
            "Reader",
            {"kind": kind, "features": 3, "hidden": 4, "layers": layers, "bidirectional": layers == 2},
            (2, 3 if layers == 2 else 5, 3),
        )
        for kind in ("RNN", "LSTM", "GRU")
        for layers in (1, 2)
    },
    "convolutional recurrent network": (
        "networks/recurrent_convolution.py",
        "ConvLSTM",
        {"hidden": 3},
        (2, 3, 1, 5, 4),
    ),
    "temporal convolutional network": (
        "networks/temporal_convolution.py",
        "TCN",
        {"width": 4, "blocks": 3},
        (2, 2, 20),
    ),
    "Transformer encoder": ("networks/transformer.py", "Transformer", {"width": 8, "heads": 2}, (2, 10, 4)),
    "Vision Transformer": ("networks/vit.py", "ViT", {"width": 8, "layers": 2, "heads": 2}, (2, 1, 8, 8)),
    "graph network": ("networks/graph_network.py", "GraphNetwork", {"width": 4}, (2, 6, 9)),
    "policy network (REINFORCE)": ("networks/policy.py", "Policy", {"hidden": 6}, (3, 16)),
}


def example(file, text=None, folder=None):
    """An example as a module; with `text`, of another text."""
    path = EXAMPLES / file
    if text is not None:
        path = folder / Path(file).name
        path.write_text(text, "utf-8")
    name = f"lectures_{path.stem}{'' if text is None else '_torch'}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def in_torch(file, folder):
    """The same file with PyTorch's import lines."""
    text = (EXAMPLES / file).read_text("utf-8")
    for ours, theirs in IMPORTS:
        text = re.sub(ours, theirs, text, flags=re.MULTILINE)
    assert not re.search(r"^(import|from) graphc\b", text, flags=re.MULTILINE), text
    return example(file, text, folder)


def build(name):
    """The network in float64, with weights and statistics that are nowhere 0 or 1, and an input."""
    import graphc

    file, made_by, arguments, shape = NETWORKS[name]
    graphc.manual_seed(len(name))
    net = getattr(example(file), made_by)(**arguments).double()
    rng = np.random.default_rng(len(name))
    for path, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if tensor.ndim == 1:
            drawn = rng.uniform(0.5, 1.5, tensor.shape) if "var" in path else tensor.array
            tensor.data = drawn + rng.uniform(-0.3, 0.3, tensor.shape)
    return net, rng.normal(size=shape)
