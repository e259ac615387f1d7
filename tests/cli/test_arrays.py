"""The arrays of `graphc run`: from files, by name or in order, or filled."""

import io
from pathlib import Path

import numpy as np
import pytest

from graphc.cli.run import read_arrays
from graphc.errors import GraphcError, ModelError, UsageError
from graphc.manifest import Port

PORTS = {"x": Port("x", "float32", ("N", "2*N")), "mask": Port("mask", "bool", ("N",))}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((3, 6), np.float32))
    np.save("mask.npy", np.array([True, False, True]))
    np.savez("both.npz", x=np.zeros((3, 6), np.float32), mask=np.ones(3, bool), other=np.zeros(1))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "empty.npy").write_text("")
    (tmp_path / "folder.npy").mkdir()


@pytest.mark.parametrize(
    "texts",
    [
        ["x.npy", "mask.npy"],
        ["mask=mask.npy", "x=x.npy"],
        ["mask=mask.npy", "x.npy"],
        ["both.npz"],
        ["x=both.npz", "mask=both.npz"],
    ],
)
def test_from_files(files, texts):
    arrays = read_arrays(texts, PORTS, {}, 0)
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "x": ("float32", (3, 6)),
        "mask": ("bool", (3,)),
    }
    assert list(arrays) == ["x", "mask"]


def test_filled():
    ones = read_arrays(["ones"], PORTS, {"N": 2}, 0)
    assert ones["x"].shape == (2, 4) and ones["x"].dtype == np.float32 and ones["x"].min() == 1
    first, again, other = (read_arrays(["random"], PORTS, {"N": 50}, seed) for seed in (1, 1, 2))
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    assert set(np.unique(first["mask"])) == {False, True}
    mixed = read_arrays(["x=zeros", "mask=random"], PORTS, {"N": 4}, 0)
    assert not mixed["x"].any() and mixed["mask"].any()


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ([], UsageError, "no array for input x, mask"),
        (["x.npy"], UsageError, "no array for input mask"),
        (["x.npy", "mask.npy", "x.npy"], UsageError, "3 arrays for 2 inputs"),
        (["x=x.npy", "x=x.npy"], UsageError, "x twice"),
        (["y=x.npy", "both.npz"], UsageError, "no input named y"),
        (["nothing.npy", "mask.npy"], UsageError, "no file nothing.npy"),
        (["folder.npy", "mask.npy"], UsageError, "is a folder"),
        (["text.npy", "mask.npy"], ModelError, "is not a .npy or .npz file"),
        (["empty.npy", "mask.npy"], ModelError, "is not a .npy or .npz file"),
        (["objects.npy", "mask.npy"], ModelError, "is not a .npy or .npz file of numbers"),
        (["random"], UsageError, "input x needs a size for N"),
    ],
)
def test_what_cannot_be_read(files, texts, kind, message):
    with pytest.raises(kind) as caught:
        read_arrays(texts, PORTS, {}, 0)
    assert message in caught.value.message


def test_damaged_files_are_told_as_such(files):
    """Every truncation and every flipped byte of the start: an array or an error of ours, nothing else."""
    whole = io.BytesIO()
    np.savez(whole, x=np.zeros((3, 6), np.float32), mask=np.ones(3, bool))
    for content in (whole.getvalue(), Path("x.npy").read_bytes()):
        damaged = [content[:size] for size in range(0, len(content), 7)]
        damaged += [
            bytes([*content[:i], content[i] ^ 0xFF, *content[i + 1 :]]) for i in range(0, len(content), 5)
        ]
        for data in damaged:
            with open("damaged.npy", "wb") as file:
                file.write(data)
            try:
                read_arrays(["x=damaged.npy", "mask=mask.npy"], PORTS, {}, 0)
            except GraphcError:
                pass
