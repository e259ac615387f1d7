"""Compiled objects kept on disk, each under the hash of everything it was made from.

An entry is one immutable file, `sha256(key material).o`: a header with the key and the hash of the object,
then the object. There is no index, nothing is locked and nothing is unpickled. A writer makes a private file,
syncs it and renames it, so a reader sees all of it or nothing; a reader checks both hashes before the bytes
are used as code. Whatever goes wrong is a miss and one warning: a cache never fails a compilation.
"""

import hashlib
import os
import secrets
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"graphc-object-1\n"
HEADER = len(MAGIC) + 64
ABANDONED = 3600.0  # seconds after which another process's unfinished file counts as left behind


class CacheWarning(UserWarning):
    """The compile cache could not be used; the compilation went on without it."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of compiled objects, at most `limit` bytes of them; the least recently used go first."""

    root: Path
    limit: int = 2 << 30

    def get(self, key: str) -> bytes | None:
        """The object stored under the key, verified; None when there is none or it cannot be trusted."""
        try:
            with self._directory() as directory:
                # O_NONBLOCK: were the entry a pipe, opening it would wait for a writer.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(_entry(key), flags, dir_fd=directory)
                try:
                    about = os.fstat(fd)
                    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                        raise OSError(f"{_entry(key)} is not a file of this user")
                    with open(fd, "rb", closefd=False) as file:
                        content = file.read()
                    os.utime(fd)  # the time of last use, for `trim`
                finally:
                    os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn(f"cannot read the compile cache {self.root}: {error}")
            return None
        header, image = content[:HEADER], content[HEADER:]
        if header != MAGIC + bytes.fromhex(key) + hashlib.sha256(image).digest():
            _warn(f"the entry {_entry(key)} in the compile cache {self.root} is damaged; compiling again")
            return None
        return image

    def put(self, key: str, image: bytes) -> bool:
        """Store an object; False, with a warning, when that is not possible."""
        name = f"{os.getpid()}-{secrets.token_hex(8)}.tmp"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._directory() as directory:
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    fd = os.open(name, flags, 0o600, dir_fd=directory)
                    with open(fd, "wb") as file:
                        file.write(MAGIC + bytes.fromhex(key) + hashlib.sha256(image).digest())
                        file.write(image)
                        file.flush()
                        os.fsync(fd)
                    os.rename(name, _entry(key), src_dir_fd=directory, dst_dir_fd=directory)
                    os.fsync(directory)
                except BaseException:
                    _unlink(name, directory)
                    raise
            self.trim()
        except OSError as error:
            _warn(f"cannot write the compile cache {self.root}: {error}")
            return False
        return True

    def trim(self) -> None:
        """Remove the least recently used entries past the limit, and files that writers left behind."""
        with self._directory() as directory:
            found: list[tuple[float, int, str]] = []
            now = time.time()
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if entry.name.endswith(".tmp") and now - about.st_mtime > ABANDONED:
                        _unlink(entry.name, directory)
                    elif entry.name.endswith(".o"):
                        found.append((about.st_mtime, about.st_size, entry.name))
            total = sum(size for _, size, _ in found)
            for _, size, name in sorted(found):
                if total <= self.limit:
                    break
                _unlink(name, directory)
                total -= size

    @contextmanager
    def _directory(self) -> Iterator[int]:
        """The directory, opened once and checked: names are then taken relative to what was checked."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            about = os.fstat(fd)
            if about.st_uid != os.geteuid():
                raise PermissionError(f"it belongs to user {about.st_uid}")
            if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError("others may write to it")
            yield fd
        finally:
            os.close(fd)


def default() -> Cache:
    """The user's cache: $XDG_CACHE_HOME/graphc, else ~/.cache/graphc."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Cache((Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "graphc")


def key(*parts: str | bytes) -> str:
    """The hash of everything that decides what an object contains.

    >>> key("a", "bc") == key("ab", "c")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _entry(key: str) -> str:
    return f"{key}.o"


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # gone already, or the next `trim` finds it again


_warned: set[str] = set()


def _warn(message: str) -> None:
    """One warning for each trouble, however often it comes."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, CacheWarning, stacklevel=4)
