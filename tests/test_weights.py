"""Weights: safetensors and npz, the same bytes every time, and every mismatch said with a hint."""

import numpy as np
import pytest

from graphc.weights import WeightsError, check_weights, load_weights, save_weights

ARRAYS = {
    "fc.weight": np.arange(6, dtype="f4").reshape(2, 3),
    "fc.bias": np.zeros(2, "f4"),
    "count": np.asarray(3, "i8"),
    "empty": np.zeros((0, 4), "f8"),
}


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_round_trip_and_same_bytes(tmp_path, suffix):
    one, two = (save_weights(tmp_path / f"{n}.{suffix}", ARRAYS) for n in "ab")
    assert one.read_bytes() == two.read_bytes()
    loaded = load_weights(one)
    assert sorted(loaded) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pt", b"", "are .safetensors or .npz files"),
        ("w.safetensors", b"", "is not a safetensors file"),
        ("w.safetensors", b"\xff" * 100, "is not a safetensors file"),
        ("w.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("w.npz", b"PK\x03\x04", "is not an npz file"),
        ("w.npz", b"hello", "is not an npz file"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / name)


def test_a_pickle_inside_an_npz_is_never_read(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([object()], dtype=object))
    with pytest.raises(WeightsError, match="plain arrays"):
        load_weights(tmp_path / "w.npz")


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        load_weights(tmp_path / "none.npz")


def test_names_are_checked_with_hints():
    wanted = {"fc.weight": ARRAYS["fc.weight"], "fc.bias": ARRAYS["fc.bias"]}
    with pytest.raises(WeightsError) as caught:
        check_weights({"fc.weigth": ARRAYS["fc.weight"], "fc.bias": ARRAYS["fc.bias"]}, wanted, "w.npz")
    assert "did you mean fc.weigth?" in str(caught.value)
    kept = check_weights(
        {"fc.bias": ARRAYS["fc.bias"], "other": ARRAYS["count"]}, wanted, "w.npz", strict=False
    )
    assert list(kept) == ["fc.bias"]


def test_shapes_and_dtypes_are_checked():
    with pytest.raises(WeightsError, match=r"fc.bias is float32\[2\], the model has float32\[3\]"):
        check_weights({"fc.bias": ARRAYS["fc.bias"]}, {"fc.bias": np.zeros(3, "f4")}, "w.npz")
    with pytest.raises(WeightsError, match="float64"):
        check_weights({"fc.bias": np.zeros(2)}, {"fc.bias": ARRAYS["fc.bias"]}, "w.npz")
