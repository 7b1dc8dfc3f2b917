"""Settings of the preparation of labelled sequences."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError
from ..io.tables import missing_words

TASKS = ("classification", "multi_label", "regression")
EDGES = ("drop", "shift", "clip", "pad")
STRATEGIES = ("random", "chromosome", "cluster", "group")
LEAST_SIMILARITY = 0.27


@dataclass(frozen=True)
class PreparationSettings:
    """Settings that determine which sequences a dataset holds and in which split each is.

    Attributes:
        task: `classification`, `multi_label` (labels of a sequence separated by `;`) or `regression`.
        positive: The positive class of two, to which recall, precision and threshold refer; by default the last in
            alphabetical order. It becomes the second class.
        length: Bases of a window around an interval's summit.
        edges: How to treat a window that crosses an end of its contig: `drop` it, `shift` it inside, `clip` it, or
            `pad` what is within the contig to the full length with N on both sides alike, which count for `max_n`.
        canonical_contigs: Whether to drop intervals on contigs other than numbered chromosomes, X, Y, Z, W and M.
        max_n: Largest fraction of N in a sequence; sequences above it are dropped.
        min_length: Minimum length in bases; shorter sequences are dropped.
        sequence_column: Table column with the sequences.
        label_column: Table column with the labels.
        id_column: Table column with the ids, or None for `FILE:LINE`.
        group_column: Table column with groups; sequences of one group stay in one split.
        reverse_complement: Whether a sequence and its reverse complement count as identical.
        balance: Whether to sample as many sequences of each class as the smallest class has.
        split: `random` (stratified by class), `chromosome`, `cluster` (near-duplicates stay together) or `group`.
        shares: Fractions of train, validation and test.
        validation_contigs: Validation contigs of a chromosome split; chosen to reach the shares if `test_contigs` is
            empty too.
        test_contigs: Test contigs of a chromosome split.
        similarity: Jaccard index of k-mers from which a cluster split keeps two sequences together.
        missing: Further words that mark a missing label in a table, such as "None"; rows with one are dropped.
        not_missing: Words that are labels here although they commonly mark a missing one, such as "NA".
        max_tokens: Context length of a model, for which to report how many sequences it would truncate.
        seed: Seed of every random choice.
    """

    task: str = "classification"
    positive: str | None = None
    length: int = 1000
    edges: str = "drop"
    canonical_contigs: bool = False
    max_n: float = 0.1
    min_length: int = 1
    sequence_column: str = "sequence"
    label_column: str = "label"
    id_column: str | None = None
    group_column: str | None = None
    reverse_complement: bool = True
    balance: bool = False
    split: str = "random"
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    validation_contigs: tuple[str, ...] = ()
    test_contigs: tuple[str, ...] = ()
    similarity: float = 0.3
    missing: tuple[str, ...] = ()
    not_missing: tuple[str, ...] = ()
    max_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("task", TASKS), ("edges", EDGES), ("split", STRATEGIES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; give {', '.join(known)}.")
        for name, least in (("length", 1), ("min_length", 1), ("max_tokens", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; it must be at least {least}.")
        if not 0 <= self.max_n <= 1:
            raise InputError(f"max_n is {self.max_n}; it is a share of bases, from 0 to 1.")
        if not LEAST_SIMILARITY <= self.similarity <= 1:
            raise InputError(f"similarity is {self.similarity}; give a Jaccard index from {LEAST_SIMILARITY} to 1.")
        if self.positive is not None and self.task != "classification":
            raise InputError(f"positive is {self.positive!r} and the task {self.task}; leave it out.")
        missing_words(self.missing, self.not_missing)
        self._check_shares()
        self._check_split()

    def _check_shares(self) -> None:
        shares = self.shares
        is_valid = len(shares) == 3 and all(0 <= share <= 1 for share in shares) and shares[0] > 0
        if not is_valid or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            given = ",".join(f"{share:g}" for share in shares)
            raise InputError(
                f"shares are {given}; give three of train, validation and test that add up to 1, train's above 0."
            )

    def _check_split(self) -> None:
        if self.balance and self.task != "classification":
            raise InputError(f"balance needs classes, and the task is {self.task}; leave it out.")
        if (self.split == "group") != (self.group_column is not None):
            raise InputError(
                "split 'group' and group_column go together: the column names the groups that stay in one split."
            )
        named = (*self.validation_contigs, *self.test_contigs)
        if named and self.split != "chromosome":
            raise InputError(f"validation_contigs and test_contigs are of split 'chromosome', not {self.split!r}.")
        twice = sorted(set(self.validation_contigs) & set(self.test_contigs))
        if twice:
            raise InputError(f"contig {twice[0]!r} is in both validation_contigs and test_contigs; name it in one.")

    @property
    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


__all__ = ["PreparationSettings"]
