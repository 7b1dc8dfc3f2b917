"""Locks of folders, so that no two processes write to one; the system releases them when a process ends.

A lock is a file that contains who holds it. On several machines it works where their file system has locks.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ..errors import InputError

_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_SECONDS_BETWEEN_ATTEMPTS = 0.05


class FolderInUseError(InputError):
    """A folder that another process is writing to."""


class FolderLock:
    """An exclusive lock on a folder.

    Args:
        folder: The folder, for messages.
        path: The lock's file.
        keep: Whether the file stays once the lock is released.
    """

    def __init__(self, folder: Path, path: Path, *, keep: bool = False) -> None:
        self.folder, self.path, self.keep = folder, path, keep
        self._descriptor: int | None = None

    @classmethod
    def beside(cls, folder: Path) -> FolderLock:
        """Return the lock of a folder that is written as a whole: a file beside it, deleted at the end."""
        folder = folder.resolve()
        return cls(folder, folder.with_name(f".{folder.name}.lock"))

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, timeout: float = 1.0) -> None:
        """Take the lock.

        Args:
            timeout: Seconds to wait for another process that holds it.

        Raises:
            FolderInUseError: Another process holds it.
            OSError: The file cannot be written.
        """
        deadline = time.monotonic() + timeout
        while not self._try_acquire():
            if time.monotonic() > deadline:
                raise FolderInUseError(
                    f"{self.folder} is in use by {_holder(self.path)}; wait until it has ended, or give another folder."
                )
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        assert self._descriptor is not None
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since}) + "\n"
        try:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, content.encode())
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # While the lock is held: whoever opened the file meanwhile notices that it is gone.
        with suppress(OSError):
            if self.keep:
                os.ftruncate(descriptor, 0)
            else:
                self.path.unlink()
        os.close(descriptor)

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _try_acquire(self) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            # The holder before may have deleted the file between the two calls.
            is_current = os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except OSError as error:
            os.close(descriptor)
            if error.errno in _BUSY or isinstance(error, FileNotFoundError):
                return False
            raise
        if not is_current:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True


def is_locked(path: Path) -> bool | None:
    """Return whether a process holds the lock in a file; None where that is unknown."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        _lock(descriptor)
    except OSError as error:
        return True if error.errno in _BUSY else None
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[None]:
    """Hold the lock beside a folder; parent folders are created, and removed again at the end if they are empty.

    Raises:
        FolderInUseError: Another process writes to the folder.
        OSError: The lock cannot be written.
    """
    lock = FolderLock.beside(Path(folder))
    created = [parent for parent in lock.path.parents if not parent.exists()]
    try:
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        with lock:
            yield
    finally:
        with suppress(OSError):
            for parent in created:
                parent.rmdir()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(path: Path) -> str:
    """Describe the process that holds a lock."""
    try:
        holder = json.loads(path.read_text())
        return f"the run that process {holder['pid']} on {holder['host']} started at {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"


__all__ = ["FolderInUseError", "FolderLock", "is_locked", "locked_folder"]
