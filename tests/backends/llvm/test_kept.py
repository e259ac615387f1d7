"""Whole models in the cache: what comes back is what would be compiled, and nothing that would not."""

from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import api, edition, nn
from graphc.backends.llvm.cache import CacheWarning
from graphc.backends.llvm.digest import CHUNK, digest
from graphc.backends.llvm.facts import facts_from_json
from graphc.backends.llvm.kept import model_key
from graphc.backends.llvm.target import host, level
from graphc.ir.op import REGISTRY, Kind, op
from graphc.ir.parser import parse_graph

INPUTS = {"x": "float32[N,3,6,6]"}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphc"


def network() -> nn.Module:
    graphc.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    ).eval()


def compiled(**options: object) -> graphc.Executable:
    return api.compile(network(), INPUTS, name="net", **options)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("lowered although it is in the cache")


def files(executable: graphc.Executable, where: Path) -> dict[str, bytes]:
    executable.save(where)
    return {path.name: path.read_bytes() for path in where.iterdir()}


@pytest.mark.parametrize("options", [{}, {"sizes": {"N": [1]}, "numerics": "strict"}, {"weights": "fp16"}])
def test_from_the_cache_without_a_pass(
    options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same function and the same artefact, byte for byte; how it was lowered is there for who asks."""
    cold = compiled(**options)
    with monkeypatch.context() as patch:
        patch.setattr(api, "lower", refuse)
        warm = compiled(**options)
        x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
        assert warm(x).tobytes() == cold(x).tobytes()
        assert files(warm, tmp_path / "warm") == files(cold, tmp_path / "cold")
        assert repr(warm) == repr(cold)
        with pytest.raises(AssertionError, match="lowered"):
            _ = warm.plan
    assert warm.plan.verdict == cold.plan.verdict == warm.memory
    assert warm.llvm_ir == cold.llvm_ir
    assert facts_from_json(cold._native().facts.to_json()) == cold._native().facts


def test_faults_of_a_model_from_the_cache_say_where() -> None:
    graph = parse_graph("""graph g {
      input %x: f32[4]
      input %i: i64[2]
      %y: f32[2] = gather %x, %i {axis=0}
      return %y as "y"
    }""")
    for _ in range(2):
        with pytest.raises(graphc.GraphcError, match="out of range"):
            api.compile(graph)(np.zeros(4, np.float32), np.array([0, 4]))


def test_the_key_takes_in_all_that_decides_the_code() -> None:
    text = """graph g(N: 1..4) {
      input %x: f32[N,2]
      param %w: f32[2]
      %b: f32[N,2] = broadcast_to %w {shape=(N, 2)}
      %y: f32[N,2] = add %x, %b
      return %y as "y"
    }"""
    w = np.array([1, 2], np.float32)
    graph = parse_graph(text).with_(data={"w": w})
    keys = [
        model_key(graph, host(), ()),
        model_key(graph, host(), ("strict",)),
        model_key(graph, level("x86-64-v2"), ()),
        model_key(graph.with_(data={"w": w + 1}), host(), ()),
        model_key(graph.with_(data={"v": w}), host(), ()),
        model_key(graph.with_(data={"w": w.reshape(1, 2)}), host(), ()),
        model_key(graph.with_(data={"w": w.view(np.int32)}), host(), ()),
        model_key(graph.with_(dims={"N": (1, 5)}), host(), ()),
        model_key(graph.with_(name="h"), host(), ()),
        model_key(parse_graph(text.replace("add", "sub")).with_(data={"w": w}), host(), ()),
    ]
    assert None not in keys and len(set(keys)) == len(keys)
    assert model_key(parse_graph(text).with_(data={"w": w[::1].copy()}), host(), ()) == keys[0]


def test_what_no_key_can_tell_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An op of the user's, of which the graph has only the name; sources that changed after the import."""
    monkeypatch.setitem(REGISTRY, "halved", None)
    del REGISTRY["halved"]

    @op(Kind.COMPOSITE)
    class halved:
        "Half of it."

        def body(x):
            return x * 0.5

    with graphc.ir.builder.Builder("g") as builder:
        x = builder.leaf("input", "x", graphc.ir.types.parse_type("float32[3]"))
        graph = builder.finish([halved(x)], ["y"])
    assert model_key(graph, host(), ()) is None
    assert model_key(network_graph := api.graph_of(network(), INPUTS), host(), ()) is not None
    edition.edition.cache_clear()
    monkeypatch.setattr(edition, "IMPORTED", 0)
    try:
        assert model_key(network_graph, host(), ()) is None
    finally:
        edition.edition.cache_clear()


@pytest.mark.parametrize("where", ["weights", "second chunk", "end", "shorter"])
def test_a_damaged_model_is_compiled_again(place: Path, where: str) -> None:
    w = np.random.default_rng(0).normal(size=(1300, 1024)).astype(np.float32)
    graph = parse_graph("""graph g {
      input %x: f32[1,1300]
      param %w: f32[1300,1024]
      %y: f32[1,1024] = matmul %x, %w
      return %y as "y"
    }""").with_(data={"w": w})
    x = np.ones((1, 1300), np.float32)
    expected = api.compile(graph)(x)
    path = max(place.iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    assert len(content) > CHUNK
    content[{"weights": 1000, "second chunk": CHUNK + 1000, "end": -1, "shorter": 0}[where]] ^= 1
    path.write_bytes(content[: 5000 if where == "shorter" else None])
    with pytest.warns(CacheWarning, match="damaged"):
        assert (api.compile(graph)(x) == expected).all()
    assert (api.compile(graph)(x) == expected).all()


def test_digest_depends_on_the_bytes_alone() -> None:
    content = np.random.default_rng(0).bytes(2 * CHUNK + 5)
    cut = CHUNK - 3
    assert digest(content) == digest(content[:cut], b"", content[cut : CHUNK + 9], content[CHUNK + 9 :])
    assert digest(content) != digest(content[:-1])
