"""Atomic writes: a file or folder is either complete under its name or absent, even after a crash or a power cut.

Content is written under a partial name beside its target, flushed to disk, and renamed. A partial name contains the
process and host that write it, so that leftovers of a killed process can be distinguished from ongoing writes:

    .PID-HOST-NUMBER.partial.NAME     content being written
    .PID-HOST-NUMBER.replaced.NAME    the previous folder NAME, while it is being replaced
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from ..errors import BiomeformerError, InputError, RunError, WriteError
from .locks import FolderLock

# Earlier versions used the process alone; without the host, it cannot be determined whether the process still runs.
_PARTIAL = re.compile(r"\.(?P<pid>\d+)(-(?P<host>[0-9a-f]{8})-\d+)?\.(?P<state>partial|replaced)\.(?P<name>.+)", re.S)
_counter = itertools.count()
# What file systems refuse whichever the file, by number and, of libraries that give text alone, by text.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_DISK_ERROR_TEXT = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|File too large|"
    r"PytorchStreamWriter failed writing",
    re.I,
)
# Names of this process's partial paths, and folders in which it has already removed stale ones.
_active: set[str] = set()
_swept: set[Path] = set()

Existing = Literal["refuse", "replace", "merge"]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path` to write a file to; rename it to `path` on success, else delete it.

    The file gets the permissions of the umask, whatever the writer set, and is flushed to disk before it is renamed.
    The partial name has the same suffix as `path`, for writers that infer the format from it.

    Raises:
        WriteError: The file system refuses to write.
    """
    with _explain_write_errors(path), _partial_path(path) as partial:
        _remove_stale_once(path.parent)
        mode = _file_mode(partial)
        yield partial
        _settle(partial, mode)
        os.replace(partial, path)
        _flush(path.parent)


@contextmanager
def atomic_directory(folder: str | Path, *, existing: Existing = "refuse", locked: bool = False) -> Iterator[Path]:
    """Yield a partial folder beside `folder` to write to; `publish_directory` it on success, else delete it.

    The folder is locked meanwhile. Parent folders are created, and removed again on failure if they are empty.

    Args:
        folder: Target folder; must be new or empty unless `existing` says otherwise.
        existing: `refuse`, `replace` or `merge`, as for `publish_directory`.
        locked: Whether the caller holds the folder's lock, or that of a folder around it.

    Raises:
        InputError: The target is a file, a folder with content and `existing` is `refuse`, or in use.
        WriteError: The file system refuses to write.
    """
    folder = Path(folder).absolute()
    _check_target(folder, existing)
    created = [parent for parent in folder.parents if not parent.exists()]
    try:
        with _explain_write_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with nullcontext() if locked else FolderLock.beside(folder), _partial_path(folder) as partial:
                with suppress(PermissionError):
                    remove_stale_partials(folder.parent, locked_name=folder.name)
                partial.mkdir()
                yield partial
                publish_directory(partial, folder, existing=existing)
    except BaseException:
        for parent in created:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def publish_directory(partial: Path, folder: Path, *, existing: Existing = "refuse") -> None:
    """Flush a complete folder to disk and rename it to its target.

    Files get the permissions of the umask, whatever their writers set.

    Args:
        partial: Folder with the content, on the same file system; it is moved.
        folder: Target folder, beside `partial`.
        existing: How to treat a target with content: `refuse` raises, `replace` replaces it as a whole, `merge`
            replaces entries of the same name one by one in alphabetical order and keeps others.

    Raises:
        InputError: The target is a file, or has content and `existing` is `refuse`.
    """
    mode = _file_mode(partial / ".mode")
    for directory, _, names in os.walk(partial, topdown=False):
        for name in names:
            _settle(Path(directory, name), mode)
        _flush(Path(directory))
    _check_target(folder, existing)
    if existing == "merge" and folder.is_dir():
        for path in sorted(partial.iterdir()):
            _move(path, folder / path.name)
        _flush(folder)
        partial.rmdir()
    else:
        _move(partial, folder)
    _flush(folder.parent)


def write_json(path: Path, record: Any, *, indent: int | None = 1, **options: Any) -> None:
    """Write a JSON file atomically, in UTF-8 and with a final line break.

    Args:
        path: The file.
        record: JSON values.
        indent: Blanks per level, or None for a single line.
        **options: Passed to `json.dumps`.
    """
    text = json.dumps(record, indent=indent, **options)
    with atomic_write(path) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def is_partial(path: Path) -> bool:
    """Tell whether a path is a partial one: being written, or left by a process that was killed."""
    return _PARTIAL.fullmatch(path.name) is not None


def remove_stale_partials(folder: Path, *, exclusive: bool = False, locked_name: str | None = None) -> None:
    """Delete partial files and folders left by killed processes, and restore a folder that one was replacing.

    Only files and folders of this user are touched.

    Args:
        folder: Folder to search, without its subfolders.
        exclusive: Whether the caller holds a lock on the folder, so that processes of other hosts cannot be writing
            either. Otherwise partial paths of other hosts and of earlier versions are kept. Those of running processes
            of this host are always kept.
        locked_name: Name of the one entry that the caller holds a lock on; `exclusive` for its partial paths alone.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _PARTIAL.fullmatch(path.name)
        if match is None or path.name in _active:
            continue
        if not _is_dead(match, exclusive or match["name"] == locked_name):
            continue
        # Another process may be removing the same ones.
        with suppress(FileNotFoundError):
            target = path.with_name(match["name"])
            if not _is_own(path):
                continue
            if match["state"] == "replaced" and not target.exists():
                os.replace(path, target)
            else:
                _delete(path)


@contextmanager
def wrap_write_errors(folder: str | Path) -> Iterator[None]:
    """Turn a file system error into one that names the folder of the run and says that the run can be resumed.

    Raises:
        RunError: A file cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise RunError(
            f"{folder} cannot be written to: {reason}; finished samples are kept: fix the cause and give the same "
            "command again."
        ) from error


