"""What is wrong, malicious or too large is refused with a code: no traceback, no crash, no file outside the folder."""

import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs the onnx package")

import onnx

from graphc.errors import GraphcError, InternalError
from graphc.frontends.onnx import load
from tests.frontends.onnx.hostile import cases, seeds

pytestmark = pytest.mark.onnx
MUTATIONS = 5000
SHARES = 8
SECONDS, BYTES = 5, 1 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with everything that external data may not be, and a secret beside it."""
    inner = tmp_path / "model"
    inner.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 24)
    (inner / "w.bin").write_bytes(b"\0" * 24)
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    os.link(tmp_path / "secret.bin", inner / "hard.bin")
    os.mkfifo(inner / "pipe")
    return inner


@pytest.mark.parametrize(("name", "make"), [pytest.param(n, m, id=n) for n, m in cases()])
def test_hand_made(name: str, make, folder: Path) -> None:
    made = make()
    data = made if isinstance(made, bytes) else made.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(GraphcError) as caught:
        load(folder / "model.onnx")
    assert caught.value.code != InternalError.code
    assert caught.value.message


def test_there_are_a_hundred() -> None:
    assert len(list(cases())) >= 100


@pytest.mark.parametrize("share", range(SHARES))
def test_mutations(share: int, limits: None) -> None:
    """Bytes flipped, cut off, put in, taken from elsewhere, other dims and attributes: a graph or a coded error."""
    rng = random.Random(share)
    models = list(seeds())
    data = [model.SerializeToString() for model in models]
    for number in range(MUTATIONS // SHARES):
        if number % 4:
            mutated = bytes(mutation(rng, bytearray(rng.choice(data)), data))
        else:
            mutated = with_other_numbers(rng, rng.choice(models)).SerializeToString()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            load(mutated)
        except GraphcError as error:
            assert error.code != InternalError.code, f"{error}: {mutated.hex()}"


def with_other_numbers(rng: random.Random, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with some of its dims, attributes and whole numbers replaced."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    places: list[tuple[object, str, int | None]] = []
    for value in (*graph.input, *graph.output):
        places += [(dim, "dim_value", None) for dim in value.type.tensor_type.shape.dim]
    for tensor in graph.initializer:
        places += [(tensor, "dims", i) for i in range(len(tensor.dims))]
        places += [(tensor, "data_type", None)]
    for node in graph.node:
        for attribute in node.attribute:
            places += [(attribute, "i", None), (attribute, "type", None)]
            places += [(attribute, "ints", i) for i in range(len(attribute.ints))]
            places += [(attribute.t, "dims", i) for i in range(len(attribute.t.dims))]
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, name, index = rng.choice(places)
        if name in ("data_type", "type"):
            setattr(holder, name, rng.randrange(0, 15))
            continue
        number = rng.choice((0, -1, 1, 2, 7, 1 << 20, (1 << 31) - 1, 1 << 40, (1 << 62) + 1, -(1 << 63)))
        if index is None:
            setattr(holder, name, number)
        else:
            getattr(holder, name)[index] = number
    return changed


def mutation(rng: random.Random, data: bytearray, others: list[bytes]) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) or 1)
        match rng.randrange(5):
            case 0 if data:
                data[place] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[place : place + rng.randrange(1, 9)]
            case 3:
                data[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                data[place : place + 8] = other[start : start + rng.randrange(1, 17)]
    return data


@pytest.fixture
def limits() -> Iterator[None]:
    """1 GiB more than there is now, and a timer of processor time for each model: what takes more fails the test."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, before[1]))
    handler = signal.signal(signal.SIGPROF, lambda *_: pytest.fail(f"one model takes {SECONDS} s"))
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_no_file_outside_of_the_folder_is_opened(folder: Path, tmp_path: Path) -> None:
    """Every path Python opens while the external data of hostile models is read lies in the model's folder."""
    opened: list[str] = []
    watching = [True]

    def hook(event: str, arguments: tuple) -> None:
        if watching[0] and event == "open" and isinstance(arguments[0], str):
            opened.append(arguments[0])

    sys.addaudithook(hook)
    for name, make in cases():
        if name.startswith("external data"):
            (folder / "model.onnx").write_bytes(make().SerializeToString())
            with pytest.raises(GraphcError):
                load(folder / "model.onnx")
    watching[0] = False
    outside = [p for p in opened if os.path.isabs(p) and not Path(p).is_relative_to(folder)]
    ours = [p for p in outside if p.startswith((str(tmp_path), "/etc", "/dev"))]
    assert ours == []
