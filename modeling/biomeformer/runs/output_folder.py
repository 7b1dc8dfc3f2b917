"""Ownership of an output folder: a record of what was written there, without which nothing is deleted.

    FOLDER/.biomeformer.json      which kind of command wrote to the folder, and the names of its files and folders

A run over items has this record in its own folder, `run/output.json`.

Starting over deletes the entries of that record alone. A link is deleted itself, never what it points to, and nothing
is deleted behind a link.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from ..errors import InputError
from ..io.atomic import atomic_directory, is_partial
from ..io.records import RecordType

RECORD = ".biomeformer.json"
FORMAT_VERSION = 1


class Ownership(msgspec.Struct):
    """Content of the record.

    Attributes:
        format_version: Version of the record.
        writer: Kind of command that wrote to the folder.
        entries: Files and folders that it wrote, relative to the folder.
    """

    format_version: int
    writer: str
    entries: list[str]


OWNERSHIP = RecordType(Ownership, "give another folder, or delete this file if the folder is to be kept")


class OutputFolder:
    """A folder that a command writes to.

    Args:
        folder: The folder; of a link, where it points to.
        writer: Kind of command, such as `phenotype evaluate`; another kind's folder is not overwritten.
        ignored: Names of entries that do not make the folder one with content, such as a lock.
        record: Name of the record.
    """

    def __init__(self, folder: str | Path, writer: str, ignored: Collection[str] = (), *, record: str = RECORD) -> None:
        self.folder = Path(folder)
        self.writer, self.ignored, self.record = writer, frozenset(ignored), record

    def ownership(self) -> Ownership | None:
        """Return the folder's record, or None if it has none.

        Raises:
            DamagedFileError: It is damaged.
        """
        try:
            return OWNERSHIP.read(self.folder / self.record)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def has_content(self) -> bool:
        """Tell whether the folder has files or folders, other than the record, ignored and partial ones."""
        if not self.folder.is_dir():
            return False
        names = (path.name for path in self.folder.iterdir() if not is_partial(path))
        return any(name != self.record and name not in self.ignored for name in names)

    def check(self, *, overwrite: bool = False, can_overwrite: bool = True) -> None:
        """Check that the folder is new or empty or, to overwrite it, that this kind of command wrote to it.

        Args:
            overwrite: Whether what its record names may be replaced.
            can_overwrite: Whether the command has `--overwrite`, for the advice.

        Raises:
            InputError: It is a file, or has content that is not to be overwritten.
        """
        if not self.folder.is_dir():
            if self.folder.exists() or self.folder.is_symlink():
                raise InputError(f"{self.folder} is a file, not a folder; give a new one.")
            return
        if not self.has_content():
            return
        if not overwrite:
            advice = "give a new one, or --overwrite" if can_overwrite else "give a new one"
            raise InputError(f"{self.folder} is a folder that is not empty; {advice}.")
        self.require_own()

    def require_own(self) -> Ownership:
        """Return the folder's record.

        Raises:
            InputError: There is none, or another kind of command wrote to the folder.
        """
        ownership = self.ownership()
        if ownership is None:
            raise InputError(
                f"{self.folder} has no record of what a run wrote there ({self.record}), so nothing in it is deleted; "
                "give a new folder, or delete what it holds yourself."
            )
        if ownership.writer != self.writer:
            raise InputError(
                f"{self.folder} was written by `{ownership.writer}` and is not overwritten by `{self.writer}`; give "
                "another folder."
            )
        return ownership

    def claim(self, names: Iterable[str], *, adopt: bool = False) -> None:
        """Record that the command writes entries of these names.

        Args:
            names: Files and folders, relative to the folder, which must exist.
            adopt: Whether existing entries count as the command's own though no record names them.

        Raises:
            InputError: An entry exists and is not the command's own.
        """
        names = list(names)
        ownership = self.ownership()
        known = [] if ownership is None else self.require_own().entries
        new = [name for name in names if name not in known]
        if not adopt:
            self._require_absent(new)
        if new or ownership is None:
            self._write([*known, *new])

    def delete(self) -> None:
        """Delete the entries that the record names; the record stays.

        Raises:
            InputError: There is no record, or an entry lies behind a link.
            OSError: An entry cannot be deleted.
        """
        delete_entries(self.folder, self.require_own().entries)

    @contextmanager
    def publish(self, *, locked: bool = True) -> Iterator[Path]:
        """Yield a partial folder to write to; on success replace what the command wrote before by its content.

        Other files in the folder are kept.

        Args:
            locked: Whether the caller holds the folder's lock.

        Raises:
            InputError: The folder has content and no record, or an entry of the same name is not the command's own.
        """
        folder = self.folder.resolve()
        is_own = self.has_content() or self.ownership() is not None
        known = self.require_own().entries if is_own else []
        with atomic_directory(folder, existing="merge" if is_own else "refuse", locked=locked) as partial:
            yield partial
            names = sorted(path.name for path in partial.iterdir())
            self._require_absent([name for name in names if name not in known])
            # In a folder that exists, what is recorded comes before what is moved there.
            target = folder if is_own else partial
            self._write([*names, *(name for name in known if name not in names)], target)
        stale = [name for name in known if PurePosixPath(name).parts[0] not in names]
        if stale:
            delete_entries(folder, stale)
            self._write(names)

    def _require_absent(self, names: Iterable[str]) -> None:
        for name in names:
            if os.path.lexists(self.folder / name):
                raise InputError(
                    f"{self.folder / name} exists and was not written by this command; move it, or give another folder."
                )

    def _write(self, entries: list[str], folder: Path | None = None) -> None:
        content = {"format_version": FORMAT_VERSION, "writer": self.writer, "entries": entries}
        OWNERSHIP.write((folder or self.folder) / self.record, content)


def delete_entries(folder: Path, entries: Iterable[str]) -> None:
    """Delete files and folders within a folder, if they exist: links themselves, never what they point to.

    Args:
        folder: The folder; of a link, where it points to.
        entries: Names relative to it.

    Raises:
        InputError: A name leads out of the folder, or behind a link.
        OSError: An entry cannot be deleted.
    """
    root = folder.resolve()
    paths = []
    for name in entries:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise InputError(f"the record of {folder} names {name!r}, which is not within it; nothing is deleted.")
        path = root.joinpath(*parts)
        if path.parent.resolve() != path.parent:
            raise InputError(
                f"{path} lies behind a link, so nothing is deleted; remove the link, or give a new folder."
            )
        paths.append(path)
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


__all__ = ["RECORD", "OutputFolder", "delete_entries"]
