"""Sets, batches and augmentation: the same seed gives the same data, and the data is what it says."""

import sys

import numpy as np
import pytest

from graphc import data
from graphc.errors import MissingToolError, UsageError

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_batches_hold_every_row_once():
    found = list(data.batches([X, Y], 3, seed=4))
    assert [len(y) for _, y in found] == [3, 3, 3, 1]
    rows = np.concatenate([y for _, y in found])
    assert sorted(rows) == list(range(10)) and list(rows) != list(range(10))
    assert all(np.array_equal(x, X[y]) for x, y in found)
    assert [len(y) for _, y in data.batches([X, Y], 3, drop_last=True)] == [3, 3, 3]
    assert [len(y) for _, y in data.batches([X, Y], 20)] == [10]
    assert list(data.batches([X, Y], 20, drop_last=True)) == []


def test_a_number_repeats_and_a_generator_goes_on():
    def order(seed):
        return np.concatenate([y for _, y in data.batches([X, Y], 4, seed)]).tolist()

    rng = np.random.default_rng(3)
    assert order(3) == order(3) == order(rng) != order(rng)


@pytest.mark.parametrize("arrays", [[X, Y[:5]], []])
def test_batches_of_unequal_arrays(arrays):
    with pytest.raises(UsageError, match="make no batches"):
        data.batches(arrays, 2)
    with pytest.raises(UsageError, match="at least 1 row"):
        data.batches([X], 0)


def test_held_out():
    (x, y), (x_test, y_test) = data.held_out(X, Y, 0.3, seed=1)
    assert sorted([*y, *y_test]) == list(range(10)) and len(y_test) == 3
    assert np.array_equal(x, X[y]) and np.array_equal(x_test, X[y_test])
    with pytest.raises(UsageError, match="cannot be split"):
        data.held_out(X, Y[:3])
    with pytest.raises(UsageError, match="cannot be split"):
        data.held_out(X, Y, share=1)


def test_shift_moves_by_at_most_so_much():
    images = np.zeros((50, 2, 5, 6), np.float32)
    images[:, :, 2, 3] = 1
    moved = data.shift(images, by=1, seed=5)
    places = {tuple(int(i) for i in np.argwhere(image[0])[0]) for image in moved}
    assert places == {(i, j) for i in (1, 2, 3) for j in (2, 3, 4)}
    assert np.array_equal(moved[:, 0], moved[:, 1]) and moved.dtype == np.float32
    assert np.array_equal(data.shift(images, by=1, seed=5), moved)


def test_flip_mirrors_some():
    images = np.arange(24.0).reshape(4, 1, 2, 3)
    flipped = data.flip(images, seed=0)
    kinds = [
        int(np.array_equal(a, b[..., ::-1])) - int(np.array_equal(a, b)) for a, b in zip(flipped, images)
    ]
    assert set(kinds) == {-1, 1}
    assert np.array_equal(data.flip(images, probability=1.0), images[..., ::-1])
    assert np.array_equal(data.flip(images, probability=0.0), images)


def test_noise_has_its_scale():
    x = np.zeros((100, 100), np.float32)
    noisy = data.noise(x, 0.5, seed=2)
    assert noisy.dtype == np.float32
    assert abs(noisy.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * x.size)  # five standard errors


@pytest.mark.parametrize("make", [data.spirals, data.blobs, data.xor, data.rings])
def test_points_are_seeded_and_balanced(make):
    x, y = make(200, seed=1)
    assert x.dtype == np.float32 and y.dtype == np.int64 and x.shape == (len(y), 2)
    assert np.bincount(y).min() > 0.3 * len(y) / (y.max() + 1)
    assert same(make(200, seed=1), (x, y)) and not same(make(200, seed=2), (x, y))


def test_points_lie_where_they_should():
    x, y = data.xor(500)
    assert np.array_equal(x[:, 0] * x[:, 1] > 0, y == 1)
    x, y = data.rings(500, classes=3)
    r = data.radial(x)[:, 0]
    assert [bool(abs(r[y == k].mean() - (k + 1) / 3) < 0.01) for k in range(3)] == [True] * 3
    x, _ = data.spirals(100, spread=0)
    assert np.allclose(np.hypot(*x[:100].T), np.linspace(0.1, 1, 100), atol=1e-6)


def test_real_data():
    x, y = data.iris()
    assert x.shape == (150, 4) and np.bincount(y).tolist() == [50, 50, 50]
    assert np.abs(x.mean(axis=0)).max() < 1e-6 and np.abs(x.std(axis=0) - 1).max() < 1e-6
    x, y = data.digits(scale=4)
    assert x.shape == (1797, 1, 32, 32) and x.dtype == np.float32 and x.min() == 0 and x.max() == 1
    assert np.array_equal(x[:, :, ::4, ::4], data.digits()[0]) and set(y) == set(range(10))


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingToolError, match="scikit-learn"):
        data.iris()


def test_load(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=X, y=Y.astype(np.int32))
    x, y = data.load(path)
    assert x.dtype == np.float32 and y.dtype == np.int64 and np.array_equal(x, X) and np.array_equal(y, Y)


def test_load_refuses(tmp_path):
    path = tmp_path / "set.npz"
    for arrays, message in (
        ({"a": X}, "holds a, not x and y"),
        ({"x": X, "y": Y[:3]}, "one row for each"),
        ({"x": X, "y": np.array([object()] * 10)}, "cannot be read"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(UsageError, match=message):
            data.load(path)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(UsageError, match="holds one array"):
        data.load(tmp_path / "one.npy")
    path.write_bytes(b"no zip at all")
    with pytest.raises(UsageError, match="cannot be read"):
        data.load(path)
    with pytest.raises(UsageError, match="cannot be read"):
        data.load(tmp_path / "missing.npz")
