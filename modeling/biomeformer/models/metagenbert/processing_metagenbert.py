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
from .translation import translate_longest_frame

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
# Fields that came later, with the values at which reads are tokenised as without them. They are left out of the
# preprocessing config of a fingerprint at these values, so that it equals those of earlier versions.
LATER_FIELDS: dict[str, Any] = {"translation": "none", "kmer_size": None}
CHOICES = {
    "case": ("upper", "keep"),
    "uracil": ("to_t", "keep"),
    "ambiguous_bases": ("to_n", "keep"),
    "truncation": ("keep_head", "windows"),
    "translation": ("none", "longest_frame"),
    "reverse_complement": ("none",),
    "pooling": ("mean", "mean_over_max_length", "cls"),
    "distance_dtype": ("float32",),
}
# Options of a call by which libraries ask for what the processor does anyway, and the groups in which they pass them.
HARMLESS_OPTIONS: dict[str, tuple[Any, ...]] = {
    "padding": (True, "longest"),
    "truncation": (True, "longest_first", "only_first"),
    "return_attention_mask": (True, None),
}
APPLICABLE_OPTIONS = ("common_kwargs", "text_kwargs")
MODALITY_OPTIONS = (*APPLICABLE_OPTIONS, "images_kwargs", "audio_kwargs", "videos_kwargs")
USUAL = b"ACGT"
# By the code of a letter.
IS_AMBIGUOUS = np.array([chr(code) not in "ACGTUacgtu" for code in range(256)])
IS_LOWER_CASE = np.array([chr(code) in "abcdefghijklmnopqrstuvwxyz" for code in range(256)])


