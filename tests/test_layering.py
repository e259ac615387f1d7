"""Imports go down only, each third party enters at one door, and no data is ever run as code.

The rules are the tables below; the tests read the imports of every file with `ast`, those inside functions too.
Imports under `if TYPE_CHECKING:` do not count.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up.  A unit is a file or a folder of graphc/, or one of the two folders beside it.  It may import
# itself and what stands in a lower row, and, unless the row is marked as siblings, the other units of its own row.
LAYERS = [
    ["errors", "source", "diagnostics", "atomic", "edition", "machine", "manifest"],
    ["ir"],
    ["ops"],
    ["weights", "data"],
    ["autodiff", "batching", "interpret", "passes", "scan_gradient"],
    ["gradcheck"],
    ["plan"],
    ["tensor", "nn", "optim", "step"],
    ["frontends", "backends", "view"],
    ["pipeline", "artefact", "by_value", "executable", "explain", "precision", "profile", "provenance"],
    ["api", "training"],
    ["bench", "checking", "engine", "train", "transforms", "verification"],
    ["cli"],
]
SIBLINGS = {
    "frontends",
    "backends",
    "view",
}  # do not import each other; nor do the parts of a frontend or backend
ANYTHING = {"__init__", "__main__"}  # the public names; `python -m graphc`

DOORS = {
    "click": ["graphc/cli/"],
    "graphviz": ["graphc/view/"],
    "llvmlite": ["backends/llvm/"],
    "networkx": ["graphc/ir/analysis.py"],
    "numpy": [""],
    "onnx": ["frontends/onnx", "backends/onnx", "graphc/bench/"],
    "google": ["frontends/onnx"],  # protobuf, which comes with onnx
    "onnxruntime": ["graphc/bench/", "graphc/verification.py"],
    "openvino": ["graphc/bench/"],
    "pygraphviz": ["graphc/view/"],
    "rich": ["graphc/cli/", "graphc/view/table.py"],
    "safetensors": ["graphc/weights.py"],
    "sklearn": ["graphc/data.py"],
    "torch": ["frontends/torch", "graphc/bench/"],
}
# Modules that turn data into running code or objects, and the files that may use them.
CODE_FROM_DATA = {
    "pickle": [], "marshal": [], "shelve": [], "dill": [], "joblib": [], "yaml": [],
}  # fmt: skip
# Calls of eval, exec and compile, by file.  Generated NumPy source is run by its own backend.
RUNS_CODE = {
    "backends/numpy_source/": {"exec", "compile"},
}

FILES = sorted(
    path
    for folder in ("graphc", "frontends", "backends")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
LEVEL = {unit: level for level, row in enumerate(LAYERS) for unit in row}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "graphc" else ("graphc", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but for what only a type checker sees."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        yield node
        pending += ast.iter_child_nodes(node)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full name of a module) for each import; `from package import module` names the module."""
    here = module_of(path)
    package = here if path.name == "__init__.py" else here.rpartition(".")[0]
    for node in runtime_nodes(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in MODULES or inner == VERSION else base


VERSION = "graphc.__version__"  # the one public name that everyone may read
MODULES = {module_of(path) for path in FILES}


def trespasses(path: Path) -> Iterator[str]:
    """What in the file breaks a rule."""
    relative = path.relative_to(ROOT).as_posix()
    module = module_of(path)
    unit = unit_of(module)
    if unit not in LEVEL and unit not in ANYTHING:
        yield f"{relative}: the unit {unit!r} has no row in LAYERS"
        return
    for line, name in imports(path):
        place = f"{relative}:{line}: imports {name}"
        top = name.split(".")[0]
        if top in CODE_FROM_DATA:
            if not relative.startswith(tuple(CODE_FROM_DATA[top]) or ("\0",)):
                yield f"{place}, which makes code out of data"
        elif top == "graphc":
            yield from (f"{place}, {why}" for why in wrong_direction(module, unit, name))
        elif top in DOORS:
            if not relative.startswith(tuple(DOORS[top])):
                yield f"{place}, whose door is {' or '.join(DOORS[top])}"
        elif top not in sys.stdlib_module_names:
            yield f"{place}, which is no dependency"


def wrong_direction(module: str, unit: str, name: str) -> Iterator[str]:
    other = unit_of(name)
    if unit in ANYTHING or name == VERSION:
        return
    if other in ANYTHING:
        if unit != "cli":  # the top of everything may use the public names
            yield "the top: import the module that has it"
    elif other not in LEVEL:
        yield "which has no row in LAYERS"
    elif other == unit:
        mine, theirs = module.split("."), name.split(".")
        if unit in ("frontends", "backends") and len(mine) > 2 and len(theirs) > 2 and mine[2] != theirs[2]:
            yield "a sibling"
    elif LEVEL[other] > LEVEL[unit]:
        yield "which lies above"
    elif LEVEL[other] == LEVEL[unit] and unit in SIBLINGS:
        yield "a sibling"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports(path: Path) -> None:
    assert list(trespasses(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_code_out_of_data(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    allowed = set().union(*(calls for prefix, calls in RUNS_CODE.items() if relative.startswith(prefix)))
    found = [
        f"{relative}:{node.lineno}: {node.func.id}()"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"eval", "exec", "compile", "__import__"} - allowed
    ]
    assert found == []


def test_the_tables_hold_nothing_that_is_gone() -> None:
    for prefix in RUNS_CODE:
        if (ROOT / prefix).exists():
            assert any("exec" in path.read_text("utf-8") for path in (ROOT / prefix).rglob("*.py"))
    assert len(LEVEL) == sum(len(row) for row in LAYERS), "a unit stands in two rows"


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("graphc/ir/x.py", "import llvmlite.binding", "whose door is backends/llvm/"),
        ("graphc/ir/x.py", "def f():\n    from graphc.ops import relu", "which lies above"),
        ("graphc/ir/x.py", "from ..passes import cse", "which lies above"),
        ("graphc/view/x.py", "import graphc.backends.llvm", "a sibling"),
        ("backends/llvm/x.py", "from graphc.backends.numpy_source import f", "a sibling"),
        ("graphc/plan/x.py", "import graphc", "the top"),
        ("graphc/plan/x.py", "import pickle", "code out of data"),
        ("graphc/plan/x.py", "import scipy", "no dependency"),
        ("graphc/nowhere.py", "import os", "has no row"),
        (
            "graphc/plan/x.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import graphc.cli",
            None,
        ),
        (
            "backends/llvm/x.py",
            "import llvmlite, numpy, os\nfrom graphc.plan import p\nfrom . import y",
            None,
        ),
        ("graphc/cli/x.py", "import click, graphc\nfrom graphc.api import compile", None),
    ],
)
def test_the_rules_catch(tmp_path, monkeypatch, file, source, complaint) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    found = list(trespasses(path))
    assert (complaint is None and found == []) or complaint in found[0]


LAZY = ["llvmlite", "networkx", "rich", "graphviz", "pygraphviz", "click", "safetensors", "torch", "onnx"]
SLOW = [
    "asyncio",
    "multiprocessing",
    "unittest",
    "email",
    "http",
    "xml",
    "sqlite3",
    "concurrent",
    "importlib.metadata",
]


def loaded_by(program: str) -> set[str]:
    code = (
        f"import sys, numpy\nbefore = set(sys.modules)\n{program}\nprint(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_graphc_is_light() -> None:
    """Counted in modules, not in milliseconds, which depend on the day."""
    loaded = loaded_by("import graphc")
    assert "graphc" in loaded
    assert sorted(loaded & set(LAZY)) == []
    assert sorted(loaded & set(SLOW)) == []
    assert len(loaded) < 150


def test_help_of_the_command_line_is_light() -> None:
    loaded = loaded_by(
        "import contextlib, io\nfrom graphc.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): assert main(['--help']) == 0"
    )
    assert sorted(loaded & (set(LAZY) - {"click"})) == []
