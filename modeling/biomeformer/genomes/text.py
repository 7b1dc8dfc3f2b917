"""Read the text of a genome's file, plain or compressed."""

from __future__ import annotations

from pathlib import Path

from ..errors import GenomeError, InputError
from ..io.compression import StreamError, open_bytes


def read_text(path: Path) -> str:
    """Return the decompressed text of a file. FASTA must be ASCII; other formats may be UTF-8.

    Raises:
        GenomeError: The file cannot be opened, its compressed stream is damaged, or it is empty or not such text.
    """
    try:
        with open_bytes(path) as stream:
            content = stream.read()
    except StreamError as error:
        raise GenomeError(f"{path}: {error}.") from error
    except InputError as error:
        raise GenomeError(f"{str(error).rstrip('.')}.") from error
    if not content.strip():
        raise GenomeError(f"{path} is empty; give a FASTA, GenBank or GFF3 file.")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise GenomeError(f"{path}, line {line}: a NUL byte, so the file is damaged or no text; copy it again.")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        # Names of products in annotations are often UTF-8; sequences never are.
        if not content.lstrip().startswith(b">"):
            try:
                return content.decode("utf-8")
            except UnicodeDecodeError:
                pass
        line = content.count(b"\n", 0, error.start) + 1
        raise GenomeError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is no ASCII text; save the file as plain text."
        ) from None


__all__ = ["read_text"]
