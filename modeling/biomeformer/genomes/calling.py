"""Call genes with Pyrodigal (Larralde 2022, doi:10.21105/joss.04296), a library of Prodigal (Hyatt et al. 2010)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import pyrodigal

from ..errors import InputError
from .genome import Gene

# Prodigal refuses to train its model on less.
MIN_TRAINING_BASES = 20_000
# On less it warns.
RECOMMENDED_TRAINING_BASES = 100_000
# The filters of warnings are those of all threads.
_FILTERS = Lock()


def call_genes(contigs: Mapping[str, str], *, translation_table: int = 11, threads: int = 1) -> tuple[list[Gene], str]:
    """Call the genes of contigs with Pyrodigal's default settings.

    For a genome of 20,000 bases or more the model is trained on the genome itself (Prodigal's single mode). Smaller
    fragments are called with Prodigal's pretrained models (meta mode), which come with their own translation tables.

    Args:
        contigs: Sequences in upper case, by name.
        translation_table: Number of NCBI's translation table; used in single mode.
        threads: Number of contigs to process at a time.

    Returns:
        Genes in the order of contigs and starts, and a description of how they were called, for the record.
    """
    sequences = {name: sequence.encode() for name, sequence in contigs.items() if sequence}
    n_bases = sum(map(len, sequences.values()))
    single = n_bases >= MIN_TRAINING_BASES
    finder: Any = pyrodigal.GeneFinder(meta=not single)
    if single:
        with _without_warning(n_bases):
            try:
                finder.train(*sequences.values(), translation_table=translation_table)
            except ValueError as error:
                raise InputError(
                    f"genes cannot be called with translation table {translation_table} ({error}); give 11 or 4, or a "
                    "file with annotated genes."
                ) from error
    with ThreadPoolExecutor(threads) as pool:
        predictions = list(pool.map(finder.find_genes, sequences.values()))
    genes = [
        _gene(name, number, gene)
        for name, contig_genes in zip(sequences, predictions, strict=True)
        for number, gene in enumerate(contig_genes, 1)
    ]
    mode = f"single mode, translation table {translation_table}" if single else "meta mode"
    return genes, f"called with pyrodigal {pyrodigal.__version__}, {mode}"


@contextmanager
def _without_warning(n_bases: int) -> Iterator[None]:
    """Suppress pyrodigal's recommendation of meta mode for little sequence; here the whole genome is in the file."""
    if n_bases >= RECOMMENDED_TRAINING_BASES:
        yield
        return
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


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


__all__ = ["MIN_TRAINING_BASES", "call_genes"]
