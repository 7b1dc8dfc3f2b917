"""Reads sampled on the fly for pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...models.metagenbert import MetagenBertProcessor, PackedReads
from ...reads import GenomeSet


class ReadSource:
    """Samples reads of genomes as batches of tokens; a draw depends only on the seed and a key, not on earlier draws.

    Args:
        genomes: Genomes to sample reads from.
        processor: Tokenizer and preprocessing config.
        seed: First part of every key.
        parts: Number of genomes and share of the reads of consecutive parts of the genomes, within which reads are
            drawn evenly; by default one part.
    """

    def __init__(
        self,
        genomes: GenomeSet,
        processor: MetagenBertProcessor,
        seed: int,
        parts: Sequence[tuple[int, float]] | None = None,
    ) -> None:
        self.genomes, self.processor, self.seed = genomes, processor, seed
        self.parts = parts or [(len(genomes.ids), 1.0)]
        self.names = sorted(set(genomes.species))
        self.species = np.array([self.names.index(name) for name in genomes.species])

    def rng(self, *key: int) -> np.random.Generator:
        """Return the random generator of one draw."""
        return np.random.default_rng([self.seed, *key])

    def evenly(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `n` genome numbers, each genome of a part equally often up to one."""
        drawn, first, left = [], 0, n
        for i, (n_genomes, share) in enumerate(self.parts, 1):
            n_drawn = left if i == len(self.parts) else min(round(share * n), left)
            rounds = [first + rng.permutation(n_genomes) for _ in range(-(-n_drawn // n_genomes))]
            drawn.append(np.concatenate(rounds)[:n_drawn] if rounds else np.empty(0, np.int64))
            first, left = first + n_genomes, left - n_drawn
        return np.concatenate(drawn)

    def reads(
        self, which: np.ndarray, length: tuple[int, int], error_rate: float, rng: np.random.Generator
    ) -> tuple[PackedReads, np.ndarray]:
        """Draw and tokenize one read of each numbered genome; return also the genomes of the reads that gave tokens."""
        packed = self.processor.encode_reads(*self.genomes.draw(which, length, error_rate, rng))
        return packed, which[packed.rows]

    def batch(
        self,
        key: tuple[int, ...],
        n_reads: int,
        length: tuple[int, int],
        error_rate: float,
        *,
        one_length: bool = False,
        pairs: bool = False,
    ) -> dict[str, Any]:
        """Draw one batch, on the CPU.

        Args:
            key: Key that the draw depends on, besides the seed.
            n_reads: Number of reads, or of pairs of reads of one genome.
            length: Shortest and longest read, in bases.
            error_rate: Substitutions per base.
            one_length: Whether all reads have the same, randomly drawn length.
            pairs: Whether to draw pairs. A batch of pairs with a read without tokens is drawn again.

        Returns:
            `input_ids (n_tokens,)`, `lengths (n_reads,)` and `species (n_reads,)`; for pairs also `second_input_ids`
            and `second_lengths`.

        Raises:
            InputError: A hundred draws gave no reads with tokens.
        """
        rng = self.rng(*key)
        for _ in range(100):
            drawn = (int(rng.integers(length[0], length[1] + 1)),) * 2 if one_length else length
            which = self.evenly(n_reads, rng)
            packed, used = self.reads(which, drawn, error_rate, rng)
            if not pairs:
                if len(used):
                    return {**_tensors(packed), "species": torch.from_numpy(self.species[used])}
                continue
            second, kept = self.reads(which, drawn, error_rate, rng)
            if len(used) == len(kept) == len(which):
                batch = {**_tensors(packed), "species": torch.from_numpy(self.species[which])}
                return {**batch, **{f"second_{name}": value for name, value in _tensors(second).items()}}
        raise InputError(
            f"Reads of {list(length)} bases of these genomes give no tokens; draw longer ones, or look for N in them."
        )


def _tensors(packed: PackedReads) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.from_numpy(packed.input_ids), "lengths": torch.from_numpy(packed.lengths)}


__all__ = ["ReadSource"]
