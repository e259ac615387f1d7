"""Training: same seed, same bits; a killed run resumes to the same bits; what does not fit is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import data, nn
from graphc.cli.main import main
from graphc.errors import ArtefactError, ShapeError, UsageError
from graphc.ir.types import parse_type
from graphc.train import fit, train

ROOT = Path(__file__).resolve().parents[1]
MODEL = """
from graphc import nn

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
inputs = {"x": "float32[N,4]"}
"""


def net(seed=0):
    graphc.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def trained(**options):
    model = net()
    result = train(model, data.blobs(40), lr=0.02, **{"epochs": 4, **options})
    return bits(model), result


def test_it_learns_and_reports_held_out_data():
    model = net()
    result = train(model, data.blobs(60, spread=0.2), epochs=20, lr=0.02)
    assert result.best.test_accuracy >= 0.95 and not result.stopped_early
    assert [epoch.epoch for epoch in result.history] == list(range(1, 21))
    assert result.best.test_loss == min(epoch.test_loss for epoch in result.history)


def test_same_seed_same_bits():
    first, second, other = trained(), trained(threads=2), trained(seed=1)
    assert first == second and first[0] != other[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_resuming_gives_the_same_bits(tmp_path, optimizer):
    class Stop(Exception):
        pass

    def interrupt(epoch):
        if epoch.epoch == 2:
            raise Stop

    def in_the_middle(epoch, rows):
        if epoch == 3 and rows > 50:
            raise Stop

    whole = trained(optimizer=optimizer)
    for stop in ({"on_epoch": interrupt}, {"on_batch": in_the_middle}):
        path = tmp_path / f"{len(stop)}{next(iter(stop))}.npz"
        with pytest.raises(Stop):
            trained(optimizer=optimizer, checkpoint=path, **stop)
        assert trained(optimizer=optimizer, checkpoint=path, resume=True) == whole


KILLED = """
import os, signal, sys
from tests.test_train import data, net, train

def kill(epoch, rows):
    if epoch == 3 and rows > 50:
        os.kill(os.getpid(), signal.SIGKILL)

train(net(), data.blobs(40), lr=0.02, epochs=4, checkpoint=sys.argv[1], on_batch=kill)
"""


def test_a_killed_run_resumes(tmp_path):
    path = tmp_path / "run.npz"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=env, cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert trained(checkpoint=path, resume=True) == trained()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    trained(checkpoint=path, epochs=1)
    with pytest.raises(ArtefactError, match="seed differs"):
        trained(checkpoint=path, resume=True, seed=3)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtefactError, match="is not a checkpoint"):
        trained(checkpoint=path, resume=True)


def test_early_stopping_keeps_the_best():
    model = net()
    result = train(model, data.blobs(40), epochs=200, lr=0.3, patience=3)
    assert result.stopped_early and len(result.history) == result.best.epoch + 3
    again = net()
    assert (
        train(again, data.blobs(40), epochs=result.best.epoch, lr=0.3).best.test_loss == result.best.test_loss
    )
    assert bits(again) == bits(model)


def test_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]], np.float32)).astype(np.float32)
    graphc.manual_seed(0)
    result = train(nn.Linear(3, 1), (x, y), optimizer="sgd", epochs=80)
    assert result.best.test_accuracy is None and result.best.test_loss < 1e-6


def test_data_is_made_to_fit():
    x = np.arange(2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
    assert fit(x, parse_type("float32[N,64]")).shape == (2, 64)
    large = fit(x, parse_type("float32[N,1,32,32]"))
    assert large.shape == (2, 1, 32, 32) and (large[:, :, ::4, ::4] == x).all() and large[0, 0, 3, 3] == 0
    assert fit(x, parse_type("float32[N,1,H,W]")) is not None
    for wrong in ("float32[N,63]", "float32[N,3,8,8]", "float32[N,1,12,12]"):
        with pytest.raises(ShapeError):
            fit(x, parse_type(wrong))


def test_settings_that_make_no_sense():
    with pytest.raises(UsageError, match="did you mean adam"):
        train(net(), data.blobs(5), optimizer="adm")
    with pytest.raises(UsageError):
        train(net(), data.blobs(5), epochs=0)
    with pytest.raises(UsageError):
        train(np.tanh, data.blobs(5))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)

    def words(*arguments, status=0):
        assert main(list(arguments)) == status
        return capsys.readouterr()

    return words


def test_the_command(run):
    words = ("train", "net.py", "--data", "iris", "--lr", "0.02", "--log", "log.jsonl", "--plot", "loss.svg")
    said = run(*words, "--epochs", "12")  # guessing is right in a third of the cases
    assert "held-out accuracy" in said.out and said.err.count("epoch ") == 12 and "\x1b" not in said.err
    lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 13)) and lines[-1]["test_accuracy"] > 0.6
    assert Path("loss.svg").read_text().count("<polyline") == 2
    weights = Path("net.safetensors").read_bytes()
    found = json.loads(run("--json", *words, "--epochs", "7").out)
    assert found["best"]["epoch"] <= 7
    run(*words, "--epochs", "12", "--resume")
    assert Path("net.safetensors").read_bytes() == weights
    assert len(Path("log.jsonl").read_text().splitlines()) == 12


def test_the_command_refuses(run):
    run("train", "net.py", "--data", "mnist", status=2)
    run("train", "net.py", "--data", "digits", status=1)
    run("train", "net.py", "--data", "iris", "--plot", "loss.png", status=2)
