"""FASTA records; the caller validates names and letters.

`sequences.reference` has its own reader for genomes of any size, which holds one requested contig in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class FastaError(ValueError):
    """There is text before the first header.

    Args:
        line: Line number of the text, from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: sequence without a header; a FASTA record begins with '>'")
        self.line = line


def iter_fasta(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the line number, from 1, the header without `>`, and the sequence of each record.

    The lines of a record are stripped and joined; blank lines are ignored.

    Args:
        lines: Lines of the file, with or without line ends.

    Raises:
        FastaError: There is text before the first header.
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
