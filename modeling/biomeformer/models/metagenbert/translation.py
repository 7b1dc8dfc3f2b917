"""Translation of reads to the protein that they most likely code for: the longest open frame of six."""

from __future__ import annotations

import numpy as np

# The standard genetic code, whose amino acids are also those of bacteria and archaea (NCBI tables 1 and 11), by codons
# in the order TTT, TTC, TTA, TTG, TCT, …
AMINO_ACIDS = b"FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
UNKNOWN, STOP = ord("X"), ord("*")
N_FRAMES = 6
# Numbers of bases in the order of the code's table; the complement of base i is 3 - i in the order T, C, G, A, so
# complements have a table of their own.
_BASES = {"T": 0, "C": 1, "A": 2, "G": 3}
_COMPLEMENTS = {"A": 0, "G": 1, "T": 2, "C": 3}
_OTHER = 4


def _codes(numbers: dict[str, int]) -> np.ndarray:
    table = np.full(256, _OTHER, np.uint8)
    for base, number in numbers.items():
        table[[ord(base), ord(base.lower())]] = number
    return table


def _codon_table() -> np.ndarray:
    """Return the amino acid of each codon, uint8 `(5, 5, 5)`; X of codons with another letter than A, C, G, T."""
    table = np.full((5, 5, 5), UNKNOWN, np.uint8)
    table[:4, :4, :4] = np.frombuffer(AMINO_ACIDS, np.uint8).reshape(4, 4, 4)
    return table


_FORWARD, _REVERSE, _TABLE = _codes(_BASES), _codes(_COMPLEMENTS), _codon_table()


def translate_longest_frame(sequence: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translate each read in six frames and keep its longest stretch without a stop codon.

    A read is a fragment of a gene as a rule, so that a stretch may begin and end at the read's ends; neither a start
    nor a stop codon is asked for. Of equally long stretches the first is kept: forward frames before reverse ones,
    earlier frames before later ones, and within a frame the one that is translated first.

    Args:
        sequence: uint8 `(n_bases,)`, the reads' concatenated bases in ASCII, U already read as T.
        offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.

    Returns:
        Concatenated amino acids in ASCII, uint8 `(n_residues,)`, X where a codon has a base other than A, C, G, T; and
        their offsets, int64 `(n_reads + 1,)`. Reads without a codon, or of stop codons only, have none.
    """
    n_reads, lengths = len(offsets) - 1, np.diff(offsets)
    # Each codon begins at a base that has two more of its read behind it.
    n_codons = np.maximum(lengths - 2, 0)
    read = np.repeat(np.arange(n_reads), n_codons)
    within = np.arange(len(read)) - np.repeat(np.cumsum(n_codons) - n_codons, n_codons)
    start = offsets[:-1][read] + within
    forward, reverse = _FORWARD[sequence], _REVERSE[sequence]
    strands = (
        # In the order of translation: reverse codons from the read's end, where the frame is counted from.
        (_TABLE[forward[start], forward[start + 1], forward[start + 2]], within),
        (_TABLE[reverse[start + 2], reverse[start + 1], reverse[start]], n_codons[read] - 1 - within),
    )
    residues: list[np.ndarray] = []
    first: list[np.ndarray] = []
    length: list[np.ndarray] = []
    of_read: list[np.ndarray] = []
    n_before = 0
    for strand, (amino_acids, place) in enumerate(strands):
        frame = read * N_FRAMES + strand * 3 + place % 3
        order = np.lexsort((place, frame))
        amino_acids, frame = amino_acids[order], frame[order]
        is_open = amino_acids != STOP
        # A stretch begins where the residue before it is a stop, or of another frame.
        same_frame = np.r_[False, frame[1:] == frame[:-1]] if len(frame) else np.zeros(0, bool)
        begins = np.flatnonzero(is_open & ~(same_frame & np.r_[False, is_open[:-1]][: len(is_open)]))
        ends = np.flatnonzero(is_open & ~np.r_[(same_frame & is_open)[1:], False][: len(is_open)]) + 1
        residues.append(amino_acids)
        first.append(begins + n_before)
        length.append(ends - begins)
        of_read.append(frame[begins] // N_FRAMES)
        n_before += len(amino_acids)
    starts, sizes, owners = np.concatenate(first), np.concatenate(length), np.concatenate(of_read)
    # Stable, so that the first of equally long stretches comes first.
    order = np.lexsort((np.arange(len(sizes)), -sizes, owners))
    longest = order[np.r_[True, owners[order][1:] != owners[order][:-1]][: len(order)]]
    kept = np.zeros(n_reads, np.int64)
    kept[owners[longest]] = sizes[longest]
    new_offsets = np.concatenate([[0], np.cumsum(kept)])
    positions = np.arange(new_offsets[-1]) - np.repeat(new_offsets[:-1], kept)
    begin = np.zeros(n_reads, np.int64)
    begin[owners[longest]] = starts[longest]
    return np.concatenate(residues)[np.repeat(begin, kept) + positions], new_offsets


__all__ = ["translate_longest_frame"]
