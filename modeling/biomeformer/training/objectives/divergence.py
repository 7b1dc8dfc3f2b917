"""More species than there are genomes: copies that diverge with a mutational bias of their own.

An encoder that tells a hundred species apart has seen few of the ways in which species differ. A copy whose bases
were substituted at rates that depend on base and neighbours, alike on both strands, differs from its genome in
composition as relatives do. It counts as a species of its own.
"""

from __future__ import annotations

import numpy as np

from ...reads import GenomeSet

BASES = np.frombuffer(b"ACGT", np.uint8)
LARGEST_RATE = 0.3
CODES = np.full(256, 4, np.uint8)
CODES[BASES] = np.arange(4)


def diverge(sequence: np.ndarray, rate: float, rng: np.random.Generator, shape: float = 0.3) -> np.ndarray:
    """Copy a genome with random substitutions.

    Args:
        sequence: uint8 `(n_bases,)`, in ASCII.
        rate: Mean number of substitutions per base.
        rng: Random generator of the mutational bias and the substitutions.
        shape: Shape of the Gamma distribution from which the rate of each substitution, given the base's neighbours, is
            drawn; the smaller it is, the more the copy differs in composition.

    Returns:
        uint8 `(n_bases,)`. The first and last base, and bases beside a letter other than A, C, G and T, are unchanged.
    """
    rates = rng.gamma(shape, 1.0, (4, 4, 4, 4))  # left, base, right, new base
    rates = rates + rates.transpose(2, 1, 0, 3)[::-1, ::-1, ::-1, ::-1]  # the reverse complement's
    rates[:, range(4), :, range(4)] = 0
    codes = CODES[sequence].astype(np.int64)
    known = codes < 4
    inner = known[:-2] & known[1:-1] & known[2:]
    context = np.where(inner, 16 * codes[:-2] + 4 * codes[1:-1] + codes[2:], 0)
    frequency = np.bincount(context[inner], minlength=64) / max(int(inner.sum()), 1)
    table = rates.reshape(64, 4)
    table = np.minimum(table * rate / max(float(frequency @ table.sum(1)), 1e-12), LARGEST_RATE)
    # Where a context's rates add up to more than one, the later bases get what is left.
    bounds = table.cumsum(1)
    draw = rng.random(len(context))
    new = np.zeros(len(draw), np.uint8)
    for base in range(4):
        new += draw >= bounds[:, base][context]
    copy = sequence.copy()
    changed = inner & (new < 4)
    copy[1:-1][changed] = BASES[new[changed]]
    return copy


def with_diverged_copies(genomes: GenomeSet, n_copies: int, rate: tuple[float, float], seed: int) -> GenomeSet:
    """Add diverged copies of each genome, which count as species of their own.

    Args:
        genomes: The genomes; each copy takes as much memory again.
        n_copies: Number of copies per genome.
        rate: Smallest and largest mean number of substitutions per base; each copy draws its own.
        seed: Seed of all copies.

    Returns:
        The genomes, followed by the copies.
    """
    ids, species, genera = list(genomes.ids), list(genomes.species), list(genomes.genera)
    sequences, hashes = list(genomes.sequences), list(genomes.sha256)
    for copy in range(1, n_copies + 1):
        for i in range(len(genomes.ids)):
            rng = np.random.default_rng([seed, copy, i])
            ids.append(f"{genomes.ids[i]}, diverged {copy}")
            species.append(f"{genomes.species[i]} of {genomes.ids[i]}, diverged {copy}")
            genera.append(genomes.genera[i])
            sequences.append(diverge(genomes.sequences[i], float(rng.uniform(*rate)), rng))
            hashes.append(genomes.sha256[i])
    return GenomeSet(ids, species, genera, sequences, hashes)


__all__ = ["diverge", "with_diverged_copies"]
