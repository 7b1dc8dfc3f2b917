"""Kernels in machine code for the records of FASTQ files; imported by `biomeformer.inference.kernels` alone.

As in `kernel_code`, arguments are not checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .kernel_code import _at, _compiled, _data

_NEWLINE, _CARRIAGE_RETURN, _AT, _PLUS, _BLANK, _TAB, _ONE, _THREE = b"\n\r@+ \t13"
_BASES = b"ACGTN"
# A lower-case letter with this bit cleared is the letter in upper case.
_CASE = 0x20
_LINES = 4
# Bytes that are looked at at once.
_STEP = 64
PADDING = _STEP
_BYTES = ir.VectorType(ir.IntType(8), _STEP)


def _is_any(builder: Any, letters: Any, wanted: bytes) -> Any:
    """Return which of some letters are among those wanted, as a vector of bits."""
    equal = (builder.icmp_unsigned("==", letters, ir.Constant(_BYTES, [letter] * _STEP)) for letter in wanted)
    first, *others = equal
    for other in others:
        first = builder.or_(first, other)
    return first


@intrinsic
def _find_line_ends(typingctx: Any, text: Any, begin: Any) -> Any:
    """Return a bit for each of the `_STEP` bytes from `begin` on, 1 for a line feed or carriage return."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _at(builder, _data(context, builder, signature.args[0], args[0]), args[1], _BYTES)
        found = _is_any(builder, builder.load(source, align=1), bytes([_NEWLINE, _CARRIAGE_RETURN]))
        return builder.bitcast(found, ir.IntType(_STEP))

    return types.uint64(text, types.intp), generate


@intrinsic
def _lowest_bit(typingctx: Any, flags: Any) -> Any:
    """Return the place of the lowest bit that is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _copy_step(typingctx: Any, text: Any, begin: Any, out: Any, place: Any) -> Any:
    """Copy `_STEP` bytes, and return whether they are all bases or N."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _at(builder, _data(context, builder, signature.args[0], args[0]), args[1], _BYTES)
        target = _at(builder, _data(context, builder, signature.args[2], args[2]), args[3], _BYTES)
        letters = builder.load(source, align=1)
        builder.store(letters, target, align=1)
        upper = builder.and_(letters, ir.Constant(_BYTES, [0xFF ^ _CASE] * _STEP))
        found = builder.bitcast(_is_any(builder, upper, _BASES), ir.IntType(_STEP))
        return builder.icmp_signed("==", found, ir.Constant(ir.IntType(_STEP), -1))

    return types.boolean(text, types.intp, out, types.intp), generate


def _find_records(text: Any, n_bytes: int, line_ends: Any) -> int:
    """Find records of four lines, up to the first that is incomplete or laid out otherwise.

    Args:
        text: uint8, from the beginning of a record on, with `_STEP` further bytes after the last.
        n_bytes: How many bytes of the text count.
        line_ends: int64 `(n, 4)`, which is filled with the positions of the line feeds.

    Returns:
        Number of records found, `n` at most.
    """
    n_found, line, start, last = 0, 0, 0, -1
    for begin in range(0, n_bytes, _STEP):
        flags = _find_line_ends(text, begin)
        while flags:
            i = begin + _lowest_bit(flags)
            flags &= flags - np.uint64(1)
            if i >= n_bytes or text[i] != _NEWLINE:
                return n_found
            line_ends[n_found, line] = i
            if line == 0:
                if text[start] != _AT:
                    return n_found
            elif line == 2:
                if i != last + 2 or text[last + 1] != _PLUS:
                    return n_found
            elif line == 3:
                if i - last != line_ends[n_found, 1] - line_ends[n_found, 0]:
                    return n_found
                n_found += 1
                if n_found == len(line_ends):
                    return n_found
                start = i + 1
            line = (line + 1) % _LINES
            last = i
    return n_found


def _copy_sequences(text: Any, line_ends: Any, kept: Any, out: Any, first: int, stride: int, offsets: Any) -> bool:
    """Copy the sequences of records.

    Args:
        text: uint8, the records.
        line_ends: int64 `(n, 4)`, positions of their line feeds.
        kept: bool `(n,)`, which of them to copy.
        out: uint8, filled at `offsets`; with `_STEP` further bytes after the last.
        first: Which of `offsets` is that of the first record kept.
        stride: How many further each next record's is.
        offsets: int64, positions in `out`.

    Returns:
        Whether all letters are bases or N, in either case.
    """
    are_bases = True
    row = first
    for record in range(len(line_ends)):
        if not kept[record]:
            continue
        begin = line_ends[record, 0] + 1
        length = line_ends[record, 1] - begin
        place = offsets[row]
        row += stride
        whole = length // _STEP * _STEP
        for i in range(0, whole, _STEP):
            are_bases &= _copy_step(text, begin + i, out, place + i)
        for i in range(whole, length):
            letter = text[begin + i]
            out[place + i] = letter
            upper = letter & ~_CASE
            are_bases &= (
                (upper == _BASES[0])
                | (upper == _BASES[1])
                | (upper == _BASES[2])
                | (upper == _BASES[3])
                | (upper == _BASES[4])
            )
    return are_bases


def _first_other_name(
    text_1: Any, start_1: int, ends_1: Any, text_2: Any, start_2: int, ends_2: Any, first: int
) -> int:
    """Find the first pair of records whose names are not the same up to the first blank, but for a last 1, 2 or 3.

    Args:
        text_1: uint8, records of first mates.
        start_1: Position of the first.
        ends_1: int64 `(n, 4)`, positions of their line feeds.
        text_2: As `text_1`, of second mates.
        start_2: As `start_1`.
        ends_2: As `ends_1`.
        first: Pair to begin with.

    Returns:
        Number of the pair; `n` if there is none.
    """
    for pair in range(first, len(ends_1)):
        begin_1 = (ends_1[pair - 1, 3] if pair else start_1 - 1) + 2
        begin_2 = (ends_2[pair - 1, 3] if pair else start_2 - 1) + 2
        length_1, length_2 = ends_1[pair, 0] - begin_1, ends_2[pair, 0] - begin_2
        i = 0
        while True:
            letter_1 = text_1[begin_1 + i] if i < length_1 else _BLANK
            letter_2 = text_2[begin_2 + i] if i < length_2 else _BLANK
            ends_here = letter_1 == _BLANK or letter_1 == _TAB
            if ends_here != (letter_2 == _BLANK or letter_2 == _TAB):
                return pair
            if ends_here:
                break
            if letter_1 != letter_2:
                # Mate numbers, if nothing follows.
                after_1 = text_1[begin_1 + i + 1] if i + 1 < length_1 else _BLANK
                after_2 = text_2[begin_2 + i + 1] if i + 1 < length_2 else _BLANK
                are_numbers = _ONE <= letter_1 <= _THREE and _ONE <= letter_2 <= _THREE
                are_last = (after_1 == _BLANK or after_1 == _TAB) and (after_2 == _BLANK or after_2 == _TAB)
                if not (are_numbers and are_last):
                    return pair
                break
            i += 1
    return len(ends_1)


find_records = _compiled(_find_records)
copy_sequences = _compiled(_copy_sequences)
first_other_name = _compiled(_first_other_name)
