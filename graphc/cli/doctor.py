"""`graphc doctor`: what graphc finds on this machine, what is missing, and what would add it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from graphc import __version__
from graphc.cli.console import Console, in_bytes, table
from graphc.cli.main import Command, console_of
from graphc.machine import cores, linker, memory_limit
from graphc.source import display_path

OK, NOTE, MISSING = "ok", "note", "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` is what to type, `data` what `--json` gives."""

    name: str
    state: str
    text: str
    fix: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@click.command(cls=Command)
@click.option(
    "--probe", is_flag=True, help="Measure this machine's peak: half a second of multiply-adds and reads."
)
@click.pass_context
def command(context: click.Context, probe: bool) -> None:
    """Show what graphc finds on this machine, and what would add what is missing."""
    console = console_of(context)
    findings = list(_findings(probe))
    data = {each.name: {"state": each.state, "text": each.text, **each.data} for each in findings}
    console.result(data, _text(findings, console))


def _findings(probe: bool) -> Iterator[Finding]:
    yield _graphc()
    yield _python()
    yield _package("numpy")
    yield from _llvm()
    yield _cores()
    yield _memory()
    if probe:
        yield _peaks()
    yield _drawing()
    yield _linker()
    yield _cache()
    for name, extra, what in (("torch", "torch", "PyTorch models"), ("onnx", "onnx", "ONNX files")):
        if importlib.util.find_spec(name):
            yield _package(name)
        else:
            yield Finding(name, NOTE, f"not installed; only {what} need it", f"pip install 'graphc[{extra}]'")


def _text(findings: list[Finding], console: Console) -> str:
    marks = {OK: "+", NOTE: " ", MISSING: "-"}
    lines = [table([(marks[each.state], each.name, each.text) for each in findings], indent="")]
    fixes = [(each.name, each.fix) for each in findings if each.fix]
    if fixes:
        lines += ["", "{}What would add the rest{}".format(*console.bold), table(fixes)]
    return "\n".join(lines)


def _graphc() -> Finding:
    place = Path(__file__).parents[1]
    return Finding("graphc", OK, f"{__version__} in {display_path(place)}", data={"version": __version__})


def _python() -> Finding:
    version, kind = platform.python_version(), platform.python_implementation()
    return Finding(
        "python", OK, f"{version} ({kind}, {platform.system()} {platform.machine()})",
        data={"version": version, "executable": sys.executable},
    )  # fmt: skip


def _package(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, MISSING, "not installed", f"pip install {name}")
    return Finding(name, OK, version, data={"version": version})


def _llvm() -> Iterator[Finding]:
    package = _package("llvmlite")
    if package.state != OK:
        yield package
        return
    from graphc.backends.llvm.target import host, llvm_version

    try:
        target, llvm = host(), llvm_version()
    except OSError as error:  # its shared library cannot be loaded
        yield Finding("llvmlite", MISSING, f"{package.text}, but it cannot be loaded: {error}",
                      "pip install --force-reinstall llvmlite")  # fmt: skip
        return
    yield Finding(
        "llvmlite", OK, f"{package.text}, LLVM {llvm}", data={"version": package.text, "llvm": llvm}
    )
    features = [name[1:] for name in target.features if name.startswith("+")]
    units = (
        f"{target.vector_bits}-bit vectors, {'fused multiply-add' if target.fma else 'no fused multiply-add'}"
    )
    caches = ", ".join(
        f"L{i} {in_bytes(size)}" for i, size in enumerate((target.l1, target.l2, target.l3), 1)
    )
    yield Finding("cpu", OK, f"{target.cpu}: {units}; {caches}", data={"name": target.cpu})
    yield Finding("features", OK, _wrapped(features), data={"features": features})


def _wrapped(words: list[str], width: int = 90) -> str:
    """The words on one line, cut with the number of those left out."""
    shown = ""
    for i, word in enumerate(words):
        if len(shown) + len(word) > width:
            return f"{shown}and {len(words) - i} more (--json has all)"
        shown += word + " "
    return shown.rstrip()


