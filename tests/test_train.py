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


KILLED_WHILE_SAVING = """
import os, signal, sys
from tests.test_train import data, net, train

module = sys.modules["graphc.train"]
path, name, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
save, plain, saves = module.write_file, getattr(os, name), 0

def kill(*arguments, **keywords):
    if name == "replace":
        plain(*arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)

def counted(*arguments):
    global saves
    saves += 1
    if saves == wanted:
        setattr(os, name, kill)
    save(*arguments)

module.write_file = counted
train(net(), data.blobs(40), lr=0.02, epochs=4, checkpoint=path)
"""


@pytest.mark.parametrize("call", ["fdopen", "fchmod", "fsync", "replace"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_is_killed_while_it_saves_resumes(tmp_path, call, epoch):
    """Before the checkpoint is written, when it is, and after it took its place."""
    path = tmp_path / "run.npz"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", KILLED_WHILE_SAVING, str(path), call, str(epoch)]
    assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert path.exists() == (epoch > 1 or call == "replace")
    seen = []
    again = trained(checkpoint=path, resume=True, on_batch=lambda number, rows: seen.append(number))
    assert again == trained()
    assert min(seen) == epoch + (call == "replace")  # what was saved is not done again


@pytest.mark.parametrize(
    "options",
    [{"schedule": "cosine"}, {"schedule": "step", "warm_up": 1}, {"schedule": "linear", "max_norm": 0.5}],
    ids=str,
)
def test_resuming_goes_on_with_the_plan(tmp_path, options):
    class Stop(Exception):
        pass

    def interrupt(epoch):
        if epoch.epoch == 2:
            raise Stop

    whole = trained(**options)
    assert whole[0] != trained()[0]
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        trained(checkpoint=path, on_epoch=interrupt, **options)
    assert trained(checkpoint=path, resume=True, **options) == whole
    with pytest.raises(ArtefactError, match="schedule"):
        trained(checkpoint=path, resume=True, epochs=5, **options)
    with pytest.raises(ArtefactError, match="schedule"):
        trained(checkpoint=path, resume=True)


def test_rates_of_a_plan():
    from graphc import optim
    from graphc.train import _plan

    def rates(schedule, epochs, warm_up):
        plan = _plan(optim.SGD(net().parameters(), lr=1.0), schedule, epochs, warm_up)
        return [round(plan.rates(epoch)[0], 6) for epoch in range(epochs)]

    assert rates("constant", 3, 0) == [1, 1, 1]
    assert rates("linear", 4, 0) == [1, 0.75, 0.5, 0.25]
    assert rates("step", 8, 0) == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert rates("cosine", 6, 2) == [0.333333, 0.666667, 1, 0.853553, 0.5, 0.146447]


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


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(4, 3)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def two_inputs(rows=120):
    rng = np.random.default_rng(3)
    left, right = rng.normal(size=(rows, 2)), rng.normal(size=(rows, 4))
    y = (left @ rng.normal(size=(2, 3)) + right @ rng.normal(size=(4, 3))).argmax(axis=1)
    return {"left": left.astype(np.float32), "right": right.astype(np.float32)}, y


def test_several_inputs():
    x, y = two_inputs()
    result = train(Two(), (x, y), epochs=30, lr=0.05)
    assert (
        result.best.test_accuracy >= 0.85
    )  # 24 rows are held out; guessing is right in a third of the cases
    with pytest.raises(ShapeError, match="120, 119"):
        train(Two(), ({**x, "right": x["right"][1:]}, y))


@pytest.mark.parametrize("loss", ["cross-entropy", "likelihood", "hinge"])
def test_losses_of_labels(loss):
    graphc.manual_seed(0)
    end = [nn.Softmax(1)] if loss == "likelihood" else []
    model = nn.Sequential(nn.Linear(2, 3), *end)
    result = train(model, data.blobs(60, spread=0.2), epochs=20, lr=0.05, loss=loss)
    assert result.best.test_accuracy >= 0.9


def test_settings_that_make_no_sense():
    with pytest.raises(UsageError, match="did you mean adam"):
        train(net(), data.blobs(5), optimizer="adm")
    with pytest.raises(UsageError):
        train(net(), data.blobs(5), epochs=0)
    with pytest.raises(UsageError, match="did you mean cosine"):
        train(net(), data.blobs(5), schedule="cosin")
    with pytest.raises(UsageError, match="loss mse of targets of int64"):
        train(net(), data.blobs(5), loss="mse")
    with pytest.raises(UsageError, match="warm_up=3"):
        train(net(), data.blobs(5), epochs=3, warm_up=3)
    with pytest.raises(UsageError, match="as_module"):
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


FUNCTION = """
import numpy as np

rng = np.random.default_rng(0)
W, b = rng.normal(0, 0.5, (4, 3)).astype(np.float32), np.zeros(3, np.float32)


def predict(x):
    e = np.exp(x @ W + b)
    return e / e.sum(axis=1, keepdims=True)


inputs = {"x": "float32[N,4]"}
"""


def test_the_command_trains_a_plain_function(run):
    Path("plain.py").write_text(FUNCTION)
    words = ("--data", "iris", "--loss", "likelihood", "--lr", "0.05", "--epochs", "15")
    found = json.loads(run("--json", "train", "plain.py", *words).out)
    assert found["best"]["test_accuracy"] >= 0.8
    from graphc.weights import load_weights

    assert {name: array.shape for name, array in load_weights(Path("plain.safetensors")).items()} == {
        "W": (4, 3),
        "b": (3,),
    }


def test_the_command_trains_a_model_of_several_inputs(run):
    x, y = two_inputs()
    np.savez("two.npz", **x, y=y)
    Path("two.py").write_text(
        "from tests.test_train import Two as model\n"
        "inputs = {'left': 'float32[N,2]', 'right': 'float32[N,4]'}\n"
    )
    words = (
        "two.py",
        "--data",
        "two.npz",
        "--lr",
        "0.05",
        "--epochs",
        "4",
        "--schedule",
        "cosine",
        "--warm-up",
        "1",
    )
    assert "held-out accuracy" in run("train", *words, "--max-norm", "1").out
    run("train", "two.py", "--data", "iris", status=2)
    np.savez("one.npz", left=x["left"], y=y)
    assert "not left, right and y" in run("train", "two.py", "--data", "one.npz", status=2).err
