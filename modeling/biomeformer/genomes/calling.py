"""Genes called with Pyrodigal (Larralde 2022, doi:10.21105/joss.04296), which is Prodigal (Hyatt et al. 2010)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyrodigal

from .genome import Gene

# Prodigal cannot be trained on less.
LEAST_TRAINING_BASES = 20_000


def call_genes(contigs: Mapping[str, str], *, translation_table: int = 11, threads: int = 1) -> tuple[list[Gene], str]:
    """Genes of contigs, as `pyrodigal` itself finds them with its defaults.

    A genome of 20,000 bases and more trains the model on itself (Prodigal's single mode); smaller fragments take the
    models that Prodigal brings for metagenomes, which choose their translation table by themselves.

    Args:
        contigs: Sequences in capital letters, by name.
        translation_table: NCBI's number, for single mode.
        threads: Contigs at once.

    Returns:
        Genes in the order of contigs and starts, and how they were called, in words.
    """
    sequences = {name: sequence.encode() for name, sequence in contigs.items() if sequence}
    single = sum(map(len, sequences.values())) >= LEAST_TRAINING_BASES
    finder: Any = pyrodigal.GeneFinder(meta=not single)
    if single:
        with warnings.catch_warnings():
            # Below 100,000 bases it advises, rightly for most uses, against what is the only choice here.
            warnings.simplefilter("ignore", UserWarning)
            finder.train(*sequences.values(), translation_table=translation_table)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(finder.find_genes, sequences.values()))
    genes = [
        _gene(name, number, gene)
        for name, on_contig in zip(sequences, found, strict=True)
        for number, gene in enumerate(on_contig, 1)
    ]
    mode = f"single mode, translation table {translation_table}" if single else "meta mode"
    return genes, f"called with pyrodigal {pyrodigal.__version__}, {mode}"


def _gene(contig: str, number: int, gene: Any) -> Gene:
    return Gene(
        gene_id=f"{contig}_{number}",
        contig=contig,
        start=gene.begin,
        end=gene.end,
        strand=gene.strand,
        protein=gene.translate(),
        source="called",
        partial=gene.partial_begin or gene.partial_end,
    )


__all__ = ["LEAST_TRAINING_BASES", "call_genes"]
