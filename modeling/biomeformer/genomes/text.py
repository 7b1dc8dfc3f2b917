"""Read the text of a genome's file, plain or compressed."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from ..errors import GenomeError, InputError
from ..io.compression import StreamError, open_bytes

# A header's description, behind the name; nothing is read from it that is not ASCII.
FASTA_DESCRIPTION = re.compile(rb"^(>[ \t]*[^\s>][^\s]*[ \t]+)([^\n]*)", re.M)
NOT_ASCII = re.compile(rb"[^\x00-\x7f]")


def read_text(path: Path) -> str:
    r"""Return the decompressed text of a file, with `\n` as line ends and without a byte-order mark.

    Text is UTF-8. In FASTA the descriptions of headers may be in any encoding; what is not UTF-8 is replaced there.

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
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise GenomeError(f"{path} is text in UTF-16; save it as plain text in UTF-8.")
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise GenomeError(f"{path} is empty; give a FASTA, GenBank or GFF3 file.")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise GenomeError(f"{path}, line {line}: a NUL byte, so the file is damaged or no text; copy it again.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    if content.lstrip().startswith(b">"):
        content = FASTA_DESCRIPTION.sub(lambda match: match[1] + NOT_ASCII.sub(b"?", match[2]), content)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GenomeError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is no UTF-8 text; save the file as plain text in "
            "UTF-8 (such as with `iconv -f latin1 -t utf-8`)."
        ) from None


__all__ = ["read_text"]
