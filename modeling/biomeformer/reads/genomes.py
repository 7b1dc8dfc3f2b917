"""Reads drawn from genomes, for training and evaluating read encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomeformer.errors import InputError
from biomeformer.io.tables import TableFormat, read_table
from biomeformer.reads.sample import SampleReader, SampleReads

FORMAT = TableFormat("list of genomes", "it must list genome_id, species, genus and file", InputError)
COMPLEMENT = np.arange(256, dtype=np.uint8)
COMPLEMENT[list(b"ACGT")] = list(b"TGCA")


@dataclass
class GenomeSet:
    """Genomes in memory.

    Attributes:
        ids: `genome_id` of each.
        species: Species of each.
        genera: Genus of each.
        sequences: uint8 `(length,)` of each, contigs joined by N.
        sha256: Of each sequence.
    """

    ids: list[str]
    species: list[str]
    genera: list[str]
    sequences: list[np.ndarray]
    sha256: list[str]

    @classmethod
    def load(cls, folder: Path, held_out: Set[str] = frozenset(), *, only_held_out: bool = False) -> GenomeSet:
        """Load the genomes of `folder` that are not of held-out genera, or only those that are.

        Args:
            folder: Holds FASTA files and `genomes.tsv` with columns genome_id, species, genus and file.
            held_out: Genera.
            only_held_out: Take these genera instead of the others.

        Returns:
            The genomes, in the table's order.

        Raises:
            InputError: The table is missing, malformed, or names no genome to use.
        """
        table = folder / "genomes.tsv"
        content = read_table(table, FORMAT)
        content.require(("genome_id", "species", "genus", "file"))
        rows = [row for _, row in content.records()]
        unknown = held_out - {row["genus"] for row in rows}
        if unknown:
            raise InputError(f"{table} has no genus {sorted(unknown)[0]}, which is to be held out; correct the list.")
        genomes = cls([], [], [], [], [])
        for row in rows:
            if (row["genus"] in held_out) != only_held_out:
                continue
            parts = []
            for batch in SampleReader(SampleReads.single(folder / row["file"])):
                parts += [part for text in batch.strings() for part in (text.upper(), "N")]
            raw = "".join(parts).encode()
            genomes.ids.append(row["genome_id"])
            genomes.species.append(row["species"])
            genomes.genera.append(row["genus"])
            genomes.sequences.append(np.frombuffer(raw, np.uint8))
            genomes.sha256.append(hashlib.sha256(raw).hexdigest())
        if not genomes.ids:
            raise InputError(f"{table} lists no genome to use; hold out fewer genera.")
        return genomes

    def draw(
        self, which: np.ndarray, length: tuple[int, int], error_rate: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one read of each genome numbered in `which`, from either strand, with substitutions.

        Args:
            which: Genome numbers `(n_reads,)`.
            length: Shortest and longest read, in bases.
            error_rate: Chance that a base is replaced by a random one.
            rng: Source of randomness.

        Returns:
            Bases end to end uint8 `(n_bases,)` and offsets int64 `(n_reads + 1,)`.
        """
        lengths = rng.integers(length[0], length[1] + 1, len(which))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.empty(int(offsets[-1]), np.uint8)
        for genome in np.unique(which):
            rows = np.flatnonzero(which == genome)
            sequence, size = self.sequences[genome], lengths[rows]
            starts = rng.integers(0, len(sequence) - size)
            step = np.where(rng.random(len(rows)) < 0.5, 1, -1)
            within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            flat[np.repeat(offsets[rows], size) + within] = cut_reads(sequence, starts, size, step)
        substitute(flat, error_rate, rng)
        return flat, offsets


def cut_reads(sequence: np.ndarray, starts: np.ndarray, sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Cut reads out of a sequence.

    Args:
        sequence: uint8 `(length,)`.
        starts: First base of each read on the forward strand, from 0, `(n_reads,)`.
        sizes: Bases of each read, `(n_reads,)`.
        steps: 1 for the forward strand, -1 for the reverse complement, `(n_reads,)`.

    Returns:
        Bases of the reads end to end, uint8 `(n_bases,)`.
    """
    first = np.where(steps == 1, starts, starts + sizes - 1)
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    bases = sequence[np.repeat(first, sizes) + within * np.repeat(steps, sizes)]
    return np.where(np.repeat(steps == -1, sizes), COMPLEMENT[bases], bases)


def substitute(bases: np.ndarray, error_rate: float, rng: np.random.Generator) -> None:
    """Replace bases by random ones in place, each with the chance `error_rate`."""
    wrong = rng.random(len(bases)) < error_rate
    bases[wrong] = rng.choice(np.frombuffer(b"ACGT", np.uint8), int(wrong.sum()))