@dataclass(frozen=True)
class PackedReads:
    """Concatenated tokens of the usable reads of a batch, or of their windows.

    Attributes:
        input_ids: int64 `(n_tokens,)`.
        lengths: int64 `(n_windows,)`, number of tokens of each window, special ones included. A read is one window,
            unless the preprocessing config cuts reads into several.
        rows: int64 `(n_windows,)`, index in the batch of the read of each window.
        read_stats: Numbers of reads: `n_used`, `n_too_short`, `n_no_tokens`; and of the used ones, `n_truncated`,
            `n_ambiguous` (with a base other than A, C, G, T, U) and `n_lower_case` (with a lower-case base). Their
            windows `n_windows`; and the tokens in these, without the special ones, `n_tokens`, of which the tokenizer
            does not know `n_unknown_tokens`.
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
        max_length: Longest read or window in tokens, special ones included. None: no limit.
        truncation: What becomes of reads of more tokens than `max_length`: `keep_head` truncates them; `windows` cuts
            them into as few windows as that takes, of equal length up to one token, which are embedded and counted each
            by itself.
        add_special_tokens: Whether the tokenizer adds its special tokens.
        reverse_complement: `none`: reads are used as they are.
        pooling: Pooling of token vectors; must agree with the model's config.
        distance_dtype: Type in which distances to centroids are computed.
        translation: `longest_frame` translates each read in six frames with the standard genetic code and keeps its
            longest stretch without a stop codon, for encoders of proteins; `none` leaves DNA.
        kmer_size: Write reads, or their translations, as overlapping k-mers with blanks between, for tokenizers of
            words such as DNABERT's. None: they are tokenised as they are.
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
        translation: str = "none",
        kmer_size: int | None = None,
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
        self.translation = translation
        self.kmer_size = kmer_size
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} is {getattr(self, field)!r}; this version knows {', '.join(choices)}.")
        numbers = {"min_read_length": min_read_length, "max_length": max_length, "kmer_size": kmer_size}
        for field, value in numbers.items():
            if type(value) is not int and not (field != "min_read_length" and value is None):
                raise ValueError(f"{field} is {value!r}; it must be a whole number.")
        if not isinstance(add_special_tokens, bool):
            raise ValueError(f"add_special_tokens is {add_special_tokens!r}; it must be true or false.")
        if min_read_length < 1:
            raise ValueError(f"min_read_length is {min_read_length}; it must be at least 1 base.")
        if kmer_size is not None and kmer_size < 1:
            raise ValueError(f"kmer_size is {kmer_size}; it must be at least 1 base.")
        if truncation == "windows" and max_length is None:
            raise ValueError("truncation 'windows' needs max_length, the length of a window in tokens.")
        self._table = translation_table(case, uracil, ambiguous_bases)
        self._backend = PackedTokenizer(tokenizer, add_special_tokens, max_length, kmer_size)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything that determines a read's tokens besides the vocabulary, for fingerprints."""
        later = {field: getattr(self, field) for field, value in LATER_FIELDS.items() if getattr(self, field) != value}
        return {field: getattr(self, field) for field in PREPROCESSING_FIELDS} | later

    def replace(self, **changes: Any) -> MetagenBertProcessor:
        """Return a processor with the same tokenizer and other values of some fields.

        Raises:
            ValueError: A value is unknown to this version, or out of range.
        """
        return MetagenBertProcessor(self.tokenizer, **self.preprocessing | changes)

    def limit_length(self, n_tokens: int) -> None:
        """Truncate reads at a number of tokens even if the preprocessing config sets no limit, or a larger one.

        For encoders that cannot take more tokens. The preprocessing config stays as it is: longer reads could not be
        embedded under it, so nothing that was computed under it differs.
        """
        if self.max_length is None or self.max_length > n_tokens:
            self._backend = PackedTokenizer(self.tokenizer, self.add_special_tokens, n_tokens, self.kmer_size)

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
        n_bases = np.diff(offsets)
        used = n_bases >= self.min_read_length
        n_too_short = int(len(used) - used.sum())
        # Few, and quick to find, so that no other base is looked at again.
        positions = _unusual_positions(sequence)
        unusual = sequence[positions]
        ambiguous = _count_per_read(positions[IS_AMBIGUOUS[unusual]], offsets)
        lower = _count_per_read(positions[IS_LOWER_CASE[unusual]], offsets)
        if ambiguous is not None:
            # A read of nothing but ambiguous bases has no information, whatever the tokenizer makes of it.
            used &= ambiguous < n_bases
        # No preprocessing config changes A, C, G, T and N, so most batches need no translation.
        is_folded = bool((unusual != ord("N")).any())
        folded = np.frombuffer(sequence.tobytes().translate(self._table), np.uint8) if is_folded else sequence
        if not used.all():
            folded = folded[np.repeat(used, n_bases)]
            rows = np.flatnonzero(used)
            kept_offsets = np.concatenate([[0], np.cumsum(n_bases[rows])])
        else:
            rows, kept_offsets = np.arange(len(n_bases)), offsets
        if self.translation == "longest_frame":
            folded, kept_offsets = translate_longest_frame(folded, kept_offsets)
        if self.truncation == "windows":
            ids, lengths, window_rows = self._backend.encode_windows(folded, kept_offsets)
            window_rows, n_truncated = rows[window_rows], 0
            rows = np.unique(window_rows)
        else:
            ids, lengths, truncated = self._backend.encode(folded, kept_offsets)
            has_tokens = lengths > self._backend.n_special
            if not has_tokens.all():
                ids = ids[np.repeat(has_tokens, lengths)]
                rows, truncated, lengths = rows[has_tokens], truncated[has_tokens], lengths[has_tokens]
            window_rows, n_truncated = rows, int(truncated.sum())
        read_stats = {
            "n_used": len(rows),
            "n_too_short": n_too_short,
            "n_no_tokens": len(n_bases) - n_too_short - len(rows),
            "n_truncated": n_truncated,
            "n_ambiguous": 0 if ambiguous is None else int((ambiguous[rows] > 0).sum()),
            "n_lower_case": 0 if lower is None else int((lower[rows] > 0).sum()),
            "n_windows": len(window_rows),
            "n_tokens": len(ids) - len(lengths) * self._backend.n_special,
            "n_unknown_tokens": self._backend.count_unknown(ids, len(lengths)),
        }
        return PackedReads(ids, lengths, window_rows, read_stats)

    def __call__(
        self,
        reads: str | list[str] | None = None,
        return_tensors: str | None = "pt",
        *,
        text: str | list[str] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Tokenise reads into a padded batch for `MetagenBertModel.forward`.

        Args:
            reads: One read, or a list of several.
            return_tensors: `pt` for tensors, `np` for arrays.
            text: Reads under the name that processors of transformers have for it, for libraries that expect one row
                per text, such as sentence-transformers.
            **kwargs: With `text`, options by which such libraries ask for what is done here anyway: `padding` to the
                longest read, and `truncation` as in the preprocessing config. Any other is an error.

        Returns:
            `input_ids` and `attention_mask`, `(n_reads, longest)`; with `truncation="windows"` one row per window.

        Raises:
            ValueError: A read cannot be used under the preprocessing config: it is too short, or has no token; or
                reads that were given as `text` are to be cut into windows.
        """
        if (reads is None) == (text is None):
            raise ValueError("Give either reads or text, and not both.")
        if text is not None:
            groups = {group: kwargs.pop(group, None) or {} for group in MODALITY_OPTIONS}
            for group in APPLICABLE_OPTIONS:
                kwargs |= groups[group]
            return_tensors = kwargs.pop("return_tensors", return_tensors)
            kwargs = {name: value for name, value in kwargs.items() if value not in HARMLESS_OPTIONS.get(name, ())}
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: not an option here; the preprocessing config decides.")
        if text is not None and self.truncation == "windows":
            raise ValueError(
                "The preprocessing config cuts reads into windows, and one row per text was asked for; use a processor "
                'with truncation "keep_head", or cut the reads before.'
            )
        reads = text if reads is None else reads
        assert reads is not None
        texts = [reads] if isinstance(reads, str) else list(reads)
        sequence = np.frombuffer("".join(texts).encode(), np.uint8)
        offsets = np.cumsum([0, *map(len, texts)])
        packed = self.encode_reads(sequence, offsets)
        if packed.read_stats["n_used"] < len(texts):
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


def _unusual_positions(sequence: np.ndarray) -> np.ndarray:
    """Return the positions of bases other than A, C, G and T in upper case, int64.

    Args:
        sequence: uint8 `(n_bases,)`.
    """
    is_unusual = sequence != USUAL[0]
    for letter in USUAL[1:]:
        is_unusual &= sequence != letter
    return np.flatnonzero(is_unusual)


def _count_per_read(positions: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
    """Count positions of bases in each read: int64 `(n_reads,)`, or None if there are none.

    Args:
        positions: Of bases, ascending.
        offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.
    """
    if not len(positions):
        return None
    return np.bincount(np.searchsorted(offsets, positions, side="right") - 1, minlength=len(offsets) - 1)


def preprocessing_json(processor: MetagenBertProcessor) -> str:
    """Return the preprocessing config as canonical JSON, for fingerprints."""
    return json.dumps(processor.preprocessing, sort_keys=True)


__all__ = ["PREPROCESSING_FIELDS", "MetagenBertProcessor", "PackedReads", "preprocessing_json"]
