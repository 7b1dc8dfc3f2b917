"""Reads drawn on the fly for pretraining."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...models.metagenbert import MetagenBertProcessor, PackedReads
from ...reads import GenomeSet


class ReadSource:
    """Reads of genomes as batches of tokens. What is drawn depends on the seed and a key, never on what was before.

    Args:
        genomes: Where reads come from.
        processor: Tokenizer and preprocessing config.
        seed: First part of every key.
    """

    def __init__(self, genomes: GenomeSet, processor: MetagenBertProcessor, seed: int) -> None:
        self.genomes, self.processor, self.seed = genomes, processor, seed
        self.names = sorted(set(genomes.species))
        self.species = np.array([self.names.index(name) for name in genomes.species])

    def rng(self, *key: int) -> np.random.Generator:
        """The generator of one draw."""
        return np.random.default_rng([self.seed, *key])

    def evenly(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` genome numbers, none again before all others have come."""
        n_genomes = len(self.genomes.ids)
        return np.concatenate([rng.permutation(n_genomes) for _ in range(-(-n // n_genomes))])[:n]

    def reads(
        self, which: np.ndarray, length: tuple[int, int], error_rate: float, rng: np.random.Generator
    ) -> tuple[PackedReads, np.ndarray]:
        """One read of each genome numbered, tokenised, and the numbers of those that gave tokens."""
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
        """One batch, on the CPU.

        Args:
            key: What the draw depends on, beside the seed.
            n_reads: Reads, or pairs of reads of one genome.
            length: Shortest and longest read, in bases.
            error_rate: Substitutions a base.
            one_length: Whether all reads are of one length, itself drawn.
            pairs: Whether to draw pairs. A batch of pairs with a read that gives no token is drawn again.

        Returns:
            `input_ids (n_tokens,)`, `lengths (n_reads,)`, `species (n_reads,)`; of pairs also `second_input_ids` and
            `second_lengths`.

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
