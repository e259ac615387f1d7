"""Outputs that appear whole or not at all.

What is written goes beside its destination under a hidden name first, is flushed to the disk, and takes its place by a
rename, so that a reader, a crash or a full disk never meets half of it.  What was there before stays until then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from graphc.errors import OutputError

_HIDDEN = ".graphc-"


def write_file(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file, replacing one that is there.

    Raises OutputError when it cannot be written; then nothing has changed.
    """
    target = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with _told_of(target):
        if target.is_dir():
            raise OutputError(f"{target} is a folder, not a file", fix="give another name with -o")
        real = target.resolve()  # through a symbolic link: its target is what is replaced
        handle, name = tempfile.mkstemp(prefix=_HIDDEN, dir=_parent(real))
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), _mode(real))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, real)
        except BaseException:  # an interrupt too must leave nothing behind
            temporary.unlink(missing_ok=True)
            raise
        _sync(real.parent)


@contextlib.contextmanager
def folder(path: str | os.PathLike[str], *, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Fill a folder that takes its place when the block ends without an error.

    An existing folder is replaced as a whole, with everything in it, if it is empty or `ours(path)` says that graphc
    wrote it; anything else is refused.

    >>> with tempfile.TemporaryDirectory() as there:
    ...     with folder(f"{there}/lenet.graphc", ours=lambda old: (old / "manifest.json").exists()) as new:
    ...         _ = (new / "manifest.json").write_text("{}")
    ...     os.listdir(f"{there}/lenet.graphc")
    ['manifest.json']
    """
    target = Path(path)
    with _told_of(target):
        refuse_foreign(target, ours)
        real = target.resolve()
        temporary = Path(tempfile.mkdtemp(prefix=_HIDDEN, dir=_parent(real)))
    try:
        try:
            yield temporary
        except OSError as error:
            raise _refusal(target, error) from error
        with _told_of(target):
            temporary.chmod(0o777 & ~_umask())
            for each in sorted(temporary.rglob("*")):
                _sync(each)
            _sync(temporary)
            refuse_foreign(target, ours)  # it may have appeared meanwhile
            _swap(temporary, real)
            _sync(real.parent)
    finally:
        _remove(temporary)


def refuse_foreign(target: Path, ours: Callable[[Path], bool]) -> None:
    """Raise OutputError if `folder` would not replace what is there; to be asked before the work is done."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise OutputError(
            f"{target} exists and is not a folder", fix="give another name with -o, or remove it"
        )
    if any(target.iterdir()) and not ours(target):
        raise OutputError(
            f"{target} exists and is not an artefact of graphc",
            cause="an artefact replaces its folder as a whole, and this one holds something else",
            fix="give another name with -o, or remove it",
        )


def _swap(new: Path, target: Path) -> None:
    """Put `new` in the place of `target`; what was there goes away afterwards."""
    if not os.path.lexists(target):
        os.rename(new, target)
        return
    if _exchange(new, target):
        return
    old = Path(tempfile.mkdtemp(prefix=_HIDDEN, dir=target.parent))
    try:
        os.rename(target, old / "old")
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old / "old", target)
            raise
    finally:
        _remove(old)


def _exchange(new: Path, target: Path) -> bool:
    """Linux exchanges two names in one step, so that the target is never missing; False where that is not known."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    current, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fs.h
    return bool(call(current, os.fsencode(new), current, os.fsencode(target), exchange) == 0)


def _remove(path: Path) -> None:
    for _ in range(2):  # a passing fault must not leave a hidden folder behind
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, or those of a new one."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Flush a file or the list of names in a folder to the disk; some file systems cannot flush a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


_REASONS = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files of this size are not allowed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ELOOP: "symbolic links go in a circle",
}


@contextlib.contextmanager
def _told_of(target: Path) -> Iterator[None]:
    """What the operating system refuses becomes an OutputError that names the output."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refusal(target, error) from error
    except RuntimeError as error:  # Path.resolve before Python 3.13: symbolic links in a circle
        raise OutputError(f"cannot write {target}: {error}", fix="give another place with -o") from error


def _refusal(target: Path, error: OSError | ValueError) -> OutputError:
    said = getattr(error, "strerror", None) or str(error)
    reason = _REASONS.get(getattr(error, "errno", None) or 0, said)
    return OutputError(f"cannot write {target}: {reason}", fix="give another place with -o")
