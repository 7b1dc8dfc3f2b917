"""Stream the contigs of a reference genome, with one contig in memory at a time."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import InputError
from ..io.compression import DecompressedStream, StreamError
from ..io.nucleotides import FOLD, bad_letter

BLOCK_BYTES = 1 << 20
LINE_ENDS = b"\r\n \t"


def stream_contigs(path: Path, requested: Collection[str]) -> Iterator[tuple[str, bytearray | None]]:
    """Yield the name of each contig of a FASTA, and its folded sequence if it is among the requested ones, else None.

    The file is read once, in blocks; requested contigs are in memory one at a time. Reading stops after the last of
    them.

    Raises:
        InputError: The file cannot be read, is not FASTA, names a requested contig twice, or has a letter that is not a
            nucleotide in one.
    """
    left, seen = set(requested), set[str]()
    try:
        for name, sequence in _contigs(path, requested):
            if sequence is not None:
                if name in seen:
                    raise InputError(f"{path} has two contigs {name!r}; give each a name of its own.")
                seen.add(name)
                left.discard(name)
            yield name, sequence
            if not left:
                return
    except StreamError as error:
        raise InputError(f"{path}: {error}.") from error


def _contigs(path: Path, requested: Collection[str]) -> Iterator[tuple[str, bytearray | None]]:
    name: str | None = None
    header: bytearray | None = None
    sequence: bytearray | None = None
    at_line_start = is_first = True
    with DecompressedStream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            position = len(codecs.BOM_UTF8) if is_first and block.startswith(codecs.BOM_UTF8) else 0
            is_first = False
            while position < len(block):
                if header is not None:
                    end = block.find(b"\n", position)
                    header += block[position : end if end >= 0 else len(block)]
                    if end < 0:
                        break
                    name = _name(path, bytes(header))
                    sequence = bytearray() if name in requested else None
                    header, position, at_line_start = None, end + 1, True
                    continue
                if at_line_start and block[position] == ord(">"):
                    if name is not None:
                        yield name, sequence
                    name, header, position, sequence = None, bytearray(), position + 1, None
                    continue
                border = block.find(b"\n>", position)
                end = len(block) if border < 0 else border + 1
                if sequence is not None:
                    bases = block[position:end].translate(FOLD, LINE_ENDS)
                    letter = bad_letter(bases)
                    if letter is not None:
                        raise InputError(f"{path}, contig {name!r}: {letter!r} is not an IUPAC nucleotide letter.")
                    sequence += bases
                elif name is None and block[position:end].strip():
                    head = block[position : position + 20]
                    raise InputError(f"{path} is not FASTA: it begins with {head!r}, not with '>'.")
                at_line_start, position = block[end - 1] == ord("\n"), end
    if header is not None:
        name, sequence = _name(path, bytes(header)), None
    if name is None:
        raise InputError(f"{path} has no FASTA record; one begins with '>' and a name.")
    yield name, sequence


def _name(path: Path, header: bytes) -> str:
    words = header.decode("utf-8", "replace").split(maxsplit=1)
    if not words:
        raise InputError(f"{path}: a record has no name; write one after '>'.")
    return words[0]


__all__ = ["stream_contigs"]
