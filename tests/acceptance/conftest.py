"""The models of the acceptance tests, and their artefacts as the command line writes them, each made once a session."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import graphc
from graphc.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Model files as a user would write them beside the examples: the large networks at sizes a test can afford.
VARIANTS = {
    "alexnet_small": """
from alexnet import AlexNet

model = AlexNet(classes=10, width=0.25)
inputs = {"x": "float32[N,3,224,224]"}
""",
    "resnet18_small": """
from resnet18 import ResNet

model = ResNet(classes=10, width=16)
inputs = {"x": "float32[N,3,64,64]"}
""",
}
SMALL = ("lenet", "mlp_numpy", "alexnet_small", "resnet18_small")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled objects of these tests are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(place))
        patch.delenv("GRAPHC_DEBUG", raising=False)
        patch.setattr(sys, "path", list(sys.path))
        yield place


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples and the variants."""
    folder = tmp_path_factory.mktemp("models")
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, folder)
    shutil.copy(EXAMPLES / "networks" / "resnet.py", folder / "resnet18.py")
    for name, text in VARIANTS.items():
        (folder / f"{name}.py").write_text(text.lstrip(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def artefact(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`artefact("lenet")`: the folder `graphc compile` wrote."""
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("artefacts")

    def make(name: str) -> Path:
        if name not in made:
            path = folder / f"{name}.graphc"
            graphc.manual_seed(0)  # the same weights whatever ran before
            assert main(["-q", "compile", str(models / f"{name}.py"), "-o", str(path)]) == 0
            made[name] = path
        return made[name]

    return make
