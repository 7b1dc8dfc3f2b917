"""Folders of sessions: what a visitor uploads and gets is deleted when the page is closed, or when the server ends."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError

READ_SUFFIXES = (".fastq", ".fq", ".fasta", ".fa", ".fna")
GENOME_SUFFIXES = (".fasta", ".fa", ".fna", ".faa", ".gbk", ".gb", ".gbff", ".gff", ".gff3")
COMPRESSION_SUFFIXES = ("", ".gz", ".bz2", ".xz", ".zst")


class Sessions:
    """Temporary folders, one per session, within one that Gradio keeps uploads in.

    Attributes:
        root: The folder of all; the caller of `close` deletes it.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="biomeformer-app-")).resolve()
        self._uploads: dict[str, set[Path]] = defaultdict(set)

    def folder(self, session: str) -> Path:
        """Return the folder of a session, which is made if need be."""
        folder = self.root / f"session-{hashlib.sha256(session.encode()).hexdigest()[:16]}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def uploaded(self, session: str, paths: Iterable[str | Path]) -> None:
        """Take note of what a session uploaded."""
        self._uploads[session] |= {Path(path) for path in paths if self._is_ours(Path(path))}

    def take(self, session: str, path: str | Path, stem: str, suffixes: tuple[str, ...]) -> Path:
        """Move an upload into the session's folder, under a name of ours.

        Args:
            session: The session.
            path: Where the server put the file.
            stem: The name it gets.
            suffixes: Suffixes that are accepted.

        Raises:
            InputError: The name has none of the suffixes, or the file is gone.
        """
        source = Path(path)
        name = source.name.lower()
        known = (kind + how for kind in suffixes for how in COMPRESSION_SUFFIXES)
        suffix = next((each for each in known if name.endswith(each)), None)
        if suffix is None:
            raise InputError(
                f"{source.name}: this kind of file is not read here; give one that ends in {', '.join(suffixes)}, also "
                "compressed (.gz, .bz2, .xz, .zst)."
            )
        if not self._is_ours(source) or not source.is_file():
            raise InputError(f"{source.name} is not on the server any more; choose the file again.")
        target = self.folder(session) / f"{stem}{suffix}"
        shutil.move(source, target)
        self._forget(source)
        self._uploads[session].discard(source)
        return target

    def end(self, session: str) -> None:
        """Delete all that a session uploaded and got."""
        for path in self._uploads.pop(session, ()):
            self._forget(path)
        shutil.rmtree(self.folder(session), ignore_errors=True)

    def close(self) -> None:
        """Delete the folders of all sessions."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _is_ours(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root) and not path.is_symlink()

    def _forget(self, path: Path) -> None:
        """Delete an upload and the folder that Gradio made for it."""
        path.unlink(missing_ok=True)
        if path.parent != self.root:
            try:
                os.rmdir(path.parent)
            except OSError:
                # It holds something else, or is gone.
                pass


__all__ = ["GENOME_SUFFIXES", "READ_SUFFIXES", "Sessions"]
