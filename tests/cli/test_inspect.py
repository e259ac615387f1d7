"""`graphc inspect` reads a manifest, checks the hashes, and loads nothing."""

import json
from pathlib import Path

import pytest

from graphc.cli.main import main
from graphc.manifest import FORMAT, Manifest, Port, file_digest


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "net.graphc"
    folder.mkdir()
    for name in ("net.so", "weights.safetensors"):
        (folder / name).write_bytes(name.encode() * 1000)
    files = {path.name: (file_digest(path), path.stat().st_size) for path in folder.iterdir()}
    manifest = Manifest(
        format=FORMAT, name="net", graphc="0.1.0", backend="llvm", llvm="22.1.0", abi="1.0", triple="x86_64-linux",
        cpu_features=("avx2", "fma"), inputs=(Port("x", "float32", ("N", 4)),),
        outputs=(Port("logits", "float32", ("N", 10)),), dims={"N": (1, 64)}, arena_bytes_per_sample=64,
        arena_bytes_fixed=0, arena_bytes_by_unit={}, arena="arena 64*N bytes = lower bound", flops="80*N",
        numerics="", threads=1,
        weights="fp32", weights_deviation="0.00e+00", values="shape = [2, 3]", packed_bytes=0, files=files,
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_text(artefact, capsys):
    assert main(["inspect", str(artefact)]) == 0
    out = capsys.readouterr().out
    for part in (
        "x       float32[N,4]",
        "logits  float32[N,10]",
        "N = 1..64",
        "avx2 fma",
        "2 files, all with",
    ):
        assert part in out


def test_json(artefact, capsys):
    assert main(["inspect", str(artefact), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((artefact / "manifest.json").read_text())


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "symlink", "manifest"])
def test_damage_is_found(artefact, capsys, damage):
    file = artefact / "net.so"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[17] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "manifest":
        (artefact / "manifest.json").write_text("{")
    else:
        file.unlink()
        if damage == "symlink":
            (artefact.parent / "elsewhere").write_bytes(content)
            file.symlink_to(artefact.parent / "elsewhere")
    assert main(["inspect", str(artefact)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error GC04")


def test_what_is_no_artefact(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nothing")]) == 1
    assert "is not an artefact" in capsys.readouterr().err
