"""One artefact, four ways to run it: library, object through LLVM's loader, NumPy source alone, interpreter.

Library and object are the same code, NumPy source and interpreter the same calls of NumPy: both pairs agree to the bit.
Native code adds up in another order: it is held to the limits of `rounding.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.artefact import Artefact
from graphc.interpret import interpret
from graphc.manifest import file_digest, sealed
from tests.acceptance.conftest import SMALL
from tests.acceptance.rounding import Oracle

COLUMNS = {"lenet": range(10), "mlp_numpy": range(10), "alexnet_small": (0, 7), "resnet18_small": (0, 7)}

# Runs in a Python that sees its standard library and NumPy.
ALONE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
try:
    import graphc
except ImportError:
    pass
else:
    sys.exit("graphc is on the path")
forward = runpy.run_path(sys.argv[2])["forward"]
for x, y in zip(sys.argv[3::2], sys.argv[4::2]):
    np.save(y, forward(np.load(x)))
"""


def draw(model: Artefact, size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal((size, *model.inputs[0].dims[1:])).astype(np.float32)


def without_library(path: Path, to: Path) -> Artefact:
    """The same artefact with its .o only, as on a machine without a linker."""
    shutil.copytree(path, to)
    manifest = json.loads((to / "manifest.json").read_text())
    for library in [
        name for name in manifest["files"] if name.endswith(".so")
    ]:  # none where nothing can link
        (to / library).unlink()
        del manifest["files"][library]
    (to / "manifest.json").write_text(sealed(manifest))
    return graphc.load(to)


def run_alone(path: Path, arrays: list[np.ndarray], place: Path) -> list[np.ndarray]:
    """The results of the artefact's NumPy file in another process."""
    packages = place / "packages"
    packages.mkdir()
    home = Path(np.__file__).parents[1]
    for each in home.glob("numpy*"):
        (packages / each.name).symlink_to(each)
    words = []
    for number, array in enumerate(arrays):
        np.save(place / f"x{number}.npy", array)
        words += [str(place / f"x{number}.npy"), str(place / f"y{number}.npy")]
    (source,) = path.glob("*.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", ALONE, str(packages), str(source), *words]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [np.load(path) for path in words[1::2]]


@pytest.mark.parametrize("name", SMALL)
def test_four_ways_agree(name: str, artefact: Callable[[str], Path], tmp_path: Path) -> None:
    path = artefact(name)
    assert any(file.suffix == ".so" for file in path.iterdir()) or shutil.which("cc") is None
    library, by_object = graphc.load(path), without_library(path, tmp_path / "object.graphc")
    batches = [draw(library, size) for size in (1, 3, 64)]
    small = batches if name in ("lenet", "mlp_numpy") else batches[:2]
    sources = run_alone(path, small, tmp_path)
    oracle = Oracle(library.graph)
    for x, source in zip(small, sources, strict=True):
        (expected,) = interpret(library.graph, [x])
        np.testing.assert_array_equal(source, expected)
    for x in batches:
        y = library(x)
        assert y.dtype == np.float32 and y.shape == (len(x), *library.outputs[0].dims[1:])
        np.testing.assert_array_equal(by_object(x), y)
        some = x[:: max(1, len(x) // 3)] if name not in ("lenet", "mlp_numpy") else x
        exact, limits = oracle(some, columns=COLUMNS[name])
        found = y[:: max(1, len(x) // 3)] if len(some) < len(x) else y
        limits.check(np.abs(found[:, list(COLUMNS[name])] - exact), f"{name}, N = {len(x)}")


@pytest.mark.slow
def test_resnet18_at_full_size(artefact: Callable[[str], Path]) -> None:
    model = graphc.load(artefact("resnet18"))
    x = draw(model, 2)
    y = model(x)
    (expected,) = interpret(model.graph, [x[:1]])
    exact, limits = Oracle(model.graph)(x[:1], columns=[3])
    limits.check(np.abs(y[:1, [3]] - exact), "native")
    limits.check(np.abs(expected[:, [3]] - exact), "interpreter")
    # 1000 columns share one limit to within their spread; none is far off.
    assert np.abs(y[:1] - expected).max() <= 4 * limits.likely.max()


@pytest.mark.parametrize(("fault", "limit"), [(1e-3, "the likely bound"), (1e-2, "the bound")])
def test_the_limits_notice_a_wrong_weight(artefact: Callable[[str], Path], fault: float, limit: str) -> None:
    """One weight of the second convolution, all of which are below 0.14, off by `fault` is seen."""
    model = graphc.load(artefact("lenet"))
    x = draw(model, 8)
    exact, limits = Oracle(model.graph)(x, columns=range(10))
    wrong = {name: array.copy() for name, array in model.graph.data.items()}
    wrong["conv2.weight"][3, 2, 1, 1] += np.float32(fault)
    (y,) = interpret(model.graph, [x], wrong)
    with pytest.raises(AssertionError, match=limit):
        limits.check(np.abs(y - exact), "one weight is off")


def test_elementwise_work_agrees_to_the_bit(tmp_path: Path) -> None:
    """+ - * / sqrt, max, min, comparisons and choices round alike everywhere, fused or not, broadcast or not."""

    def work(x, y, w):
        z = (x * w - y) / (np.abs(y) + np.float32(1.5))
        z = np.where(z > x, np.sqrt(np.abs(x)), np.maximum(z, -y))
        return np.minimum(z * z - np.float32(0.1), x + y) / np.float32(3), np.negative(z) * w

    types = {"x": "float32[N,37]", "y": "float32[N,37]", "w": "float32[37]"}
    native = graphc.compile(work, types, name="work")
    native.save(tmp_path / "work.graphc")
    loaded = graphc.load(tmp_path / "work.graphc")
    for size in (1, 3, 64):
        rng = np.random.default_rng(size)
        arrays = [rng.standard_normal(s).astype(np.float32) for s in ((size, 37), (size, 37), (37,))]
        arrays[0].flat[:4] = [np.inf, np.nan, -0.0, 1e-42]
        with np.errstate(all="ignore"):
            expected = work(*arrays)
        by_source = graphc.compile(work, types, name="work", backend="numpy")(*arrays)
        for found in (native(*arrays), loaded(*arrays), by_source, interpret(native.graph, arrays)):
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, want)
                np.testing.assert_array_equal(
                    np.signbit(got[~np.isnan(want)]), np.signbit(want[~np.isnan(want)])
                )


def test_the_hashes_of_the_manifest_are_those_of_the_files(artefact: Callable[[str], Path]) -> None:
    path = artefact("lenet")
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert {each.name for each in path.iterdir()} == {*files, "manifest.json"}
    for name, (digest, size) in files.items():
        assert (file_digest(path / name), (path / name).stat().st_size) == (digest, size)
