"""FASTA records; the caller validates names and letters.

`sequences.reference` has its own reader for genomes of any size, which holds one requested contig in memory at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .limits import record_too_long

# Bytes of no text, as blocks of a file that was damaged have them.
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


class FastaError(ValueError):
    """There is text before the first header, a byte that is no text, or a record that is too long.

    Args:
        line: Line number of the text or the record, from 1.
        reason: What is wrong there.
    """

    def __init__(self, line: int, reason: str = "sequence without a header; a FASTA record begins with '>'") -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


def iter_fasta(lines: Iterable[bytes], max_bases: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the line number, from 1, the header without `>`, and the sequence of each record.

    The lines of a record are stripped and joined; blank lines are ignored.

    Args:
        lines: Lines of the file, with or without line ends.
        max_bases: Longest record; no limit by default.

    Raises:
        FastaError: There is text before the first header, a header holds a control character, there is a NUL byte, or
            a record is longer than `max_bases`.
    """
    header: bytes | None = None
    first_line, parts, n_bases = 0, list[bytes](), 0
    for number, line in enumerate(lines, 1):
        control = CONTROL.search(line) if line.startswith(b">") or b"\0" in line else None
        if control is not None:
            raise FastaError(number, f"the byte {control[0][0]:#04x} is no text; copy the file again")
        if not line.startswith(b">"):
            line = line.strip()
            if header is None and line:
                raise FastaError(number)
            parts.append(line)
            n_bases += len(line)
            if max_bases is not None and n_bases > max_bases:
                raise FastaError(first_line, record_too_long(max_bases))
            continue
        if header is not None:
            yield first_line, header, parts[0] if len(parts) == 1 else b"".join(parts)
        header, first_line, parts, n_bases = line[1:].rstrip(), number, [], 0
    if header is not None:
        yield first_line, header, parts[0] if len(parts) == 1 else b"".join(parts)


__all__ = ["FastaError", "iter_fasta"]
