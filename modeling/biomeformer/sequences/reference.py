"""A reference genome, one contig in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from ..errors import InputError
from ..io.compression import DecompressedStream, StreamError
from .nucleotides import FOLD, bad_letter

BLOCK_BYTES = 1 << 20
LINE_ENDS = b"\r\n \t"


def stream_contigs(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytearray | None]]:
    """Name of each contig of a FASTA, with its folded sequence where it is wanted.

    The file is read once, in blocks, and only the wanted contigs are held, one after the other. Reading stops after the
    last wanted one.

    Raises:
        InputError: The file cannot be read, is no FASTA, names a wanted contig twice, or holds a letter that is no
            nucleotide in one.
    """
    left, seen = set(wanted), set[str]()
    try:
        for name, sequence in _contigs(path, wanted):
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


def _contigs(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytearray | None]]:
    name: str | None = None
    header: bytearray | None = None
    sequence: bytearray | None = None
    at_line_start = True
    with DecompressedStream(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            place = 0
            while place < len(block):
                if header is not None:
                    end = block.find(b"\n", place)
                    header += block[place : end if end >= 0 else len(block)]
                    if end < 0:
                        break
                    name = _name(path, bytes(header))
                    sequence = bytearray() if name in wanted else None
                    header, place, at_line_start = None, end + 1, True
                    continue
                if at_line_start and block[place] == ord(">"):
                    if name is not None:
                        yield name, sequence
                    name, header, place, sequence = None, bytearray(), place + 1, None
                    continue
                border = block.find(b"\n>", place)
                end = len(block) if border < 0 else border + 1
                if sequence is not None:
                    bases = block[place:end].translate(FOLD, LINE_ENDS)
                    letter = bad_letter(bases)
                    if letter is not None:
                        raise InputError(f"{path}, contig {name!r}: {letter!r} is no IUPAC nucleotide letter.")
                    sequence += bases
                elif name is None and block[place:end].strip():
                    raise InputError(f"{path} is no FASTA: it begins with {block[place : place + 20]!r}, not with '>'.")
                at_line_start, place = block[end - 1] == ord("\n"), end
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
