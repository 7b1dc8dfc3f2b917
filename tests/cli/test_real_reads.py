"""The shipped checkpoint on real shotgun reads, from the command line."""

from __future__ import annotations

import gzip

import numpy as np

from biomeformer.metagenomes import AbundanceTable


def test_real_samples_give_equal_counts_at_another_batch_size(tmp_path, shared_data, run):
    """Six body sites and a paired gut sample: read counts, tallies, and equal integers at another batch size."""
    reads = shared_data / "reads"
    sites = {path.name.split("-")[-1].split(".")[0]: path for path in sorted(reads.glob("*.fasta.gz"))}
    rows = [f"{site},{path},{site}" for site, path in sites.items()]
    (tmp_path / "sites.csv").write_text("\n".join(["sample_id,fastq,site", *rows]) + "\n")
    mates = [next(reads.glob(f"*_R{mate}.fastq.gz")) for mate in (1, 2)]
    (tmp_path / "gut.csv").write_text(f"sample_id,fastq_1,fastq_2\ngut,{mates[0]},{mates[1]}\n")

    def embed(cohort, name, *options):
        arguments = ["embed", tmp_path / cohort, "--model", "metagenbert-mini", "--output", tmp_path / name]
        result = run([*arguments, "--no-report", *options])
        assert result.exit_code == 0, result.output
        return AbundanceTable.read(tmp_path / name / "abundance.parquet")

    n_records = [gzip.decompress(path.read_bytes()).count(b">") for path in sites.values()]
    assert len(n_records) == 6 and min(n_records) == 20_000
    for cohort, n_reads in (("sites.csv", n_records), ("gut.csv", [40_000])):
        table, again = embed(cohort, f"{cohort}-a"), embed(cohort, f"{cohort}-b", "--batch-tokens", 5_000)
        read_stats = table.read_stats
        assert read_stats["n_reads"].tolist() == read_stats["n_selected"].tolist() == n_reads
        assert (read_stats["n_used"] + read_stats["n_too_short"] + read_stats["n_no_tokens"]).tolist() == n_reads
        assert table.counts.sum(1).tolist() == read_stats["n_used"].tolist() and (read_stats["n_used"] > 19_000).all()
        assert np.array_equal(table.counts, again.counts) and read_stats.equals(again.read_stats)