def _cores() -> Finding:
    found = cores()
    text = f"{found.allowed} usable of {found.online}"
    limits = [f"affinity {found.affinity}"] if found.affinity < found.online else []
    limits += [f"control group {found.quota:g}"] if found.quota is not None else []
    if limits:
        text += f" (limited by {', '.join(limits)})"
    return Finding(
        "cores", OK, text,
        data={"usable": found.allowed, "online": found.online, "affinity": found.affinity, "quota": found.quota},
    )  # fmt: skip


def _memory() -> Finding:
    total, limit = memory_limit()
    text = in_bytes(total) if total else "unknown"
    if limit is not None:
        text += f", limited to {in_bytes(limit)} by the control group"
    return Finding("memory", OK, text, data={"total": total, "limit": limit})


def _peaks() -> Finding:
    from dataclasses import asdict

    from graphc.backends.llvm.probe import measure

    peaks = measure()
    text = (
        f"{peaks.flops:.3g} GFLOP/s float32 on one thread, {peaks.flops_two_threads:.3g} on two; reads at "
        f"L1 {peaks.l1:.3g}, L2 {peaks.l2:.3g}, L3 {peaks.l3:.3g}, memory {peaks.memory:.3g} GB/s"
    )
    return Finding("peak", OK, text, data=asdict(peaks))


def _drawing() -> Finding:
    """Graphviz: tried, not only looked for, since a slim image may lack libraries it needs."""
    from graphc.errors import GraphcError
    from graphc.view.draw import draw, engines

    found = engines()
    install = "apt-get install graphviz"
    if not found:
        return Finding("drawing", MISSING, "neither `dot` nor pygraphviz; .dot can be written", install)
    try:
        draw("digraph { a }", "svg", timeout=20)
    except GraphcError as error:
        return Finding("drawing", MISSING, f"{' and '.join(found)} found, but: {error.message}", install)
    version = _first_line("dot", "-V") if found[0] == "dot" else f"pygraphviz {_package('pygraphviz').text}"
    return Finding("drawing", OK, version, data={"engines": found})


def _linker() -> Finding:
    name = linker()
    if name is None:
        text = "none: artefacts hold the .o, which Python loads, but no .so"
        return Finding("linker", NOTE, text, "apt-get install gcc, or pip install 'graphc[zig]'")
    text = f"ziglang {_package('ziglang').text}" if name == "ziglang" else _first_line(name, "--version")
    return Finding("linker", OK, f"{name}: {text}", data={"name": name})


def _cache() -> Finding:
    from graphc.backends.llvm.cache import default

    root = default().root
    place = display_path(root).replace(str(Path.home()), "~")
    try:
        about = root.lstat()
    except FileNotFoundError:
        return Finding("cache", OK, f"{place}, empty", data={"path": str(root), "entries": 0, "bytes": 0})
    except OSError as error:
        return Finding("cache", NOTE, f"{place} cannot be used: {error.strerror}", data={"path": str(root)})
    if not stat.S_ISDIR(about.st_mode):
        return Finding("cache", NOTE, f"{place} is not a folder: nothing is cached", f"rm {place}")
    if hasattr(os, "geteuid") and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
        reason = "belongs to another user" if about.st_uid != os.geteuid() else "can be written by others"
        return Finding("cache", NOTE, f"{place} {reason}: nothing is cached", f"chmod 700 {place}")
    if not os.access(root, os.W_OK | os.X_OK):
        return Finding(
            "cache", NOTE, f"{place} cannot be written: nothing new is cached", f"chmod 700 {place}"
        )
    sizes = [entry.stat().st_size for entry in os.scandir(root) if entry.is_file(follow_symlinks=False)]
    text = f"{place}, {len(sizes)} entries, {in_bytes(sum(sizes))}"
    return Finding("cache", OK, text, data={"path": str(root), "entries": len(sizes), "bytes": sum(sizes)})


def _first_line(*command: str) -> str:
    """The first line a program says about itself."""
    found = shutil.which(command[0])
    try:
        done = subprocess.run(
            [found or command[0], *command[1:]], capture_output=True, text=True, timeout=10, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({type(error).__name__})"
    return next(iter((done.stdout or done.stderr).splitlines()), "").strip()
