"""Identity of input files: name, size, time of modification, and a digest of their bytes as stored on disk.

The digest is computed while a file is read for the work itself. A file whose name, size and time are those that were
recorded is trusted; otherwise its digest decides. A file rewritten with the same size and the same time of modification
cannot be noticed without reading it.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xxhash

from biomeformer.errors import ReadFileError

_CHUNK_BYTES = 4 << 20
# Digests of files that were read whole, by device, inode, size and times; the oldest are forgotten.
_MOST_REMEMBERED = 1 << 16
_digests: dict[tuple[int, ...], str] = {}
_digests_lock = threading.Lock()

Comparison = Literal["same", "same content", "changed"]


@dataclass(frozen=True)
class FileIdentity:
    """What a file was when it was read.

    Attributes:
        name: Its path as it was written, such as in a table.
        size: In bytes.
        mtime_ns: Time of its last modification.
        digest: XXH3 of its bytes as stored on disk; None where version 0.1 recorded the file, without `mtime_ns`.
    """

    name: str
    size: int
    mtime_ns: int
    digest: str | None

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("a file has no negative size")

    @property
    def record(self) -> list[Any]:
        """The fields, as JSON values."""
        return [self.name, self.size, self.mtime_ns, self.digest]

    @classmethod
    def from_record(cls, record: Any) -> FileIdentity:
        """Return the identity of a record: that of `record`, or the name and size that version 0.1 wrote.

        Raises:
            ValueError: It is neither.
        """
        kinds = [type(value) for value in record] if isinstance(record, list) else []
        if kinds == [str, int]:
            return cls(Path(record[0]).name, record[1], 0, None)
        if kinds != [str, int, int, str]:
            raise ValueError("not the identity of a file")
        return cls(*record)


@dataclass(frozen=True)
class InputFile:
    """A file to be read.

    Attributes:
        path: Where it is.
        name: Its path as it was written, such as in a table.
        size: In bytes.
        mtime_ns: Time of its last modification.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int

    @classmethod
    def from_path(cls, path: Path, root: Path | None = None) -> InputFile:
        """Look a file up.

        Args:
            path: The file.
            root: The folder that its path was written relative to; by default the path was written as it is.

        Raises:
            ReadFileError: It cannot be opened.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise ReadFileError(f"{path} cannot be opened: {error.strerror or error}; check the path") from error
        name = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
        return cls(path, str(name), status.st_size, status.st_mtime_ns)

    def identify(self, check: Callable[[], None] | None = None) -> FileIdentity:
        """Return the file's identity, with the digest of when it was read, or else by reading it now.

        Args:
            check: Called between chunks if the file is read; what it raises ends the reading.

        Raises:
            ReadFileError: It cannot be read.
        """
        digest, status = digest_file(self.path, check)
        return FileIdentity(self.name, status.st_size, status.st_mtime_ns, digest)


def identify_files(files: Iterable[InputFile]) -> tuple[FileIdentity, ...]:
    """Return the identities of files that were read.

    Raises:
        ReadFileError: One was changed since it was looked up, or cannot be read.
    """
    identities = []
    for file in files:
        identity = file.identify()
        if (identity.size, identity.mtime_ns) != (file.size, file.mtime_ns):
            raise ReadFileError(f"{file.path} was changed while the run was under way; give the same command again.")
        identities.append(identity)
    return tuple(identities)


def compare_files(
    recorded: Sequence[FileIdentity], files: Sequence[InputFile], check: Callable[[], None] | None = None
) -> Comparison:
    """Tell whether files are those that were recorded, in their order; reads them only where that is needed.

    Args:
        recorded: What they were.
        files: What they are.
        check: As for `InputFile.identify`.

    Returns:
        `same`, as far as names, sizes and times tell; `same content` if a name or time differs and no digest does; or
        `changed`. Of files that version 0.1 recorded, names without folders and sizes decide.
    """
    if [file.size for file in recorded] != [file.size for file in files]:
        return "changed"
    comparison: Comparison = "same"
    for before, now in zip(recorded, files, strict=True):
        if before.digest is None:
            if before.name != now.path.name:
                return "changed"
        elif (before.name, before.mtime_ns) != (now.name, now.mtime_ns):
            comparison = "same content"
            if now.identify(check).digest != before.digest:
                return "changed"
    return comparison


def digest_file(path: Path, check: Callable[[], None] | None = None) -> tuple[str, os.stat_result]:
    """Return the digest of a file's bytes as stored on disk, and its status; it is read unless it was read before.

    Args:
        path: The file.
        check: Called between chunks; what it raises ends the reading.

    Raises:
        ReadFileError: It cannot be read.
    """
    try:
        status = path.stat()
        digest = _digests.get(_key(status))
        if digest is None:
            with path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                digest = f"xxh3:{hash_stream(file, check)[0]}"
            _remember(status, digest)
    except OSError as error:
        raise ReadFileError(f"{path} cannot be opened: {error.strerror or error}; check the path") from error
    return digest, status


def hash_stream(
    file: io.RawIOBase, check: Callable[[], None] | None = None, n_bytes: int | None = None
) -> tuple[str, int]:
    """Return the XXH3 hash of the bytes of an open file, and their number.

    Args:
        file: The file, at its start.
        check: Called between chunks; what it raises ends the reading.
        n_bytes: Number of bytes that count; all by default.
    """
    hasher, size = xxhash.xxh3_128(), 0
    while chunk := file.read(_CHUNK_BYTES if n_bytes is None else min(_CHUNK_BYTES, n_bytes - size)):
        hasher.update(chunk)
        size += len(chunk)
        if check is not None:
            check()
    return hasher.hexdigest(), size


class ReadDigest:
    """The digest of a file that is being read from its start, remembered once its end is reached.

    Args:
        file: The file, just opened.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._hasher: Any = xxhash.xxh3_128()
        self._status = os.fstat(file.fileno())

    def update(self, data: bytes) -> None:
        """Take note of the next bytes, none at the end of the file."""
        if data:
            self._hasher.update(data)
            return
        # Not of a file that was written to meanwhile.
        if _key(os.fstat(self._file.fileno())) == _key(self._status):
            _remember(self._status, f"xxh3:{self._hasher.hexdigest()}")


def inode_of(path: Path) -> tuple[int, int]:
    """Return what a file has in common with links to it: device and inode."""
    status = path.stat()
    return status.st_dev, status.st_ino


def find_shared(files_of: Iterable[tuple[str, Iterable[Any]]]) -> tuple[str, str, Any] | None:
    """Return two items that have a file in common, and the file; None if there are none.

    Args:
        files_of: Items and what stands for their files, such as inodes or digests.
    """
    owner: dict[Any, str] = {}
    for item_id, files in files_of:
        for file in files:
            other = owner.setdefault(file, item_id)
            if other != item_id:
                return other, item_id, file
    return None


def _key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remember(status: os.stat_result, digest: str) -> None:
    with _digests_lock:
        while len(_digests) >= _MOST_REMEMBERED:
            del _digests[next(iter(_digests))]
        _digests[_key(status)] = digest


__all__ = [
    "Comparison",
    "FileIdentity",
    "InputFile",
    "ReadDigest",
    "compare_files",
    "digest_file",
    "find_shared",
    "hash_stream",
    "identify_files",
    "inode_of",
]
