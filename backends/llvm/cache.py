"""What was compiled, kept on disk, each entry under the hash of everything it was made from.

An entry is one immutable file, `sha256(key material).o`: a header with the key and the hash of the content,
then the content. There is no index, nothing is locked and nothing is unpickled. A writer makes a private file
and renames it, so a reader sees all of it or nothing; a reader checks key and hash before the bytes are used
as code, so a file that a crash of the machine cut short is not used either. Whatever goes wrong is a miss and
one warning: a cache never fails a compilation.
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

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm.digest import CHUNK, Buffer, digest, digest_of
from graphc.backends.llvm.huge_pages import page_memory

MAGIC = b"graphc-object-2\n"
HEADER = len(MAGIC) + 64
ABANDONED = 3600.0  # seconds after which another process's unfinished file counts as left behind


class CacheWarning(UserWarning):
    """The compile cache could not be used; the compilation went on without it."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of compiled things, at most `limit` bytes of them; the least recently used go first."""

    root: Path
    limit: int = 2 << 30

    def get(self, key: str) -> bytes | None:
        """The content stored under the key, verified; None when there is none or it cannot be trusted."""
        content = self.get_array(key)
        return None if content is None else content.tobytes()

    def get_array(self, key: str) -> NDArray[np.uint8] | None:
        """`get` in memory that begins at a page, and may be written to."""
        try:
            with self._directory() as directory:
                # O_NONBLOCK: were the entry a pipe, opening it would wait for a writer.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(_entry(key), flags, dir_fd=directory)
                try:
                    about = os.fstat(fd)
                    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                        raise OSError(f"{_entry(key)} is not a file of this user")
                    header = os.pread(fd, HEADER, 0)
                    size = max(about.st_size - HEADER, 0)
                    content = page_memory(size)[:size]
                    hashed = digest_of(range(0, size, CHUNK), lambda at: _read(fd, content[at:][:CHUNK], at))
                    os.utime(fd)  # the time of last use, for `trim`
                finally:
                    os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn(f"cannot read the compile cache {self.root}: {error}")
            return None
        if header != MAGIC + bytes.fromhex(key) + hashed:
            _warn(f"the entry {_entry(key)} in the compile cache {self.root} is damaged; compiling again")
            return None
        return content

    def put(self, key: str, *content: Buffer) -> bool:
        """Store some bytes, one after the other; False, with a warning, when that is not possible."""
        name = f"{os.getpid()}-{secrets.token_hex(8)}.tmp"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._directory() as directory:
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    fd = os.open(name, flags, 0o600, dir_fd=directory)
                    with open(fd, "wb") as file:
                        file.write(MAGIC + bytes.fromhex(key) + digest(*content))
                        for part in content:
                            file.write(part)
                    os.rename(name, _entry(key), src_dir_fd=directory, dst_dir_fd=directory)
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
    digest = hashlib.sha256(MAGIC)  # entries of another format are not looked at
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(fd: int, memory: NDArray[np.uint8], at: int) -> bytes:
    """Fill the memory from this place of the content; its hash. What a file lacks that became shorter stays 0."""
    rest = memory.data
    while len(rest) and (count := os.preadv(fd, [rest], HEADER + at)):
        rest, at = rest[count:], at + count
    return hashlib.sha256(memory.data).digest()


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
