"""Mutations of files: of their bytes, lines, cells and JSON values. The same generator gives the same mutation."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Mutate = Callable[[bytes, np.random.Generator], bytes]
LONGEST_BLOCK = 200
# Values that readers of numbers, names and paths meet in damaged or hostile tables.
CELLS = (
    *(
        "",
        " ",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "-1",
        "-0",
        "0",
        "1e309",
        "1e-400",
        "99999999999999999999",
        "0x10",
        "1_000",
    ),
    *("1,5", "0.1.2", "None", "null", "true", "NA", "../../x", "/", ".", "..", "=1+1", "\u202eabc", "é", "e\u0301"),
    *("\u0661\u0662", "½", "\x1b[31m", "a\x00b", '"', "'", "a;b", "#", "x" * 5_000, "-", "+", "@", "\ufeff"),
)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1e308, -1.5, "", "x", "a\0b", [], {}, [[]], ["a"])
DEEP = 100_000


def _spans(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Return the start and end of a block."""
    start = int(rng.integers(0, max(len(content), 1)))
    return start, min(start + int(rng.integers(1, LONGEST_BLOCK + 1)), len(content))


def flip_bit(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip one bit."""
    if not content:
        return b"\x01"
    changed = bytearray(content)
    changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip several bits."""
    for _ in range(int(rng.integers(2, 9))):
        content = flip_bit(content, rng)
    return content


def change_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a block by random bytes."""
    start, end = _spans(content, rng)
    return content[:start] + rng.bytes(end - start) + content[end:]


def change_letter(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a byte by another printable one."""
    start, _ = _spans(content, rng)
    return content[:start] + bytes([int(rng.integers(32, 127))]) + content[start + 1 :]


def cut_end(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the end off."""
    return content[: int(rng.integers(0, max(len(content), 1)))]


def cut_last_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off a few bytes at the end."""
    return content[: -int(rng.integers(1, 20))]


def cut_start(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the beginning off."""
    return content[int(rng.integers(1, LONGEST_BLOCK)) :]


def insert_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert random bytes."""
    start, _ = _spans(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 20))) + content[start:]


def insert_nul(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert NUL bytes."""
    start, _ = _spans(content, rng)
    return content[:start] + bytes(int(rng.integers(1, 5))) + content[start:]


def delete_block(content: bytes, rng: np.random.Generator) -> bytes:
    """Delete a block."""
    start, end = _spans(content, rng)
    return content[:start] + content[end:]


def zero_block(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a block with zeros, as a file system does with a block that was never written."""
    start, end = _spans(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def duplicate_block(content: bytes, rng: np.random.Generator) -> bytes:
    """Repeat a block."""
    start, end = _spans(content, rng)
    return content[:end] + content[start:end] + content[end:]


def swap_blocks(content: bytes, rng: np.random.Generator) -> bytes:
    """Exchange two blocks."""
    (a, b), (c, d) = sorted([_spans(content, rng), _spans(content, rng)])
    return content if b > c else content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def append_garbage(content: bytes, rng: np.random.Generator) -> bytes:
    """Append random bytes."""
    return content + rng.bytes(int(rng.integers(1, 50)))


def append_itself(content: bytes, rng: np.random.Generator) -> bytes:
    """Append the file to itself."""
    return content + content


def empty(content: bytes, rng: np.random.Generator) -> bytes:
    """Empty the file."""
    return b""


def _line_number(lines: list[bytes], rng: np.random.Generator) -> int:
    return int(rng.integers(len(lines)))


def _on_lines(change: Callable[[list[bytes], np.random.Generator], object]) -> Mutate:
    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        lines = content.splitlines(keepends=True) or [b"\n"]
        change(lines, rng)
        return b"".join(lines)

    mutate.__name__, mutate.__doc__ = change.__name__, change.__doc__
    return mutate


@_on_lines
def drop_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Drop a line."""
    del lines[_line_number(lines, rng)]


@_on_lines
def duplicate_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Repeat a line."""
    number = _line_number(lines, rng)
    lines.insert(number, lines[number])


@_on_lines
def blank_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Insert a blank line."""
    lines.insert(_line_number(lines, rng), [b"\n", b"  \n", b"\r\n", b"\t\n"][int(rng.integers(4))])


@_on_lines
def swap_lines(lines: list[bytes], rng: np.random.Generator) -> None:
    """Exchange two lines."""
    a, b = _line_number(lines, rng), _line_number(lines, rng)
    lines[a], lines[b] = lines[b], lines[a]


@_on_lines
def join_lines(lines: list[bytes], rng: np.random.Generator) -> None:
    """Remove a line break."""
    number = _line_number(lines, rng)
    lines[number] = lines[number].rstrip(b"\r\n")


@_on_lines
def break_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Insert a line break."""
    number = _line_number(lines, rng)
    position = int(rng.integers(len(lines[number]) + 1))
    lines[number] = lines[number][:position] + b"\n" + lines[number][position:]


@_on_lines
def indent_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Put blanks before a line or after it."""
    number = _line_number(lines, rng)
    line = lines[number].rstrip(b"\r\n")
    lines[number] = (b"  " + line if rng.random() < 0.5 else line + b" \t ") + b"\n"


@_on_lines
def comment_line(lines: list[bytes], rng: np.random.Generator) -> None:
    """Make a line a comment."""
    number = _line_number(lines, rng)
    lines[number] = b"#" + lines[number]


@_on_lines
def change_case(lines: list[bytes], rng: np.random.Generator) -> None:
    """Change a line's case."""
    number = _line_number(lines, rng)
    lines[number] = lines[number].swapcase()


def windows_line_ends(content: bytes, rng: np.random.Generator) -> bytes:
    """End lines as Windows does."""
    return content.replace(b"\n", b"\r\n")


def old_mac_line_ends(content: bytes, rng: np.random.Generator) -> bytes:
    """End lines as old Macs did."""
    return content.replace(b"\n", b"\r")


def mixed_line_ends(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the end of one line."""
    parts = content.split(b"\n")
    number = int(rng.integers(len(parts)))
    parts[number] += [b"\r", b"\x0c", b"\x0b", "\u2028".encode(), "\x85".encode()][int(rng.integers(5))]
    return b"\n".join(parts)


def no_final_line_end(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave the last line end out."""
    return content.rstrip(b"\r\n")


def byte_order_mark(content: bytes, rng: np.random.Generator) -> bytes:
    """Begin with a byte-order mark."""
    return b"\xef\xbb\xbf" + content


def utf_16(content: bytes, rng: np.random.Generator) -> bytes:
    """Encode the text as UTF-16."""
    return content.decode("utf-8", "replace").encode("utf-16")


def latin_1(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert a letter of Latin-1."""
    start, _ = _spans(content, rng)
    return content[:start] + b"\xe9" + content[start:]


def utf_8(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert a letter that is not ASCII, in UTF-8."""
    start, _ = _spans(content, rng)
    return content[:start] + "é\u202e"[int(rng.integers(2))].encode() + content[start:]


def long_line(content: bytes, rng: np.random.Generator) -> bytes:
    """Make a line very long."""
    start, _ = _spans(content, rng)
    return content[:start] + content[start : start + 1] * 200_000 + content[start:]


def _separator(lines: list[bytes]) -> bytes:
    """Return the separator that most lines have: a tab, a comma, or a blank."""
    head = b"".join(lines[:3])
    return max((b"\t", b",", b" "), key=head.count)


def _on_cells(change: Callable[[list[list[bytes]], np.random.Generator], object]) -> Mutate:
    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        lines = content.splitlines() or [b""]
        separator = _separator(lines)
        rows = [line.split(separator) for line in lines]
        change(rows, rng)
        return b"\n".join(separator.join(row) for row in rows) + b"\n"

    mutate.__name__, mutate.__doc__ = change.__name__, change.__doc__
    return mutate


def _cell(rows: list[list[bytes]], rng: np.random.Generator) -> tuple[list[bytes], int]:
    row = rows[int(rng.integers(len(rows)))]
    return row, int(rng.integers(len(row))) if row else 0


@_on_cells
def odd_cell(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Put an odd value in a cell."""
    row, column = _cell(rows, rng)
    row[column : column + 1] = [CELLS[int(rng.integers(len(CELLS)))].encode()]


@_on_cells
def quoted_cell(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Quote a cell, well or badly."""
    row, column = _cell(rows, rng)
    forms = (b'"%s"', b'"%s', b'%s"', b'"%s\nb"', b'"%s""b"', b'"%s,b"', b"'%s'", b'a"%s"')
    row[column : column + 1] = [form % cell for cell in row[column : column + 1] for form in [forms[rng.integers(8)]]]


@_on_cells
def drop_cell(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Drop a cell."""
    row, column = _cell(rows, rng)
    del row[column : column + 1]


@_on_cells
def swap_cells(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Exchange a cell with one of another row, of the same column."""
    (a, column), (b, _) = _cell(rows, rng), _cell(rows, rng)
    if column < len(a) and column < len(b):
        a[column], b[column] = b[column], a[column]


@_on_cells
def add_cell(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Add a cell."""
    row, column = _cell(rows, rng)
    row.insert(column, b"x")


@_on_cells
def drop_column(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Drop a column."""
    column = int(rng.integers(len(rows[0]))) if rows[0] else 0
    for row in rows:
        del row[column : column + 1]


@_on_cells
def duplicate_column(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Repeat a column."""
    column = int(rng.integers(len(rows[0]))) if rows[0] else 0
    for row in rows:
        row[column:column] = row[column : column + 1]


@_on_cells
def swap_columns(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Reverse the order of the columns."""
    for row in rows:
        row.reverse()


@_on_cells
def rename_column(rows: list[list[bytes]], rng: np.random.Generator) -> None:
    """Rename a column."""
    if rows[0]:
        rows[0][int(rng.integers(len(rows[0])))] = [b"x", b"", b" ", b"Sample_ID", rows[0][0]][int(rng.integers(5))]


def other_separator(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the separator of all lines, or of one."""
    lines = content.splitlines(keepends=True) or [b""]
    old, new = _separator(lines), [b",", b"\t", b";", b"|", b"  "][int(rng.integers(5))]
    if rng.random() < 0.5:
        return content.replace(old, new)
    number = _line_number(lines, rng)
    lines[number] = lines[number].replace(old, new)
    return b"".join(lines)


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [each for key in keys for each in [(*path, key), *_nodes(value[key], (*path, key))]]


def change_values(value: Any, rng: np.random.Generator) -> Any:
    """Change one value, key or element within a JSON value."""
    paths = _nodes(value)
    if not paths or rng.random() < 0.02:
        return VALUES[int(rng.integers(len(VALUES)))]
    path = paths[int(rng.integers(len(paths)))]
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    key, before = path[-1], holder[path[-1]]
    kind = int(rng.integers(6))
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        holder["unknown key"] = before
    elif kind == 3:
        # A value of the same type.
        others: dict[type, Any] = {str: f"{before}x", list: [*before] * 2 if isinstance(before, list) else []}
        is_number = isinstance(before, int | float) and not isinstance(before, bool)
        holder[key] = (
            before * 2 + 1 if is_number else (not before) if isinstance(before, bool) else others.get(type(before), 0)
        )
    elif kind == 4 and isinstance(before, int | float):
        holder[key] = str(before)
    else:
        holder[key] = VALUES[int(rng.integers(len(VALUES)))]
    return value


def json_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one value, key or element of a JSON file."""
    return json.dumps(change_values(json.loads(content), rng), indent=1).encode() + b"\n"


def yaml_value(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one value, key or element of a YAML file."""
    return yaml.safe_dump(change_values(yaml.safe_load(content), rng)).encode()


def json_constant(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a constant that is not JSON, or a huge number, in the place of a number."""
    words = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5_000, b"0x1", b"01", b"'a'")
    return _replace_number(content, words[int(rng.integers(len(words)))], rng)


def deep_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Nest brackets a hundred thousand deep in the place of a number."""
    return _replace_number(content, b"[" * DEEP + (b"]" * DEEP if rng.random() < 0.5 else b""), rng)


def _replace_number(content: bytes, new: bytes, rng: np.random.Generator) -> bytes:
    import re

    numbers = list(re.finditer(rb"(?<=: )-?\d[\d.e+-]*", content)) or [re.match(rb"", content)]
    match = numbers[int(rng.integers(len(numbers)))]
    assert match is not None
    return content[: match.start()] + new + content[match.end() :]


def duplicate_key(content: bytes, rng: np.random.Generator) -> bytes:
    """Give a JSON object a key twice, with two values."""
    value = json.loads(content)
    if not isinstance(value, dict) or not value:
        return b'{"a": 1, "a": 2}'
    key = list(value)[int(rng.integers(len(value)))]
    first = json.dumps({key: VALUES[int(rng.integers(len(VALUES)))]})[1:-1]
    text = content.decode().strip()
    joined = f"{{{first}, {text[1:]}" if rng.random() < 0.5 else f"{text[:-1]}, {first}}}"
    return joined.encode()


def safetensors_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a value of a safetensors header."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    text = json.dumps(change_values(header, rng), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def safetensors_length(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the length of a safetensors header."""
    lengths = (0, 1, 2, 7, 10**8, 2**31, 2**63, 2**64 - 1)
    return struct.pack("<Q", lengths[int(rng.integers(len(lengths)))]) + content[8:]


def change_payload(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip a bit of the second half, where binary formats have their values."""
    half = len(content) // 2
    return content[:half] + flip_bit(content[half:], rng)


COMPRESSORS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gz": (lambda content: gzip.compress(content, mtime=0), gzip.decompress),
    "zst": (zstd.compress, zstd.decompress),
    "bz2": (bz2.compress, bz2.decompress),
    "xz": (lzma.compress, lzma.decompress),
}


def bad_trailer(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a byte among the last eight, where gzip has its checksum and length."""
    position = len(content) - int(rng.integers(1, 9))
    return content[:position] + bytes([content[position] ^ (1 << int(rng.integers(8)))]) + content[position + 1 :]


def no_trailer(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the last eight bytes off."""
    return content[:-8]


def padded(content: bytes, rng: np.random.Generator) -> bytes:
    """Append zero bytes, as tapes do."""
    return content + bytes(int(rng.integers(1, 600)))


def compressed_as(suffix: str, inner: list[Mutate]) -> list[Mutate]:
    """Return mutations of a compressed file: of its content, and of how its streams are put together."""
    compress, decompress = COMPRESSORS[suffix]

    def recompressed(content: bytes, rng: np.random.Generator) -> bytes:
        """Mutate the decompressed content."""
        return compress(inner[int(rng.integers(len(inner)))](decompress(content), rng))

    def in_members(content: bytes, rng: np.random.Generator) -> bytes:
        """Compress the content in two parts."""
        text = decompress(content)
        position = int(rng.integers(len(text) + 1))
        return compress(text[:position]) + compress(text[position:])

    def plain_end(content: bytes, rng: np.random.Generator) -> bytes:
        """Append text that is not compressed."""
        text = decompress(content)
        return content + text[int(rng.integers(len(text))) :]

    def twice(content: bytes, rng: np.random.Generator) -> bytes:
        """Compress the file once more."""
        return compress(content)

    def plain(content: bytes, rng: np.random.Generator) -> bytes:
        """Decompress the file, but leave its name."""
        return decompress(content)

    return [
        recompressed,
        recompressed,
        recompressed,
        in_members,
        plain_end,
        twice,
        plain,
        bad_trailer,
        no_trailer,
        padded,
    ]


BYTES: list[Mutate] = [
    *(flip_bit, flip_bits, change_bytes, change_letter, cut_end, cut_last_bytes, cut_start, insert_bytes, insert_nul),
    *(delete_block, zero_block, duplicate_block, swap_blocks, append_garbage, append_itself, empty),
]
LINES: list[Mutate] = [
    *(drop_line, duplicate_line, blank_line, swap_lines, join_lines, break_line, indent_line, comment_line),
    *(change_case, windows_line_ends, old_mac_line_ends, mixed_line_ends, no_final_line_end, byte_order_mark, utf_16),
    *(latin_1, utf_8, long_line),
]
TABLES: list[Mutate] = [
    *(odd_cell, odd_cell, odd_cell, quoted_cell, drop_cell, swap_cells, add_cell, drop_column, duplicate_column),
    *(swap_columns, rename_column, other_separator),
]
JSON: list[Mutate] = [json_value, json_value, json_value, json_value, json_constant, deep_json, duplicate_key]
YAML: list[Mutate] = [yaml_value, yaml_value, yaml_value, json_constant, deep_json]
SAFETENSORS: list[Mutate] = [safetensors_header, safetensors_header, safetensors_length, change_payload]
TEXT = BYTES + LINES
TEXT_TABLE = BYTES + LINES + TABLES + TABLES
TEXT_JSON = BYTES + LINES + JSON + JSON
TEXT_YAML = BYTES + LINES + YAML + YAML
BINARY = [*BYTES, change_payload, change_payload]
TENSORS = BYTES + SAFETENSORS + SAFETENSORS


@dataclass(frozen=True)
class Mutated:
    """A mutated file.

    Attributes:
        content: Its bytes.
        names: What was done to it, in order.
    """

    content: bytes
    names: tuple[str, ...]


def mutate(content: bytes, mutations: list[Mutate], rng: np.random.Generator) -> Mutated:
    """Apply one mutation, or two or three.

    A mutation that does not apply, such as one of JSON values after another has made the text no JSON, is left out.
    """
    names: list[str] = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05]))):
        change = mutations[int(rng.integers(len(mutations)))]
        try:
            content = change(content, rng)
        except Exception:
            continue
        names.append(change.__name__)
    return Mutated(content, tuple(names))
