"""Writes what in docs/ is generated: errors.md from the help pages, pictures/ from examples.

The charts of pictures/training are those of the training examples at their small size.

python docs/build.py
"""

import contextlib
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import graphc
from graphc import nn
from graphc.cli.explain import declared_codes
from graphc.errors import kinds

DOCS = Path(__file__).resolve().parent

PARTS = {
    "GC00": "Usage",
    "GC01": "Shapes and dtypes",
    "GC02": "Tracing",
    "GC03": "The model file and its weights",
    "GC04": "Artefacts",
    "GC05": "Not supported",
    "GC06": "Checks",
    "GC07": "Tools and machines",
    "GC90": "Bugs in graphc",
}

HEAD = """# Errors

Every kind of error has a code, which never changes.  `graphc explain GC0107` prints the same text in a terminal; in
Python `except graphc.GraphcError as error` catches them all, and `error.code` and `error.as_dict()` have what is drawn.
`docs/build.py` writes this page from the docstrings of the kinds.
"""


def errors() -> str:
    """The help pages of all kinds, by part."""
    for module in sorted(set(declared_codes().values())):
        importlib.import_module(module)
    lines = [HEAD]
    for part, title in PARTS.items():
        lines.append(f"## {title}: {part}\n")
        for code, kind in kinds().items():
            if code.startswith(part):
                first, _, rest = kind.help().partition("\n\n")
                first = " ".join(first.split())
                lines.append(f"### {code} {kind.__name__}\n")
                lines.append(f"**{first}** Exit code {kind.exit_code}.\n")
                lines += [rest.strip() + "\n"] if rest.strip() else []
    return "\n".join(lines)


def lenet() -> str:
    """Forward and backward of the LeNet of examples/lenet.py, mirrored."""
    from graphc.frontends.python.model_file import load_model_file

    found = load_model_file(str(DOCS.parent / "examples" / "lenet.py"))
    assert isinstance(found.model, nn.Module)
    return _svg(found.model, inputs=found.inputs, name=found.name)


def circuit() -> str:
    """f = (x + y) z at x = -2, y = 5, z = -4, with values and gradients."""
    numbers = {"x": np.float32(-2), "y": np.float32(5), "z": np.float32(-4)}
    return _svg(
        lambda x, y, z: (x + y) * z, inputs=dict.fromkeys("xyz", "float32[]"), name="f", values=numbers
    )


def _svg(model: object, **options: object) -> str:
    picture = graphc.render(model, view="joint", **options)  # type: ignore[arg-type]
    assert isinstance(picture, str)
    return picture


GENERATED = {
    "errors.md": errors,
    "pictures/circuit.svg": circuit,
    "pictures/lenet-joint.svg": lenet,
}

CHARTS = ("initialisation", "deep_gradients", "step_size", "overfitting")


def charts(folder: Path) -> list[str]:
    """The charts of the training examples."""
    examples = DOCS.parent / "examples" / "training"
    folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(examples))
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for name in CHARTS:
            importlib.import_module(name).main(small=True)
        for chart in Path("build/examples").glob("*.svg"):
            shutil.copy(chart, folder)
    return sorted(path.name for path in folder.glob("*.svg"))


if __name__ == "__main__":
    for name, make in GENERATED.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(make(), encoding="utf-8")
        print(name)
    print(*charts(DOCS / "pictures" / "training"), sep="\n")
