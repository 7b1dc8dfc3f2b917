"""Size and checksum of files that a record names, so that whoever trusts the record can trust the files.

For files whose formats have no place for a checksum: tables as text, and files that other libraries write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

from .file_identity import hash_stream
from .records import DamagedFileError


class FileDigest(TypedDict):
    """Size of a file and the XXH3 checksum of its bytes."""

    bytes: int
    xxh3: str


def digest_file(path: Path, n_bytes: int | None = None) -> FileDigest:
    """Return size and checksum of a file.

    Args:
        path: The file.
        n_bytes: Number of bytes from its start that count; all by default.
    """
    with path.open("rb", buffering=0) as file:
        checksum, size = hash_stream(file, n_bytes=n_bytes)
    return {"bytes": size, "xxh3": checksum}


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
    """Return size and checksum of files by their names, which are relative to a folder."""
    return {name: digest_file(folder / name) for name in names}


def check_files(folder: Path, files: Mapping[str, FileDigest], advice: str) -> None:
    """Compare files with the digests that a record has of them.

    Args:
        folder: Folder of the files.
        files: Digests by name.
        advice: What to do about a damaged file, to end the error message.

    Raises:
        DamagedFileError: A file is missing, cannot be read, or differs.
    """
    for name, expected in files.items():
        path = folder / name
        try:
            # A file of another size is not read.
            differs = path.stat().st_size != expected["bytes"] or digest_file(path) != expected
        except FileNotFoundError as error:
            raise DamagedFileError(f"{path} is missing; {advice}.") from error
        except OSError as error:
            raise DamagedFileError(f"{path} cannot be read: {error.strerror}; {advice}.") from error
        if differs:
            raise DamagedFileError(f"{path} does not match its checksum, so it is damaged or was edited; {advice}.")


__all__ = ["FileDigest", "check_files", "digest_file", "digest_files"]
