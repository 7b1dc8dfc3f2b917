"""Genomes of a catalog as a reference for reads: their sequences, taxa, and genes with functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ..errors import CohortError, GenomeError, InputError
from ..reads.reference import ReferenceGenome
from .catalog import GENOME_ID, CatalogedGenome, GenomeCatalog
from .fasta import read_contigs
from .genbank import read_genbank
from .genome import Gene
from .gff import read_gff
from .reading import detect_kind
from .text import read_text

# From the narrowest.
RANKS = ("strain", "species", "genus", "family", "order", "class", "phylum", "kingdom", "superkingdom", "domain")
DEFAULT_RANKS = RANKS[1:]
# No bacterial gene is as long; a gene over the origin of a circular contig seems to cover all of it.
MAX_GENE_BASES = 200_000


def ranks_of(catalog: GenomeCatalog, ranks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns of a catalog that name taxa, from the narrowest rank.

    Args:
        catalog: The catalog.
        ranks: Columns to take; by default those called species, genus, family and so on up to domain. A catalog without
            any has the rank `genome_id`.

    Raises:
        CohortError: The catalog has no such column.
    """
    known = (*catalog.columns, GENOME_ID)
    for name in ranks:
        if name not in known:
            raise CohortError(f"{catalog.path} has no column {name!r} to take taxa from; it has {', '.join(known)}.")
    if ranks:
        return tuple(dict.fromkeys(ranks))
    return tuple(name for name in DEFAULT_RANKS if name in catalog.columns) or (GENOME_ID,)


def iter_references(
    catalog: GenomeCatalog, ranks: Sequence[str], *, annotations: str | None = None, threads: int = 1
) -> Iterator[ReferenceGenome]:
    """Read the genomes of a catalog as references for reads, one after the other.

    Args:
        catalog: The catalog.
        ranks: Columns of taxa, as from `ranks_of`.
        annotations: Kind of annotation to take as a gene's function, such as `product`, or a column of the genome's
            table of annotations. Genes are then read, or called where the file has none.
        threads: Number of contigs in which genes are called at a time.

    Raises:
        GenomeError: A file cannot be read or holds proteins.
        InputError: No gene of any genome has an annotation of that kind; raised at the end.
    """
    kinds: Counter[str] = Counter()
    for entry in catalog:
        contigs = read_sequences(entry)
        parts = [part for sequence in contigs.values() for part in (sequence, "N")]
        sequence = np.frombuffer("".join(parts).encode(), np.uint8)
        taxa = {rank: entry.genome_id if rank == GENOME_ID else entry.metadata[rank] for rank in ranks}
        if annotations is None:
            yield ReferenceGenome(entry.genome_id, sequence, taxa)
            continue
        genes = entry.read(threads=threads).genes
        kinds.update(kind for gene in genes for kind in gene.annotations)
        spans, functions = _placed(genes, contigs, annotations)
        yield ReferenceGenome(entry.genome_id, sequence, taxa, spans, functions)
    if annotations is not None and not kinds[annotations]:
        raise InputError(
            f"no gene of the {len(catalog)} genomes has an annotation {annotations!r}; their genes have "
            f"{', '.join(sorted(kinds)) or 'no annotations'}."
        )


def read_sequences(entry: CatalogedGenome) -> dict[str, str]:
    """Return the contigs of a cataloged genome by name, in upper case.

    Raises:
        GenomeError: The file cannot be read, or holds proteins.
    """
    text = read_text(entry.path)
    kind = entry.kind or detect_kind(entry.path, text)
    if kind == "proteins":
        raise GenomeError(f"{entry.path} holds proteins, and reads are cut from DNA; give the genome's FASTA.")
    if kind == "genbank":
        return dict(read_genbank(entry.path, text)[0])
    if kind == "gff":
        fasta = None if entry.fasta is None else (entry.fasta, read_text(entry.fasta))
        return dict(read_gff(entry.path, text, fasta)[0])
    return read_contigs(entry.path, text)


def _placed(genes: Collection[Gene], contigs: dict[str, str], annotations: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the spans of genes in the joined contigs, and their functions."""
    offset_of, offset = {}, 0
    for name, sequence in contigs.items():
        offset_of[name] = offset
        offset += len(sequence) + 1
    placed = [gene for gene in genes if gene.start and gene.end - gene.start < MAX_GENE_BASES]
    spans = [(offset_of[gene.contig] + gene.start - 1, offset_of[gene.contig] + gene.end) for gene in placed]
    functions = tuple(gene.annotations.get(annotations, "") for gene in placed)
    return np.array(spans, np.int64).reshape(-1, 2), functions


__all__ = ["DEFAULT_RANKS", "iter_references", "ranks_of", "read_sequences"]