def disk_error(error: BaseException) -> str | None:
    """Return why a file system refuses to write any file, such as a full disk; None for other errors."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return error.strerror or str(error)
    # tokenizers raises `Exception` itself.
    if isinstance(error, OSError | RuntimeError | SafetensorError) or type(error) is Exception:
        match = _DISK_ERROR_TEXT.search(str(error))
        return match.group() if match else None
    return None


def write_error(path: str | Path, reason: str) -> WriteError:
    """Return the error of a file or folder that cannot be written."""
    return WriteError(
        f"{path} cannot be written: {reason}; fix the cause, such as by freeing space, or write elsewhere.", reason
    )


def describe_error(error: BaseException) -> str | None:
    """Return one sentence on an error of the file system that no reader or writer explained; None for other errors."""
    reason = disk_error(error)
    path = getattr(error, "filename", None)
    if reason is not None:
        return str(write_error(path or "a file", reason))
    if isinstance(error, PermissionError) and path is not None:
        return f"{path} cannot be read or written: {error.strerror}; change its permissions, or give another path."
    return None


@contextmanager
def _explain_write_errors(target: Path) -> Iterator[None]:
    """Raise `WriteError` for errors of the file system about the target, or about writing in general."""
    try:
        yield
    except BiomeformerError:
        raise
    except Exception as error:
        reason = disk_error(error)
        if reason is None and isinstance(error, OSError):
            named = str(error.filename or "")
            is_target = target.name in named or (named != "" and Path(named) in target.parents)
            # That nothing was written to the partial path is no error of the file system.
            is_unwritten = isinstance(error, FileNotFoundError) and target.parent.is_dir()
            if (is_target and not is_unwritten) or error.errno == errno.EIO:
                reason = error.strerror or str(error)
        if reason is None:
            raise
        raise write_error(target, reason) from error


@contextmanager
def _partial_path(path: Path, state: str = "partial") -> Iterator[Path]:
    partial = path.with_name(f".{os.getpid()}-{_host()}-{next(_counter)}.{state}.{path.name}")
    _active.add(partial.name)
    try:
        yield partial
    finally:
        _delete(partial)
        _active.discard(partial.name)


def _move(source: Path, target: Path) -> None:
    """Rename, replacing an existing target; a folder with content is restored if that fails."""
    if not target.is_dir() or target.is_symlink():
        if source.is_dir() and target.is_symlink():
            target.unlink()
        os.replace(source, target)
    elif source.is_dir() and not any(target.iterdir()):
        target.rmdir()
        os.replace(source, target)
    else:
        with _partial_path(target, "replaced") as former:
            os.replace(target, former)
            try:
                os.replace(source, target)
            except BaseException:
                os.replace(former, target)
                raise


def is_new_or_empty(folder: Path) -> bool:
    """Tell whether a folder can be written without touching anything: it does not exist, or is empty."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _check_target(folder: Path, existing: Existing) -> None:
    if folder.is_dir():
        if existing == "refuse" and any(folder.iterdir()):
            raise InputError(f"{folder} is a folder that is not empty; give a new one.")
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} is a file, not a folder; give a new one.")


def _file_mode(probe: Path) -> int:
    """Return the permissions of a new file, by creating one: the umask cannot be read without changing it."""
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def _settle(path: Path, mode: int) -> None:
    """Set the permissions of a file and flush it to disk; links and folders are left unchanged."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return
    if status.st_mode & stat.S_IXUSR:
        mode |= (mode & 0o444) >> 2
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
    _flush(path)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_stale_once(folder: Path) -> None:
    """Remove stale partials only at the first write to a folder, since listing a large folder is slow."""
    folder = folder.absolute()
    if folder not in _swept:
        _swept.add(folder)
        # The folder may be writable but not listable.
        with suppress(PermissionError):
            remove_stale_partials(folder)


def _is_dead(match: re.Match[str], elsewhere: bool) -> bool:
    """Return whether the process that wrote a partial path has ended; `elsewhere` is the result for other hosts."""
    if match["host"] != _host():
        return elsewhere
    pid = int(match["pid"])
    if pid == os.getpid():
        return True
    if os.name == "nt":
        # On Windows, signal 0 would terminate the process.
        return elsewhere
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _is_own(path: Path) -> bool:
    return os.name == "nt" or path.lstat().st_uid == os.geteuid()


@cache
def _host() -> str:
    """Return a digest of host name and PID namespace, since each container numbers processes on its own."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


__all__ = [
    "atomic_directory",
    "atomic_write",
    "describe_error",
    "disk_error",
    "is_new_or_empty",
    "is_partial",
    "publish_directory",
    "remove_stale_partials",
    "wrap_write_errors",
    "write_error",
    "write_json",
]
