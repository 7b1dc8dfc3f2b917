"""Tokenise reads, under the preprocessing config that is saved with a checkpoint."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import BatchFeature, ProcessorMixin

from .configuration_metagenbert import MetagenBertConfig
from .packed_tokenizer import PackedTokenizer

PREPROCESSING_FIELDS = (
    "case",
    "uracil",
    "ambiguous_bases",
    "min_read_length",
    "max_length",
    "truncation",
    "add_special_tokens",
    "reverse_complement",
    "pooling",
    "distance_dtype",
)
CHOICES = {
    "case": ("upper", "keep"),
    "uracil": ("to_t", "keep"),
    "ambiguous_bases": ("to_n", "keep"),
    "truncation": ("keep_head",),
    "reverse_complement": ("none",),
    "pooling": ("mean", "mean_over_max_length", "cls"),
    "distance_dtype": ("float32",),
}
USUAL = b"ACGT"
AMBIGUOUS = bytes(set(range(256)) - set(b"ACGTUacgtu"))
LOWER_CASE = b"abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PackedReads:
    """Concatenated tokens of the usable reads of a batch.

    Attributes:
        input_ids: int64 `(n_tokens,)`.
        lengths: int64 `(n_used,)`, number of tokens of each usable read, special ones included.
        rows: int64 `(n_used,)`, index of each usable read in the batch.
        read_stats: Numbers of reads: `n_used`, `n_too_short`, `n_no_tokens`; and of the used ones, `n_truncated`,
            `n_ambiguous` (with a base other than A, C, G, T, U) and `n_lower_case` (with a lower-case base).
    """

    input_ids: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    read_stats: dict[str, int]


class MetagenBertProcessor(ProcessorMixin):
    r"""Tokenizer and preprocessing config of a `MetagenBertModel`.

    Args:
        tokenizer: Tokenizer of the read encoder.
        case: `upper` converts lower case to upper case; `keep` leaves it to the tokenizer (most return `[UNK]`).
        uracil: `to_t` reads U as T; `keep` leaves it.
        ambiguous_bases: `to_n` replaces every base other than A, C, G, T with N, which becomes `[UNK]` in a BPE
            tokenizer, and whose k-mers a k-mer tokenizer leaves out; `keep` leaves IUPAC codes as they are.
        min_read_length: Reads of fewer bases are not used, and counted as too short.
        max_length: Longest read in tokens, special ones included. None: no limit.
        truncation: How longer reads are truncated: `keep_head` keeps their beginning.
        add_special_tokens: Whether the tokenizer adds its special tokens.
        reverse_complement: `none`: reads are used as they are.
        pooling: Pooling of token vectors; must agree with the model's config.
        distance_dtype: Type in which distances to centroids are computed.
        **kwargs: Options of `ProcessorMixin`.

    Raises:
        ValueError: A value is unknown to this version, or out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        case: str = "upper",
        uracil: str = "to_t",
        ambiguous_bases: str = "to_n",
        min_read_length: int = 1,
        max_length: int | None = None,
        truncation: str = "keep_head",
        add_special_tokens: bool = True,
        reverse_complement: str = "none",
        pooling: str = "mean",
        distance_dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, **kwargs)
        self.case = case
        self.uracil = uracil
        self.ambiguous_bases = ambiguous_bases
        self.min_read_length = min_read_length
        self.max_length = max_length
        self.truncation = truncation
        self.add_special_tokens = add_special_tokens
        self.reverse_complement = reverse_complement
        self.pooling = pooling
        self.distance_dtype = distance_dtype
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is {getattr(self, field)!r}; this version knows {', '.join(choices)}.")
        for field, value in (("min_read_length", min_read_length), ("max_length", max_length)):
            if type(value) is not int and not (field == "max_length" and value is None):
                raise ValueError(f"{field} is {value!r}; it must be a whole number.")
        if not isinstance(add_special_tokens, bool):
            raise ValueError(f"add_special_tokens is {add_special_tokens!r}; it must be true or false.")
        if min_read_length < 1:
            raise ValueError(f"min_read_length is {min_read_length}; it must be at least 1 base.")
        self._table = translation_table(case, uracil, ambiguous_bases)
        self._backend = PackedTokenizer(tokenizer, add_special_tokens, max_length)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything that determines a read's tokens besides the vocabulary, for fingerprints."""
        return {field: getattr(self, field) for field in PREPROCESSING_FIELDS}

    @property
    def contract(self) -> dict[str, Any]:
        """Deprecated: the old name of `preprocessing`."""
        warnings.warn(
            f"{type(self).__name__}.contract is now called preprocessing. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.preprocessing

    def check_agrees(self, config: MetagenBertConfig) -> None:
        """Check that the preprocessing config and a model's config agree.

        Raises:
            ValueError: They do not.
        """
        for field in ("pooling", "max_length"):
            if getattr(self, field) != getattr(config, field):
                raise ValueError(
                    f"The preprocessing config says {field} {getattr(self, field)!r} and the model's config "
                    f"{getattr(config, field)!r}; processor_config.json and config.json must come from one checkpoint."
                )

    def encode_reads(self, sequence: np.ndarray, offsets: np.ndarray) -> PackedReads:
        """Tokenise a batch of reads.

        Args:
            sequence: uint8 `(n_bases,)`, the reads' concatenated bases in ASCII.
            offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.

        Returns:
            Tokens of the usable reads, and statistics that account for every read.
        """
        raw = sequence.tobytes()
        n_bases = np.diff(offsets)
        used = n_bases >= self.min_read_length
        n_too_short = int(len(used) - used.sum())
        unusual = raw.translate(None, USUAL)
        ambiguous = _count_per_read(raw, AMBIGUOUS, offsets, unusual)
        lower = _count_per_read(raw, LOWER_CASE, offsets, unusual)
        if ambiguous is not None:
            # A read of nothing but ambiguous bases has no information, whatever the tokenizer makes of it.
            used &= ambiguous < n_bases
        # No preprocessing config changes A, C, G, T and N, so most batches need no translation.
        folded = np.frombuffer(raw.translate(self._table), np.uint8) if unusual.strip(b"N") else sequence
        if not used.all():
            folded = folded[np.repeat(used, n_bases)]
            rows = np.flatnonzero(used)
            kept_offsets = np.concatenate([[0], np.cumsum(n_bases[rows])])
        else:
            rows, kept_offsets = np.arange(len(n_bases)), offsets
        ids, lengths, truncated = self._backend.encode(folded, kept_offsets)
        if (lengths == 0).any():
            has_tokens = lengths > 0
            rows, truncated, lengths = rows[has_tokens], truncated[has_tokens], lengths[has_tokens]
        read_stats = {
            "n_used": len(rows),
            "n_too_short": n_too_short,
            "n_no_tokens": len(n_bases) - n_too_short - len(rows),
            "n_truncated": int(truncated.sum()),
            "n_ambiguous": 0 if ambiguous is None else int((ambiguous[rows] > 0).sum()),
            "n_lower_case": 0 if lower is None else int((lower[rows] > 0).sum()),
        }
        return PackedReads(ids, lengths, rows, read_stats)

    def __call__(self, reads: str | list[str], return_tensors: str | None = "pt", **kwargs: Any) -> BatchFeature:
        """Tokenise reads into a padded batch for `MetagenBertModel.forward`.

        Args:
            reads: One read, or a list of several.
            return_tensors: `pt` for tensors, `np` for arrays.
            **kwargs: There are no other options; any is an error.

        Returns:
            `input_ids` and `attention_mask`, `(n_reads, longest)`.

        Raises:
            ValueError: A read cannot be used under the preprocessing config: it is too short, or has no token.
        """
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: not an option here; the preprocessing config decides.")
        texts = [reads] if isinstance(reads, str) else list(reads)
        sequence = np.frombuffer("".join(texts).encode(), np.uint8)
        offsets = np.cumsum([0, *map(len, texts)])
        packed = self.encode_reads(sequence, offsets)
        if len(packed.rows) < len(texts):
            missing = sorted(set(range(len(texts))) - set(packed.rows.tolist()))[0]
            raise ValueError(
                f"Read {missing} ({len(texts[missing])} bases) gives no token under the preprocessing config "
                f"(min_read_length {self.min_read_length}); leave it out."
            )
        width = int(packed.lengths.max(initial=0))
        mask = np.arange(width) < packed.lengths[:, None]
        pad = self.tokenizer.pad_token_id
        input_ids = np.full(mask.shape, 0 if pad is None else pad, np.int64)
        input_ids[mask] = packed.input_ids
        return BatchFeature(
            {"input_ids": input_ids, "attention_mask": mask.astype(np.int64)}, tensor_type=return_tensors
        )


def translation_table(case: str, uracil: str, ambiguous_bases: str) -> bytes:
    """Return the table for `bytes.translate` that applies the preprocessing config's rules for single characters."""
    table = bytearray(range(256))
    if ambiguous_bases == "to_n":
        for code in range(256):
            upper = chr(code).upper()
            if upper.isascii() and upper.isalpha() and upper not in "ACGTU":
                table[code] = ord("n" if chr(code).islower() else "N")
    if uracil == "to_t":
        table[ord("U")], table[ord("u")] = ord("T"), ord("t")
    if case == "upper":
        table = bytearray(ord(chr(code).upper()) if code < 128 else code for code in table)
    return bytes(table)


def _count_per_read(raw: bytes, characters: bytes, offsets: np.ndarray, unusual: bytes) -> np.ndarray | None:
    """Count the bases of each read that are among given characters.

    Args:
        raw: Concatenated bases of the reads.
        characters: The characters to count.
        offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.
        unusual: Those bases of `raw` that are not A, C, G or T: few, and quick to search first.

    Returns:
        int64 `(n_reads,)`, or None if no base is among the characters.
    """
    if len(unusual.translate(None, characters)) == len(unusual):
        return None
    flags = raw.translate(bytes(code in characters for code in range(256)))
    positions = np.flatnonzero(np.frombuffer(flags, np.bool_))
    return np.bincount(np.searchsorted(offsets, positions, side="right") - 1, minlength=len(offsets) - 1)


def preprocessing_json(processor: MetagenBertProcessor) -> str:
    """Return the preprocessing config as canonical JSON, for fingerprints."""
    return json.dumps(processor.preprocessing, sort_keys=True)


__all__ = ["PREPROCESSING_FIELDS", "MetagenBertProcessor", "PackedReads", "preprocessing_json"]
