"""FASTA as records; what a name or a letter may be is for the caller to say.

`sequences.reference` reads genomes of any size by itself: one contig in memory, none of those that are not wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class FastaError(ValueError):
    """Text in front of the first header.

    Args:
        line: Its line, from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: sequence without a header; a FASTA record begins with '>'")
        self.line = line


def iter_fasta(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the line, from 1, the header without `>`, and the sequence of each record.

    Lines of one record are joined without the blanks around them; blank lines are layout.

    Args:
        lines: Of the file, with or without their ends.

    Raises:
        FastaError: Text stands in front of the first header.
    """
    header: bytes | None = None
    first_line, parts = 0, list[bytes]()
    for number, line in enumerate(lines, 1):
        if not line.startswith(b">"):
            line = line.strip()
            if header is None and line:
                raise FastaError(number)
            parts.append(line)
            continue
        if header is not None:
            yield first_line, header, parts[0] if len(parts) == 1 else b"".join(parts)
        header, first_line, parts = line[1:].rstrip(), number, []
    if header is not None:
        yield first_line, header, parts[0] if len(parts) == 1 else b"".join(parts)


__all__ = ["FastaError", "iter_fasta"]
