"""Neutralise names from files for where they are shown: one function per sink.

Sample ids, labels, column names and file names come from others, and what is harmless in one place is an instruction in
another: an escape sequence in a terminal, a tag in HTML, a link in Markdown, a formula in a spreadsheet. Names are kept
as they are in memory and in data files, and go through the sink's function when they are printed or written for people.
"""

from __future__ import annotations

import html
import re

# Printable to Python, yet shown as nothing: fillers, joiners and variation selectors.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_HIDDEN = re.compile(f"[{_INVISIBLE}]")
# Formatting, underscores that are not within a word, what makes links of addresses, and markers of lists and headings,
# which line wrapping may bring to the start of a line.
_MARKDOWN = re.compile(
    r"[\\`*\[\]#~$@]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.|(?<!\S)[-+](?=\s|$)|\A[-=](?=[-=]*\Z)"
    r"|(?<!\S)\d{1,9}[.)](?=\s|$)"
)
# What spreadsheets read as a formula at the start of a cell, also in full width, and what they skip before it.
_FORMULA_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(f"'*[{_FORMULA_STARTS}]")
_MARKED = re.compile(f"'+[{_FORMULA_STARTS}]")


def terminal(text: str) -> str:
    r"""Return text on one line for a terminal, with control, bidirectional and invisible characters as `\x1b`.

    Line breaks, tabs and blanks of other widths become plain blanks.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def terminal_lines(text: str) -> str:
    """Return text of several lines, such as a table, for a terminal: as `terminal`, but line breaks and tabs stay."""
    return "\n".join("\t".join(map(terminal, line.split("\t"))) for line in text.split("\n"))


def multiqc(text: object) -> str:
    """Return text for a cell of MultiQC's custom content, which becomes HTML; a `#` at the start would be a comment.

    Quotes become numbers, since its plots show `&quot;` as it is written.
    """
    escaped = html.escape(terminal(str(text))).replace("&quot;", "&#34;").strip()
    return f"&#35;{escaped[1:]}" if escaped.startswith("#") else escaped


def script_json(text: str) -> str:
    """Return JSON for a `<script>` element: no sequence of it ends or begins an element or a comment."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def markdown(text: object) -> str:
    """Return text for Markdown prose or table cells: neither formatting, link, image nor HTML."""
    escaped = _MARKDOWN.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", terminal(str(text)))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_code(text: object) -> str:
    """Return text as a Markdown code span, with a fence longer than any run of backticks within."""
    content = terminal(str(text))
    longest = max(map(len, re.findall("`+", content)), default=0)
    padding = " " if longest else ""
    fence = "`" * (longest + 1)
    return f"{fence}{padding}{content}{padding}{fence}"


def spreadsheet(value: object) -> object:
    """Return a cell for CSV or TSV: text that a spreadsheet would compute gets an apostrophe, as people type it.

    Numbers stay, also those in text, since `-5` means the same to a spreadsheet. `from_spreadsheet` is the inverse.
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def from_spreadsheet(value: str) -> str:
    """Return the text of a cell that `spreadsheet` wrote."""
    return value[1:] if value.startswith("'") and _MARKED.match(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text and "_" not in text


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter if _HIDDEN.match(letter) is None else _escaped(letter)
    return " " if letter.isspace() and letter not in "\x1c\x1d\x1e\x1f\x85\u2028\u2029" else _escaped(letter)


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


__all__ = [
    "from_spreadsheet",
    "markdown",
    "markdown_code",
    "multiqc",
    "script_json",
    "spreadsheet",
    "terminal",
    "terminal_lines",
]
