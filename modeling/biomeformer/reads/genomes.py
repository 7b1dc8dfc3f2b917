"""Reads drawn from genomes, for training and evaluating read encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomeformer.errors import InputError
from biomeformer.io.tables import TableFormat, read_table
from biomeformer.reads.sample import SampleReader, SampleReads

FORMAT = TableFormat("list of genomes", "it must list genome_id, species, genus and file", InputError)
# Of a read that crosses from one contig into another; where contigs are shorter than the read, it may cross after all.
REDRAWS = 20
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
        joins: Positions of the N between contigs, int64, of each, where reads are to lie within a contig; else None.
    """

    ids: list[str]
    species: list[str]
    genera: list[str]
    sequences: list[np.ndarray]
    sha256: list[str]
    joins: list[np.ndarray] | None = None

    @classmethod
    def load(
        cls, folders: Path | Sequence[Path], held_out: Set[str] = frozenset(), *, only_held_out: bool = False
    ) -> GenomeSet:
        """Load the genomes of one or several folders that are not of held-out genera, or only those that are.

        Args:
            folders: Each holds FASTA files and `genomes.tsv` with columns genome_id, species, genus and file.
            held_out: Genera.
            only_held_out: Take these genera instead of the others.

        Returns:
            The genomes, in the order of the folders and their tables.

        Raises:
            InputError: A table is missing or malformed, a genome is listed twice, or there is no genome to use.
        """
        tables = [folder / "genomes.tsv" for folder in ([folders] if isinstance(folders, Path) else folders)]
        listed = ", ".join(map(str, tables))
        rows: dict[str, tuple[Path, dict[str, str]]] = {}
        for table in tables:
            content = read_table(table, FORMAT)
            content.require(("genome_id", "species", "genus", "file"))
            for _, row in content.records():
                if row["genome_id"] in rows:
                    raise InputError(f"{listed}: genome {row['genome_id']} is listed twice; list each genome once.")
                rows[row["genome_id"]] = table.parent, row
        unknown = held_out - {row["genus"] for _, row in rows.values()}
        if unknown:
            raise InputError(f"{listed} has no genus {sorted(unknown)[0]}, which is to be held out; correct the list.")
        genomes = cls([], [], [], [], [])
        for folder, row in rows.values():
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
            raise InputError(f"{listed} lists no genome to use; hold out fewer genera.")
        return genomes

    def __add__(self, other: GenomeSet) -> GenomeSet:
        """Return the genomes of both sets."""
        joins = None
        if self.joins is not None or other.joins is not None:
            none = np.empty(0, np.int64)
            joins = [*(self.joins or [none] * len(self.ids)), *(other.joins or [none] * len(other.ids))]
        return GenomeSet(
            self.ids + other.ids,
            self.species + other.species,
            self.genera + other.genera,
            self.sequences + other.sequences,
            self.sha256 + other.sha256,
            joins,
        )

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
            if self.joins is not None:
                self._keep_within_contigs(genome, starts, size, rng)
            step = np.where(rng.random(len(rows)) < 0.5, 1, -1)
            within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
            flat[np.repeat(offsets[rows], size) + within] = cut_reads(sequence, starts, size, step)
        substitute(flat, error_rate, rng)
        return flat, offsets

    def _keep_within_contigs(
        self, genome: int, starts: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Draw starts of reads that cross from one contig into another again, in place; at most `REDRAWS` times."""
        assert self.joins is not None
        joins, n_bases = self.joins[genome], len(self.sequences[genome])
        for _ in range(REDRAWS):
            crosses = np.searchsorted(joins, starts) != np.searchsorted(joins, starts + sizes)
            if not crosses.any():
                return
            starts[crosses] = rng.integers(0, n_bases - sizes[crosses])


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
