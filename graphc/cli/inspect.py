"""`graphc inspect`: what an artefact is, from its manifest; nothing in it is loaded or run."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from graphc.cli.console import in_bytes, table
from graphc.cli.main import Command, console_of
from graphc.manifest import Manifest, Port, check_files, read_manifest


@click.command(cls=Command)
@click.argument("artefact", metavar="ARTEFACT", type=click.Path(path_type=Path))
@click.pass_context
def command(context: click.Context, artefact: Path) -> None:
    """Show what an artefact is and check its files, without loading any of it."""
    manifest = read_manifest(artefact)
    check_files(artefact, manifest)
    console_of(context).result(json.loads(manifest.to_json()), describe(artefact, manifest))


def describe(artefact: Path, manifest: Manifest) -> str:
    """The manifest as text."""
    rows = [("input", *_port(port)) for port in manifest.inputs]
    rows += [("output", *_port(port)) for port in manifest.outputs]
    facts = [
        ("backend", f"{manifest.backend}, {manifest.triple}" if manifest.triple else manifest.backend),
        *_wrapped("needs", manifest.cpu_features or ("no particular processor",)),
        ("made by", f"graphc {manifest.graphc}" + (f", LLVM {manifest.llvm}" if manifest.llvm else "")),
        ("dims", ", ".join(_range(name, *ends) for name, ends in sorted(manifest.dims.items()))),
        ("fixed", manifest.values),
        ("memory", manifest.arena),
        ("work", manifest.flops),
        ("numerics", manifest.numerics),
        ("threads", str(manifest.threads)),
    ]
    files = [(name, in_bytes(size), digest[:12]) for name, (digest, size) in sorted(manifest.files.items())]
    return "\n".join(
        [
            f"{artefact}: {manifest.name}",
            table(rows),
            "",
            table(fact for fact in facts if fact[1]),
            "",
            f"{len(files)} files, all with the sha256 of the manifest",
            table(files),
        ]
    )


def _port(port: Port) -> tuple[str, str]:
    return port.name, f"{port.dtype}[{','.join(map(str, port.dims))}]"


def _range(name: str, low: int, high: int | None) -> str:
    return f"{name} from {low}" if high is None else f"{name} = {low}..{high}"


def _wrapped(name: str, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Rows of a table with as many words each as fit a terminal; only the first has the name."""
    for i, line in enumerate(
        textwrap.wrap(" ".join(words), 90, break_long_words=False, break_on_hyphens=False)
    ):
        yield ("" if i else name), line
