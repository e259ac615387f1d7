"""What is installed is what is in the folders.

Built from a copy of the sources, so that no left-over of an earlier build can help, and tried in a virtual
environment which finds graphc's dependencies, but not graphc, in the environment of the tests.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"graphc": "graphc", "frontends": "graphc/frontends", "backends": "graphc/backends"}


def run(*command: object, cwd: Path, **extra: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "COV"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment | extra, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def source_files(pattern: str) -> set[str]:
    """The files of the three folders by the names they are installed under."""
    return {
        f"{installed}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, installed in FOLDERS.items()
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_list_of_packages_is_complete() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    found = sorted(
        name.removesuffix("/__init__.py").replace("/", ".") for name in source_files("__init__.py")
    )
    assert listed == found, "setup.cfg [options] packages should be:\n    " + "\n    ".join(found)


def test_every_folder_of_python_files_is_a_package() -> None:
    assert {name.rpartition("/")[0] for name in source_files("*.py")} == {
        name.rpartition("/")[0] for name in source_files("__init__.py")
    }


def test_each_dependency_is_accounted_for() -> None:
    config = setup_cfg()
    lines = config["options"]["install_requires"].splitlines()
    for extra in config["options.extras_require"].values():
        lines += extra.splitlines()
    lines += (ROOT / "benchmarks/peers.txt").read_text("utf-8").splitlines()
    names = {re.split(r"[ <>=\[]", line)[0] for line in lines if line.strip()} - {"graphc", "#"}
    document = (ROOT / "docs/design/dependencies.md").read_text("utf-8")
    assert names == set(re.findall(r"^\| ([\w-]+) +\|", document, re.M)) - {"package"}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds."""
    copy = tmp_path_factory.mktemp("clone") / "graphc"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    copy.mkdir()
    for name in ("graphc", "frontends", "backends"):
        shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
    for name in (
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "MANIFEST.in",
        "Makefile",
        "ruff.toml",
    ):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(*PIP_WHEEL, "-w", out, checkout, cwd=out)
    return next(out.glob("graphc-*.whl"))


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PIP_WHEEL = (*PIP, "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment that sees this one's packages; returns its interpreter."""
    folder = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    # A folder named in a .pth file does not have its own .pth files read: an editable graphc stays out.
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(sorted(here)) + "\n")
    return python


def install(python: Path, *what: object) -> None:
    run(*PIP[:3], "--python", python, "install", "-q", "--no-build-isolation", "--no-deps", "--no-index",
        *what, cwd=python.parent)  # fmt: skip


WHERE = """
import graphc, graphc.frontends.python, graphc.backends
print(graphc.__file__, graphc.frontends.__file__, graphc.backends.__file__, sep="\\n")
"""


def where(python: Path, cwd: Path, *options: str) -> set[Path]:
    """The folders in which graphc and its two mapped packages are found."""
    files = run(python, *options, "-c", WHERE, cwd=cwd).splitlines()
    return {Path(file).parent for file in files}


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    expected = source_files("[!.]*")
    assert "graphc/py.typed" in expected
    assert names_in(wheel) == expected


def test_the_sdist_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    script = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    name = run(sys.executable, "-c", script, tmp_path, cwd=checkout).splitlines()[-1]
    careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # none before Python 3.11.4
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path / "sdist", **careful)
    (source,) = (tmp_path / "sdist").iterdir()
    run(*PIP_WHEEL, "-w", tmp_path / "out", source, cwd=tmp_path)
    assert names_in(next((tmp_path / "out").glob("*.whl"))) == names_in(wheel)


def test_an_installed_wheel(wheel: Path, checkout: Path, environment: Path, tmp_path: Path) -> None:
    install(environment, wheel)
    version = run(environment, "-c", "import graphc; print(graphc.__version__)", cwd=tmp_path)
    assert run(environment.parent / "graphc", "--version", cwd=tmp_path) == f"graphc {version}"
    site = where(environment, tmp_path)
    assert all(environment.parents[1] in path.parents for path in site)
    # In a checkout `python -m` and `python -c` put the current folder first: all of graphc comes from there.
    assert where(environment, checkout) == {checkout / name for name in FOLDERS}
    # -P keeps the current folder out: all of graphc comes from the wheel.
    assert where(environment, checkout, "-P") == site


def test_an_editable_install(checkout: Path, environment: Path, tmp_path: Path) -> None:
    install(environment, "-e", checkout)
    assert where(environment, tmp_path) == {checkout / name for name in FOLDERS}
    assert run(environment.parent / "graphc", "--version", cwd=tmp_path).startswith("graphc ")
    shutil.rmtree(checkout / "graphc.egg-info", ignore_errors=True)


def test_no_second_copy(checkout: Path, environment: Path) -> None:
    for name in ("frontends", "backends"):
        code = f"try: import {name}.python\nexcept ImportError as error: print(error)"
        assert f"`import graphc.{name}`" in run(environment, "-c", code, cwd=checkout)
