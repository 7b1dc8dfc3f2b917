"""Public sequencing reads of several instruments and tools, where they are at hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from biomeformer.reads import ReadBatch, SampleReader, SampleReads, draw_reads


@pytest.fixture
def folder(shared_data: Path) -> Path:
    """Folder of the public reads."""
    return shared_data / "reads"


N_READS = {
    "763577454-SRS014459-Stool.fasta.gz": 20_000,
    "763577454-SRS014464-Anterior_nares.fasta.gz": 20_257,
    "763577454-SRS014470-Tongue_dorsum.fasta.gz": 20_000,
    "763577454-SRS014472-Buccal_mucosa.fasta.gz": 20_000,
    "763577454-SRS014476-Supragingival_plaque.fasta.gz": 20_000,
    "763577454-SRS014494-Posterior_fornix.fasta.gz": 20_000,
    "HD32R1_subsample.fastq.gz": 35_200,
    "SRR514303_midas.fastq.gz": 2_500,
}


@pytest.mark.parametrize("name", N_READS)
def test_every_real_read_is_read_once(folder: Path, name: str) -> None:
    path = folder / name
    reader = SampleReader(SampleReads.single(path))
    batch = ReadBatch.concatenate(list(reader))
    assert (reader.n_reads, reader.n_selected, len(batch)) == (N_READS[name],) * 3
    assert batch.index.tolist() == list(range(N_READS[name]))
    assert reader.bytes_done == reader.bytes_total == path.stat().st_size
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    if lines[0].startswith("@"):
        assert batch.strings() == lines[1::4]
    else:
        assert "".join(batch.strings()) == "".join(line for line in lines if not line.startswith(">"))


def test_real_mates_are_read_in_turn_and_subsampled_together(folder: Path) -> None:
    reads = SampleReads.paired(*(folder / f"metawibele_sample1_R{mate}.fastq.gz" for mate in (1, 2)))
    batch = ReadBatch.concatenate(list(SampleReader(reads)))
    assert len(batch) == 40_000
    assert batch.index.tolist() == [number for number in range(20_000) for _ in range(2)]
    tenth = ReadBatch.concatenate(list(SampleReader(reads, read_fraction=0.1, seed=7, batch_reads=100)))
    kept = set(tenth.index.tolist())
    assert len(tenth) == 2 * len(kept)
    assert tenth.strings() == batch.select(np.isin(batch.index, list(kept))).strings()
    drawn, n_reads = draw_reads(reads, 1000)
    assert (len(drawn), n_reads) == (1000, 40_000)
