"""Single and paired samples of one sheet, in files of every layout, equal the same samples embedded alone."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import biomeformer
from biomeformer.reads import SampleReads
from factories import random_sequences

SINGLE = random_sequences(90, seed=1)
MATES = random_sequences(120, seed=2), random_sequences(120, seed=3)
LANE = random_sequences(70, seed=4)


def fastq(sequences: list[str], name: str = "r{}", plus: str = "+", end: str = "\n", width: int = 1000) -> bytes:
    lines = []
    for i, sequence in enumerate(sequences):
        parts = [sequence[start : start + width] for start in range(0, len(sequence), width)]
        lines += ["@" + name.format(i), *parts, plus, *("I" * len(part) for part in parts)]
    return "".join(line + end for line in lines).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    # The samples as plain four-line FASTQ.
    for name, sequences in (("single", SINGLE), ("one", MATES[0]), ("two", MATES[1]), ("lane", LANE)):
        (folder / f"{name}.fq").write_bytes(fastq(sequences))
    # The same reads as other tools write them.
    (folder / "single.odd").write_bytes(b"\n" + fastq(SINGLE, plus="+SRR1", end=" \r\n") + b"\n\n")
    for mate, sequences in enumerate(MATES, 1):
        name = f"M:1:{{}}.{mate}:N:0:ACGT#0/{mate}"
        (folder / f"mate{mate}.odd").write_bytes(gzip.compress(fastq(sequences, name)))
    (folder / "lane.odd").write_bytes(fastq([sequence.replace("N", ".") for sequence in LANE], width=60))
    return folder


@pytest.mark.parametrize(
    "rows",
    [
        ["sample,fastq_1,fastq_2", "S,single.odd,", "P,mate1.odd,mate2.odd", "P,lane.odd,"],
        ["sample_id,fastq_1,fastq_2", "S,single.odd,", "P,mate1.odd,mate2.odd", "L,lane.odd,", ",,"],
    ],
)
def test_a_cohort_of_mixed_layouts_equals_its_samples_alone(folder: Path, rows: list[str]) -> None:
    model = biomeformer.load("metagenbert-mini")
    (folder / "sheet.csv").write_text("\n".join(rows) + "\n")
    table = model.embed_cohort(folder / "sheet.csv")
    pair = (folder / "one.fq", folder / "two.fq")
    alone = {
        "S": SampleReads.single(folder / "single.fq"),
        "P": SampleReads.paired(*pair),
        "L": SampleReads.single(folder / "lane.fq"),
    }
    if "L" not in table.sample_ids:
        alone["P"] = SampleReads((pair, (folder / "lane.fq",)))
        del alone["L"]
    assert list(table.sample_ids) == list(alone)
    for i, reads in enumerate(alone.values()):
        embedding = biomeformer.metagenomes.embed_sample(model, reads)
        assert np.array_equal(table.counts[i], embedding.counts) and embedding.counts.sum() > 0
        assert table.read_stats.iloc[i].to_dict() == embedding.read_stats
