"""The compile cache: what is stored comes back or nothing does, whatever happens to the files."""

import errno
import hashlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from graphc.backends.llvm import cache as cache_module
from graphc.backends.llvm.cache import Cache, CacheWarning, default, key
from graphc.backends.llvm.jit import emit_object, object_key
from graphc.backends.llvm.target import host, level


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache_module._warned.clear()
    return Cache(tmp_path / "home" / "graphc")


def image(number: int) -> bytes:
    """Content that follows from the key, so that any reader can tell right from wrong."""
    return hashlib.sha256(str(number).encode()).digest() * (1 + number * 37 % 500)


def test_what_was_put_is_got(cache: Cache) -> None:
    assert cache.get(key("a")) is None
    assert cache.put(key("a"), b"code")
    assert cache.get(key("a")) == b"code"
    assert cache.root.stat().st_mode & 0o777 == 0o700
    assert [p.stat().st_mode & 0o777 for p in cache.root.iterdir()] == [0o600]


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default().root == tmp_path / "graphc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG standard says to ignore it
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default().root == tmp_path / ".cache" / "graphc"


@pytest.mark.parametrize(
    "damage", ["empty", "short", "flipped", "longer", "other key", "directory", "pipe", "symlink"]
)
def test_damaged_entries_are_misses_with_one_warning(cache: Cache, damage: str) -> None:
    cache.put(key("a"), image(1))
    path = cache.root / f"{key('a')}.o"
    content = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "short":
            path.write_bytes(content[:-1])
        case "flipped":
            path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        case "longer":
            path.write_bytes(content + b"\0")
        case "other key":
            cache.put(key("b"), image(2))
            (cache.root / f"{key('b')}.o").rename(path)
        case "directory":
            path.unlink()
            path.mkdir()
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case "symlink":
            path.rename(cache.root / "elsewhere")
            path.symlink_to(cache.root / "elsewhere")
    with pytest.warns(CacheWarning) as caught:
        assert cache.get(key("a")) is None
        assert cache.get(key("a")) is None
    assert len(caught) == 1
    if damage != "directory":
        assert cache.put(key("a"), image(1))
        assert cache.get(key("a")) == image(1)


@pytest.mark.parametrize("place", ["symlink", "group-writable", "world-writable", "file", "not ours"])
def test_unsafe_places_are_not_used(cache: Cache, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.root.parent.mkdir()
    match place:
        case "symlink":
            (cache.root.parent / "real").mkdir(mode=0o700)
            cache.root.symlink_to("real")
        case "group-writable":
            cache.root.mkdir()
            cache.root.chmod(0o770)
        case "world-writable":
            cache.root.mkdir()
            cache.root.chmod(0o707)
        case "file":
            cache.root.write_text("")
        case "not ours":
            cache.root.mkdir(mode=0o700)
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(CacheWarning):
        assert not cache.put(key("a"), b"code")
    if cache.root.is_dir():
        assert list(cache.root.iterdir()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.get(key("a")) is None


def failing_at(nth: int, error: OSError, genuine: Callable[..., object]) -> Callable[..., object]:
    uses = itertools.count()

    def call(*arguments: object, **keywords: object) -> object:
        if next(uses) == nth:
            raise error
        return genuine(*arguments, **keywords)

    return call


@pytest.mark.parametrize("call", ["open", "preadv", "rename", "mkdir", "scandir", "utime", "fstat"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EMFILE, errno.EROFS])
def test_no_fault_of_the_system_reaches_the_caller(
    cache: Cache, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every system call fails at its first, second and third use: a compile still gives the right object."""
    for nth in range(3):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setattr(os, call, failing_at(nth, OSError(number, os.strerror(number)), getattr(os, call)))
            cache.put(key(call), image(nth))
            got = cache.get(key(call))
        assert got in (None, image(nth), image(nth - 1), image(nth - 2))
    assert not list(cache.root.glob("*.tmp"))


def test_a_full_disk_leaves_nothing_behind(cache: Cache) -> None:
    """The file size limit stops the write half way, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.warns(CacheWarning, match="File too large"):
            assert not cache.put(key("big"), b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.root.iterdir()) == []


def test_least_recently_used_entries_go_first(cache: Cache) -> None:
    small = Cache(cache.root, limit=5 * 1100)
    for i in range(5):
        small.put(key(str(i)), bytes(1000))
        os.utime(cache.root / f"{key(str(i))}.o", (i, i))
    assert small.get(key("0")) == bytes(1000)  # now the youngest
    small.put(key("5"), bytes(1000))
    assert small.get(key("0")) and small.get(key("5"))
    assert small.get(key("1")) is None
    assert sum(p.stat().st_size for p in cache.root.iterdir()) <= small.limit


def test_files_left_by_killed_writers_are_removed(cache: Cache) -> None:
    cache.put(key("a"), b"code")
    old, new = cache.root / "1-a.tmp", cache.root / "2-b.tmp"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    cache.trim()
    assert not old.exists() and new.exists()


def test_key_takes_in_all_that_decides_the_object() -> None:
    module = host().module()
    module.function("f", {}).ret()
    text = str(module)
    keys = [object_key(text, host()), object_key(text + "\n", host()), object_key(text, level("x86-64-v2"))]
    assert len(set(keys)) == 3
    assert object_key(text, host()) == keys[0]


def test_compile_through_the_cache(cache: Cache) -> None:
    module = host().module()
    module.function("f", {}).ret()
    first = emit_object(str(module), host(), cache)
    assert cache.get(object_key(str(module), host())) == first
    assert emit_object(str(module), host(), cache) == first == emit_object(str(module), host())


WORKER = """
import hashlib, random, sys, warnings
from pathlib import Path
from graphc.backends.llvm.cache import Cache, key
warnings.simplefilter("ignore")
cache = Cache(Path(sys.argv[1]), limit=200_000)
random.seed(sys.argv[2])
image = lambda n: hashlib.sha256(str(n).encode()).digest() * (1 + n * 37 % 500)
print("ready", flush=True)
while True:
    n = random.randrange(40)
    if random.random() < 0.5:
        cache.put(key(str(n)), image(n))
    got = cache.get(key(str(n)))
    if got is not None and got != image(n):
        print("WRONG", n, flush=True)
        sys.exit(1)
"""


def test_processes_killed_in_the_middle(cache: Cache) -> None:
    """Writers and readers in several processes, killed at random; entries truncated, the folder removed."""
    chance = random.Random(7)

    def start() -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", WORKER, str(cache.root), str(chance.random())]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    workers = [start() for _ in range(4)]
    finished = []
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    try:
        for step in range(40):
            time.sleep(chance.uniform(0, 0.05))
            for path in list(cache.root.glob("*.o"))[: chance.randrange(3)]:
                try:
                    os.truncate(path, chance.randrange(200))
                except FileNotFoundError:
                    pass
            if step % 13 == 5:
                shutil.rmtree(cache.root, ignore_errors=True)
            if step % 10 == 9:
                victim = workers.pop(0)
                victim.send_signal(signal.SIGKILL)
                finished.append(victim)
                workers.append(start())
    finally:
        for worker in workers:
            worker.kill()
    for worker in (*finished, *workers):
        out, err = worker.communicate(timeout=10)
        assert "WRONG" not in out and err == "", (out, err)
        assert worker.returncode == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(40):
            assert cache.get(key(str(n))) in (None, image(n))
    assert cache.put(key("0"), image(0)) and cache.get(key("0")) == image(0)
