"""The manifest is read strictly: every fault has its message, and none gets through."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.errors import ArtefactError
from graphc.manifest import (
    FORMAT,
    DamagedArtefact,
    Manifest,
    Port,
    UnsupportedFormat,
    check_files,
    read_manifest,
    sealed,
)

GOOD = Manifest(
    format=FORMAT, name="m", graphc="0.1", backend="llvm", llvm="20.1", abi="1.0", triple="x86_64-linux",
    cpu_features=("avx2",),
    inputs=(Port("x", "float32", ("N", 3)),), outputs=(Port("y", "float32", ("N",)),), dims={"N": (1, None)},
    arena_bytes_per_sample=64, arena_bytes_fixed=0, arena_bytes_by_unit={"N**2": 64},
    arena="arena 64 B", flops="6*N", numerics="default", threads=1,
    weights="fp32", weights_deviation="0.00e+00", values="", packed_bytes=0,
    files={"m.o": (hashlib.sha256(b"code").hexdigest(), 4)},
)  # fmt: skip


def folder(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "m.o").write_bytes(b"code")
    return tmp_path


def changed(**changes):
    return sealed({**json.loads(GOOD.to_json()), **changes})


def test_written_and_read_back(tmp_path):
    assert read_manifest(folder(tmp_path, GOOD.to_json())) == GOOD
    check_files(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[1]", "is not an object"),
        ('{"format": 1, "format": 1}', "a key stands twice"),
        ('{"format": NaN}', "NaN is not a number"),
        ("[" * 40 + "]" * 40, "nested more than 32 deep"),
        ("[" * 100_000, "nested more than 32 deep"),
        ("\xff", "cannot be read"),
        (changed(extra=1), "unknown field 'extra'"),
        (changed(threads=-1), "-1 is out of range"),
        (changed(threads=True), "expected int"),
        (changed(name=3), "expected str"),
        (changed(files={"../evil": ["0" * 64, 1]}), "is not the name of a file"),
        (changed(files={"a/b": ["0" * 64, 1]}), "is not the name of a file"),
        (changed(inputs=[{"name": "x"}]), "not a port"),
        (changed(dims={"N": [1]}), "manifest.json"),
        (" " * (1 << 20) + "{}", "larger than"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(ArtefactError, match=message):
        read_manifest(folder(tmp_path, text))


def test_another_format_names_both_versions(tmp_path):
    with pytest.raises(UnsupportedFormat, match="graphc 9.9 .format 7.; this one reads format 1"):
        read_manifest(folder(tmp_path, changed(format=7, graphc="9.9")))


def test_a_folder_without_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtefactError, match="graphc compile"):
        read_manifest(tmp_path)


def test_changed_missing_and_linked_files_are_refused(tmp_path):
    folder(tmp_path, GOOD.to_json())
    (tmp_path / "m.o").write_bytes(b"c0de")
    with pytest.raises(DamagedArtefact, match="sha256"):
        check_files(tmp_path, GOOD)
    (tmp_path / "m.o").write_bytes(b"longer")
    with pytest.raises(DamagedArtefact, match="6 bytes, the manifest says 4"):
        check_files(tmp_path, GOOD)
    (tmp_path / "m.o").unlink()
    (tmp_path / "real").write_bytes(b"code")
    (tmp_path / "m.o").symlink_to(tmp_path / "real")
    with pytest.raises(DamagedArtefact, match="not a plain file"):
        check_files(tmp_path, dataclasses.replace(GOOD))


@given(st.integers(0, 10_000), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_no_flipped_bit_gets_through_or_crashes(tmp_path_factory, position, bit):
    data = bytearray(GOOD.to_json().encode())
    data[position % len(data)] ^= 1 << bit
    there = tmp_path_factory.mktemp("flip")
    (there / "manifest.json").write_bytes(data)
    with pytest.raises(ArtefactError):
        read_manifest(there)
