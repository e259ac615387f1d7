"""Limits are read where Linux keeps them, in both versions of control groups."""

from pathlib import Path

import pytest

import graphc.machine as machine


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    return make


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a\n", {"a/cpu.max": "400000 100000", "cpu.max": "200000 100000"}, 2.0),
        ("1:cpu,cpuacct:/x\n0::/\n",
         {"cpu/x/cpu.cfs_quota_us": "300000", "cpu/x/cpu.cfs_period_us": "100000"}, 3.0),
        ("1:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("1:memory:/x\n", {"memory/x/cpu.max": "1 1"}, None),
        ("0::/a\n", {"a/cpu.max": "rubbish"}, None),
        ("0::/a\n", {"a/cpu.max": "100000 0"}, None),
        ("", {}, None),
    ],
)  # fmt: skip
def test_quota(groups, own, files, quota):
    groups(own, files)
    assert machine.cores().quota == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "allowed"),
    [(4, None, 4), (4, 1.5, 2), (4, 0.5, 1), (4, 4.0, 4), (2, 8.0, 2), (1, 0.01, 1)],
)
def test_allowed_cores(affinity, quota, allowed):
    assert machine.Cores(8, affinity, quota).allowed == allowed


def test_memory_limit(groups):
    groups("0::/a\n", {"a/memory.max": "max\n"})
    total, limit = machine.memory_limit()
    assert total is not None and total > 1 << 20 and limit is None
    groups("0::/a\n", {"a/memory.max": "1048576\n", "memory.max": "2097152"})
    assert machine.memory_limit() == (total, 1 << 20)
    groups("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": str(1 << 62)})
    assert machine.memory_limit() == (total, None)


def test_linker(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert machine.linker() is None
    (tmp_path / "ld").write_text("#!/bin/sh\n")
    (tmp_path / "ld").chmod(0o755)
    assert machine.linker() == "ld"
