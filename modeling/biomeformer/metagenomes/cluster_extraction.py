"""Extraction of the reads of given clusters from a sample's files."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ..errors import InputError, RunError
from ..io.atomic import atomic_write
from ..io.compression import remove_compression_suffix
from ..models.metagenbert import MetagenBertModel
from ..reads import SampleReader, SampleReads
from ..reads.sample import iter_records
from .read_assignment import assign_reads

FASTQ_SUFFIXES, FASTA_SUFFIXES = (".fastq", ".fq"), (".fasta", ".fa", ".fna")


def check_clusters(clusters: Collection[int], n_clusters: int) -> None:
    """Check numbers of clusters.

    Raises:
        InputError: There is none, or the model has no cluster of a number.
    """
    if not clusters:
        raise InputError("no cluster was named; give --cluster once or several times.")
    for cluster in clusters:
        if not 0 <= cluster < n_clusters:
            raise InputError(f"there is no cluster {cluster}; the model has clusters 0 to {n_clusters - 1:,}.")


def check_read_file(path: Path) -> None:
    """Check that the name of a file to write says that it holds reads, by which `biomeformer publish` refuses it.

    Raises:
        InputError: It does not end in .fastq, .fq, .fasta, .fa or .fna, with or without .gz.
    """
    name = path.name.lower()
    suffix = Path(remove_compression_suffix(name)).suffix
    if suffix not in (*FASTQ_SUFFIXES, *FASTA_SUFFIXES) or not name.endswith((suffix, ".gz")):
        raise InputError(f"{path} must end in .fastq, .fq, .fasta, .fa or .fna, or one of these and .gz; rename it.")


def write_cluster_reads(
    model: MetagenBertModel,
    reads: SampleReads,
    clusters: Collection[int],
    path: str | Path,
    *,
    batch_tokens: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[dict[int, int], int]:
    """Write the reads of a sample that are nearest to given centroids, as FASTQ or FASTA.

    The sample is read twice, so that nothing but the cluster of each read is kept in memory. Names, qualities and the
    order of the reads are the sample's; ` cluster=NUMBER` is added to the name. A read whose mate is in another cluster
    is written without it.

    Args:
        model: Model with its processor, on the device to use.
        reads: The sample's files.
        clusters: Numbers of the clusters.
        path: File to write, by its ending FASTQ or FASTA, and compressed if it ends in .gz.
        batch_tokens: Token budget of one pass through the encoder.
        progress: Called after each batch with reads seen, bytes read and bytes in all.

    Returns:
        Number of reads written by cluster, and number of reads of the sample.

    Raises:
        InputError: A cluster does not exist, the file's name has another ending, or FASTQ is to be made of FASTA.
        ReadFileError: A file is damaged.
        RunError: The sample's files changed meanwhile.
    """
    path = Path(path)
    check_read_file(path)
    check_clusters(clusters, model.config.n_clusters)
    wanted = np.array(sorted(set(clusters)))
    parts = []
    reader = SampleReader(reads)
    for batch in reader:
        assigned = assign_reads(model, batch, batch_tokens)
        parts.append(np.where(np.isin(assigned, wanted), assigned, -1).astype(np.int32))
        if progress is not None:
            progress(reader.n_reads, reader.bytes_done, reader.bytes_total)
    cluster_of = np.concatenate(parts)
    as_fasta = Path(remove_compression_suffix(path.name.lower())).suffix in FASTA_SUFFIXES
    n_records = 0
    with atomic_write(path) as partial, partial.open("wb") as raw:
        # Without a time or name in the header, so that equal reads make equal files.
        file = gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.name.lower().endswith(".gz") else raw
        for record in iter_records(reads):
            n_records += 1
            if n_records > len(cluster_of):
                break
            cluster = cluster_of[n_records - 1]
            if cluster < 0:
                continue
            if as_fasta:
                file.write(f">{record.name} cluster={cluster}\n{record.sequence}\n".encode())
            elif record.qualities is None:
                raise InputError(
                    f"{', '.join(map(str, reads.paths()))}: the reads have no qualities, so they cannot be written as "
                    "FASTQ; give --output a name that ends in .fasta."
                )
            else:
                file.write(f"@{record.name} cluster={cluster}\n{record.sequence}\n+\n{record.qualities}\n".encode())
        if n_records != len(cluster_of):
            raise RunError(f"{', '.join(map(str, reads.paths()))}: changed while being read; give the command again.")
        if file is not raw:
            file.close()
    return {int(cluster): int((cluster_of == cluster).sum()) for cluster in wanted}, len(cluster_of)


__all__ = ["check_clusters", "check_read_file", "write_cluster_reads"]
