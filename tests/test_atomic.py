"""Outputs appear whole or not at all, whatever fails and whenever."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import graphc.atomic as atomic
from graphc.atomic import folder, write_file
from graphc.errors import OutputError


def ours(path: Path) -> bool:
    return (path / "manifest.json").exists()


def fill(new: Path, text: str = "new") -> None:
    (new / "manifest.json").write_text(text)
    (new / "deep").mkdir()
    (new / "deep" / "weights").write_bytes(b"\0" * 1000)


def snapshot(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def test_a_file_in_a_new_folder(tmp_path):
    write_file(tmp_path / "a" / "b" / "f.svg", "größe")
    assert (tmp_path / "a" / "b" / "f.svg").read_bytes() == "größe".encode()
    assert os.listdir(tmp_path / "a" / "b") == ["f.svg"]


def test_permissions_are_those_of_any_new_file_and_are_kept(tmp_path):
    target = tmp_path / "f"
    target_by_python = tmp_path / "g"
    target_by_python.write_text("")
    write_file(target, b"1")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(target_by_python.stat().st_mode)
    target.chmod(0o600)
    write_file(target, b"2")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with folder(tmp_path / "d", ours=ours) as new:
        fill(new)
    (tmp_path / "e").mkdir()
    assert (tmp_path / "d").stat().st_mode == (tmp_path / "e").stat().st_mode


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "net.graphc"
    with folder(target, ours=ours) as new:
        fill(new, "old")
        (new / "only-in-old").write_text("")
    with folder(target, ours=ours) as new:
        fill(new, "new")
        assert (target / "only-in-old").exists(), "the old one stays until the new one is complete"
    assert sorted(snapshot(tmp_path)) == [
        "net.graphc", "net.graphc/deep", "net.graphc/deep/weights", "net.graphc/manifest.json",
    ]  # fmt: skip
    assert (target / "manifest.json").read_text() == "new"


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "d").mkdir()
    with folder(tmp_path / "d", ours=ours) as new:
        fill(new)
    assert ours(tmp_path / "d")


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_is_not_ours_is_left_alone(tmp_path, kind):
    target = tmp_path / "d"
    if kind == "folder":
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    elif kind == "file":
        target.write_text("years of work")
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match="exists and is not"), folder(target, ours=ours):
        pytest.fail("refused before any work is done")
    assert snapshot(tmp_path) == before


def test_a_file_does_not_replace_a_folder(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        write_file(tmp_path, b"")


@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_nothing(tmp_path, raised):
    with folder(tmp_path / "d", ours=ours) as new:
        fill(new, "old")
    before = snapshot(tmp_path)
    with pytest.raises(raised), folder(tmp_path / "d", ours=ours) as new:
        fill(new)
        raise raised
    assert snapshot(tmp_path) == before


CALLS = ["replace", "rename", "fsync", "fchmod", "open"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_fault_in_any_call_leaves_the_old_output(tmp_path, monkeypatch, call, number, exchange):
    """The k-th call fails, for every k there is."""
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda new, target: False)
    write_file(tmp_path / "f", "old")
    with folder(tmp_path / "d", ours=ours) as new:
        fill(new, "old")
    before = snapshot(tmp_path)
    real = getattr(os, call)
    for k in range(100):
        count = 0

        def faulty(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == k + 1:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, faulty)
            failed = 0
            for write in (lambda: write_file(tmp_path / "f", "old"), lambda: rewrite(tmp_path / "d")):
                try:
                    write()
                except OutputError as error:
                    assert "cannot write" in error.message
                    failed += 1
        assert snapshot(tmp_path) == before
        if count <= k:
            assert failed == 0
            break
    else:
        pytest.fail("never got through")


def rewrite(target: Path) -> None:
    with folder(target, ours=ours) as new:
        fill(new, "old")


def test_reasons_are_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    for target, reason in (
        (tmp_path / "file" / "x", "a part of the path is a file"),
        (tmp_path / ("n" * 300), "the name is too long"),
        (tmp_path / "nul\0", "null"),
    ):
        for write in (lambda t=target: write_file(t, b""), lambda t=target: rewrite(t)):
            with pytest.raises(OutputError) as caught:
                write()
            assert reason in caught.value.message


def test_readers_see_the_old_or_the_new(tmp_path):
    target = tmp_path / "f"
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]
    write_file(target, contents[0])
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(100):
        write_file(target, contents[i % 4])
    stop.set()
    reader.join()
    assert seen <= set(contents)


def test_killed_in_the_middle(tmp_path):
    """kill -9 leaves the old output; only a hidden folder may stay."""
    rewrite(tmp_path / "d")
    program = (
        "import os, signal, sys\nfrom graphc.atomic import folder\n"
        "with folder(sys.argv[1], ours=lambda p: True) as new:\n"
        "    (new / 'manifest.json').write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(atomic.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "d")], cwd=root)
    assert done.returncode == -9
    assert (tmp_path / "d" / "manifest.json").read_text() == "old"
    assert all(path.name.startswith(".graphc-") for path in tmp_path.iterdir() if path.name != "d")
