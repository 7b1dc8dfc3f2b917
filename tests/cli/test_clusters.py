"""`biomeformer clusters`: descriptions beside a model are shown wherever its clusters are, and reads are extracted."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from biomeformer.io.records import CHECKSUM, DamagedFileError
from biomeformer.metagenomes import ClusterDescriptions, embed_sample
from biomeformer.metagenomes.cluster_descriptions import NAME, RECORD
from biomeformer.reads import SampleReads
from factories import random_sequences, write_fastq
from planted_genomes import planted_genome, planted_model, write_catalog

QUICK = ["--reads-per-genome", 100, "--device", "cpu", "--threads", 1]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A folder with the catalog, and the model as a checkpoint."""
    folder = tmp_path_factory.mktemp("planted")
    write_catalog(folder)
    planted_model().save_pretrained(folder / "model")
    return folder


@pytest.fixture
def samples(tmp_path):
    """A cohort of twelve samples of reads of the planted genomes: two groups, of one genome each."""
    rows = ["sample_id,fastq,group"]
    for i in range(12):
        rng = np.random.default_rng(i)
        text = planted_genome(("low", "high")[i % 2])[0]["c0"].replace("N", "")
        write_fastq(tmp_path / f"s{i}.fastq", [text[j : j + 150] for j in rng.integers(0, len(text) - 150, 40)])
        rows.append(f"s{i},s{i}.fastq,{'ab'[i % 2]}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "cohort.csv"


def test_describe_then_every_report_and_export_names_the_clusters(planted, samples, tmp_path, run):
    describe = ["clusters", "describe", planted / "model", "--genomes", planted / "genomes.csv", *QUICK]
    result = run([*describe, "--annotations", "product", "--output", tmp_path / "d", "--beside"])
    assert result.exit_code == 0, result.output
    assert "300 reads of 3 genomes in 3 clusters" in result.stdout
    descriptions = ClusterDescriptions.read(tmp_path / "d")
    assert ClusterDescriptions.read(planted / "model").record == descriptions.record
    assert RECORD.read(tmp_path / "d" / "clusters.json") == descriptions.record
    rows = list(csv.DictReader((tmp_path / "d" / "clusters.tsv").open(), delimiter="\t"))
    assert [row["genus"] for row in rows] == descriptions.frame["genus"].tolist() and "function_top" in rows[0]
    page = (tmp_path / "d" / "report.html").read_text()
    assert "Lowella" in page and "transport of iron" in page and "mean purity, genus" in page
    assert str(planted) not in page + json.dumps(descriptions.record)
    # The command is deterministic.
    again = run([*describe, "--annotations", "product", "--output", tmp_path / "d2"])
    assert again.exit_code == 0
    assert (tmp_path / "d2" / "clusters.tsv").read_bytes() == (tmp_path / "d" / "clusters.tsv").read_bytes()

    result = run(["embed", samples, "--model", planted / "model", "--output", tmp_path / "run", *QUICK[2:]])
    assert result.exit_code == 0, result.output
    assert f"clusters  {tmp_path / 'run' / NAME}" in result.stdout
    labels = [descriptions.label(i) for i in range(3)]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Clusters drawn</h2>" in page and "simulated from the 3 genomes of genomes.csv" in page
    evaluate = ["phenotype", "evaluate", tmp_path / "run", "--target", "group", "--folds", 2, "--repeats", 1]
    result = run([*evaluate, "--model", "l1", "--threads", 1, "--output", tmp_path / "study"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "study" / "report.html").read_text()
    assert any(f'<td class="text">{label}</td>' in page for label in labels)
    report = ["phenotype", "report", tmp_path / "study", "--cohort", samples, "--model", planted / "model"]
    result = run([*report, "--threads", 1, "--permutations", 9, "--output", tmp_path / "r.html"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text()
    assert any(f"<b>C{label[1:]}</b>: " in page for label in labels) and '<code class="read">' not in page

    for file_format, file in (
        ("csv", "clusters.csv"),
        ("biom", "cluster-metadata.tsv"),
        ("anndata", "abundance.h5ad"),
        ("datasets", NAME),
    ):
        result = run(["export", tmp_path / "run", "--format", file_format, "--output", tmp_path / file_format])
        assert result.exit_code == 0, result.output
        assert (tmp_path / file_format / file).is_file()
    frame = pd.read_csv(tmp_path / "csv" / "clusters.csv", index_col=0)
    assert frame.index.tolist() == ["cluster_0", "cluster_1", "cluster_2"]
    assert frame["description"].tolist() == list(descriptions.names)
    assert ClusterDescriptions.read(tmp_path / "datasets").record == descriptions.record

    # Of other weights, they are not used, and that is said.
    planted_model(4).save_pretrained(tmp_path / "other")
    descriptions.write(tmp_path / "other" / NAME)
    result = run(["embed", samples, "--model", tmp_path / "other", "--output", tmp_path / "run2", *QUICK[2:]])
    assert result.exit_code == 0 and "describes the clusters of other weights" in result.stderr
    assert not (tmp_path / "run2" / NAME).exists()
    assert "Clusters drawn" not in (tmp_path / "run2" / "report.html").read_text()
    content = (tmp_path / "run" / NAME).read_bytes()
    (tmp_path / "run" / NAME).write_bytes(content[: len(content) // 2])
    result = run(["export", tmp_path / "run", "--format", "csv", "--output", tmp_path / "csv2"])
    assert result.exit_code == 2 and "biomeformer clusters describe" in result.stderr
    with pytest.raises(DamagedFileError):
        ClusterDescriptions.read(tmp_path / "run")
    assert CHECKSUM in json.loads((tmp_path / "d" / "clusters.json").read_text())


def test_a_catalog_that_lacks_a_taxon_is_said(planted, tmp_path, run):
    text = (planted / "genomes.csv").read_text().replace("Highella rara", "").replace(",low.gff", f",{planted}/low.gff")
    text = text.replace(",high.gff", f",{planted}/high.gff").replace(",both.gff", f",{planted}/both.gff")
    (tmp_path / "genomes.csv").write_text(text)
    describe = ["clusters", "describe", planted / "model", "--genomes", tmp_path / "genomes.csv", *QUICK]
    result = run([*describe, "--output", tmp_path / "d"])
    assert result.exit_code == 0, result.output
    assert "1 of 3 genomes have no species" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rank", "clade"], "has no column 'clade'"),
        (["--annotations", "KEGG"], "their genes have product"),
        (["--output", "."], "not empty"),
    ],
)
def test_describe_refuses_bad_input(planted, tmp_path, run, options, words, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x").touch()
    monkeypatch.chdir(tmp_path / "here")
    describe = ["clusters", "describe", planted / "model", "--genomes", planted / "genomes.csv", *QUICK]
    options = options if "--output" in options else [*options, "--output", tmp_path / "d"]
    result = run([*describe, *options])
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    result = run(["clusters", "describe", "metagenbert-mini", "--genomes", "x", "--output", tmp_path / "d", "--beside"])
    assert result.exit_code == 2 and "--beside needs the folder of a checkpoint" in result.stderr


def pairs(folder, n=60):
    """Mates of random reads with qualities of their own."""
    files = []
    for mate in (1, 2):
        reads = random_sequences(n, seed=mate)
        text = "".join(f"@r{i}/{mate} lane=3\n{s}\n+\n{chr(40 + i % 30) * len(s)}\n" for i, s in enumerate(reads))
        files.append(folder / f"x_R{mate}.fastq.gz")
        files[-1].write_bytes(gzip.compress(text.encode()))
    return files


def records(text):
    lines = text.splitlines()
    return [tuple(lines[i : i + 4]) for i in range(0, len(lines), 4)]


def test_reads_of_clusters_keep_names_qualities_and_order(planted, tmp_path, run):
    files = pairs(tmp_path)
    counts = embed_sample(planted_model(), SampleReads.paired(*files)).counts
    wanted = [0, 2]
    command = ["clusters", "reads", *files, "--model", planted / "model", "--cluster", 2, "--cluster", 0, *QUICK[2:]]
    result = run([*command, "--output", tmp_path / "out.fastq.gz"])
    assert result.exit_code == 0, result.output
    written = records(gzip.decompress((tmp_path / "out.fastq.gz").read_bytes()).decode())
    assert len(written) == counts[wanted].sum() > 0
    for cluster in wanted:
        assert f"{counts[cluster]:,} of 120 reads" in result.stdout
        assert sum(name.endswith(f" cluster={cluster}") for name, *_ in written) == counts[cluster]
    mates = [records(gzip.decompress(file.read_bytes()).decode()) for file in files]
    source = [record for pair in zip(*mates, strict=True) for record in pair]
    stripped = [(name.rpartition(" cluster=")[0], *rest) for name, *rest in written]
    positions = [source.index(record) for record in stripped]
    assert positions == sorted(positions)
    # Read again, they are of these clusters alone.
    again = embed_sample(planted_model(), SampleReads.single(tmp_path / "out.fastq.gz")).counts
    assert np.flatnonzero(again).tolist() == wanted and again.sum() == len(written)
    assert run([*command, "--output", tmp_path / "b.fastq.gz"]).exit_code == 0
    assert (tmp_path / "b.fastq.gz").read_bytes() == (tmp_path / "out.fastq.gz").read_bytes()
    assert run([*command, "--output", tmp_path / "out.fa"]).exit_code == 0
    assert (tmp_path / "out.fa").read_text().count(">") == len(written)


def test_reads_refuses_bad_input(planted, tmp_path, run):
    first, second = pairs(tmp_path, 5)
    (tmp_path / "x.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(random_sequences(20))))
    model = ["--model", planted / "model", *QUICK[2:]]
    for arguments, words in (
        (
            [first, "--cluster", 3, "--output", tmp_path / "o.fq"],
            "there is no cluster 3; the model has clusters 0 to 2",
        ),
        ([first, "--cluster", 1, "--output", tmp_path / "o.txt"], "must end in .fastq"),
        ([first, "--cluster", 1, "--output", first], "is a file of the sample"),
        ([first, second, first, "--cluster", 1, "--output", tmp_path / "o.fq"], "3 files were given"),
        ([tmp_path / "no.fq", "--cluster", 1, "--output", tmp_path / "o.fq"], "there is no such file"),
        (
            [tmp_path / "x.fasta", *(f"--cluster={i}" for i in range(3)), "--output", tmp_path / "o.fq"],
            "have no qualities",
        ),
    ):
        result = run(["clusters", "reads", *arguments, *model])
        assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (tmp_path / "o.fq").exists()
