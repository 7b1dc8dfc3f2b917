"""Planted genomes: descriptions name what each cluster's reads come from, as an independent count does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from biomeformer import load
from biomeformer.checkpoints import FOLDER, shipped_checkpoints
from biomeformer.errors import CohortError, GenomeError, InputError, TableError
from biomeformer.genomes import iter_references, ranks_of
from biomeformer.genomes.catalog import read_catalog
from biomeformer.metagenomes import ClusterDescriptions, describe_by_genomes, embed_sample, find_descriptions
from biomeformer.metagenomes.cluster_descriptions import NAME, descriptions_of
from biomeformer.metagenomes.cohort import provenance
from biomeformer.metagenomes.read_assignment import assign_reads
from biomeformer.reads import ReadBatch, ReferenceGenome, SampleReads, simulate_reads
from factories import random_sequences, reverse_complement, write_fastq, write_protein_genomes
from planted_genomes import FUNCTIONS, GENOMES, TAXA, planted_genome, planted_model, write_catalog

RANKS = ("species", "genus")
N_READS = 150


@pytest.fixture(scope="module")
def model():
    return planted_model()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return read_catalog(write_catalog(tmp_path_factory.mktemp("catalog")))


@pytest.fixture(scope="module")
def described(model, catalog):
    return describe(model, catalog, annotations="product")


def describe(model, catalog, annotations=None, **options):
    settings = {"reads_per_genome": N_READS, "error_rate": 0.0, "annotations": annotations} | options
    return describe_by_genomes(
        model, lambda: iter_references(catalog, RANKS, annotations=annotations), RANKS, **settings
    )


@pytest.fixture(scope="module")
def reads(catalog):
    """The simulated reads of each genome, as text."""
    return {
        genome.genome_id: simulate_reads(genome, N_READS, 150)[0].strings()
        for genome in iter_references(catalog, RANKS)
    }


def test_simulated_reads_lie_in_the_genome_on_either_strand_and_never_across_contigs(reads):
    for name, texts in reads.items():
        contigs = planted_genome(name)[0].values()
        forward = [any(text in contig for contig in contigs) for text in texts]
        backward = [any(reverse_complement(text) in contig for contig in contigs) for text in texts]
        assert all(a or b for a, b in zip(forward, backward, strict=True))
        assert 0.3 < np.mean(forward) < 0.7 and set("".join(texts)) == set("ACGT")


def test_purity_is_that_of_an_independent_count(model, described, reads, tmp_path):
    """Counted from FASTQ files by the way that samples take."""
    counts = {}
    for name, texts in reads.items():
        write_fastq(tmp_path / f"{name}.fastq", texts)
        counts[name] = embed_sample(model, SampleReads.single(tmp_path / f"{name}.fastq")).counts
    frame = described.frame
    total = sum(counts.values())
    assert frame["n_reads"].tolist() == total.tolist() and total.sum() == 3 * N_READS
    for rank, position in (("species", 0), ("genus", 1)):
        by_taxon = {}
        for name, row in counts.items():
            by_taxon[TAXA[name][position]] = by_taxon.get(TAXA[name][position], 0) + row
        for cluster in range(model.config.n_clusters):
            best = max(sorted(by_taxon), key=lambda taxon: by_taxon[taxon][cluster])
            row, n = frame.loc[cluster], by_taxon[best][cluster]
            assert row[rank] == best
            assert row[f"{rank}_purity"] == pytest.approx(n / total[cluster])
            assert row[f"{rank}_share"] == pytest.approx(n / by_taxon[best].sum())
            expected = by_taxon[best].sum() / total.sum()
            assert row[f"{rank}_lift"] == pytest.approx(n / total[cluster] / expected)
            shares = np.array([by_taxon[taxon][cluster] for taxon in by_taxon]) / total[cluster]
            shares = shares[shares > 0]
            assert row[f"{rank}_entropy"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-12)
    # The planted compositions are told apart: each has a cluster of its own, beside those of the genome of both.
    assert {"Lowella", "Highella"} <= set(frame["genus"]) and frame["genus_purity"].max() > 0.9


def test_functions_are_those_of_an_independent_count(model, described, reads):
    coding, functions = Counter(), Counter()
    for name, texts in reads.items():
        contigs, genes = planted_genome(name)
        clusters = assign_reads(model, ReadBatch.from_strings(texts))
        for text, cluster in zip(texts, clusters.tolist(), strict=True):
            for contig, bases in contigs.items():
                start = max(bases.find(text), bases.find(reverse_complement(text)))
                if start < 0:
                    continue
                middle = start + 75 + 1
                inside = [gene for gene in genes if gene[0] == contig and gene[1] <= middle <= gene[2]]
                coding[cluster] += len(inside)
                functions.update((cluster, gene[4]) for gene in inside if gene[4])
    for cluster, row in described.frame.iterrows():
        assert row["coding_share"] == pytest.approx(coding[cluster] / row["n_reads"])
        best = max(sorted(FUNCTIONS[:2]), key=lambda function, c=cluster: functions[c, function])
        assert row["function"] == best
        assert row["function_purity"] == pytest.approx(functions[cluster, best] / row["n_reads"])
    assert 0.2 < described.frame["coding_share"].mean() < 0.5


def test_equal_arguments_give_equal_descriptions_whatever_the_order_of_genomes(model, catalog, described):
    again = describe(model, replace(catalog, samples=catalog.samples[::-1]), annotations="product")
    pd.testing.assert_frame_equal(again.frame, described.frame)
    other = describe(model, catalog, seed=1)
    assert other.frame["n_reads"].tolist() != described.frame["n_reads"].tolist()
    assert "function" not in other.frame and other.record["settings"]["annotations"] is None


def test_the_catalog_digest_is_of_sequences_and_taxa(model, described, catalog):
    same = describe(model, catalog, annotations="product", seed=3)
    assert same.record["catalog"]["sha256"] == described.record["catalog"]["sha256"]
    first = catalog.samples[0]
    renamed = replace(first, metadata={**first.metadata, "species": "other"})
    other = describe(model, replace(catalog, samples=(renamed, *catalog.samples[1:])), annotations="product")
    assert other.record["catalog"]["sha256"] != described.record["catalog"]["sha256"]


def test_reads_in_proportion_to_lengths(model):
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", np.uint8)
    genomes = [
        ReferenceGenome(name, letters[rng.integers(0, 4, length)], {"species": name})
        for name, length in (("short", 1000), ("long", 3000))
    ]
    options = {"reads_per_genome": 100, "proportional": True}
    described = describe_by_genomes(model, lambda: genomes, ["species"], **options)
    frame = described.frame
    assert described.record["n_reads"] == 200
    # As many of the short one as its purity or the rest of the long one says.
    n_long = (frame["n_reads"] * np.where(frame["species"] == "long", frame["species_purity"], 0)).sum()
    assert n_long >= 100 and "in proportion" in described.summary()
    alone = describe_by_genomes(model, lambda: genomes[:1], ["species"], **options)
    assert alone.record["n_reads"] == 100


def frame_of(**columns):
    """Descriptions of as many clusters as values are given."""
    frame = pd.DataFrame(columns)
    frame.insert(0, "cluster", range(len(frame)))
    return frame


def test_names_are_of_the_narrowest_rank_with_half_of_the_reads(described):
    frame = frame_of(
        n_reads=[100, 100, 100, 9, 0, 100],
        species=["A b", "A b", "A b", "A b", "", ""],
        species_purity=[0.5, 0.3, 0.1, 1.0, np.nan, 0.0],
        genus=["A", "A", "C", "A", "", ""],
        genus_purity=[0.9, 0.817, 0.2, 1.0, np.nan, 0.0],
    )
    descriptions = ClusterDescriptions(frame, described.record)
    assert descriptions.names == (
        "A b, 50 % of reads",
        "A, 82 % of reads",
        "mixed, 20 % C",
        "too few reads of the reference",
        "too few reads of the reference",
        "no named taxon",
    )
    assert descriptions.label(1) == "cluster 1 (A, 82 % of reads)" and descriptions.short_label(1) == "1 A, 82 %"


def test_a_genome_without_a_taxon_counts_in_the_denominator(model, catalog, described):
    samples = tuple(
        replace(genome, metadata=genome.metadata | {"species": ""}) if genome.genome_id == "high" else genome
        for genome in catalog.samples
    )
    frame = describe(model, replace(catalog, samples=samples)).frame
    assert "Highella rara" not in set(frame["species"])
    lost = described.frame["species"] == "Highella rara"
    assert lost.any() and (frame["species_purity"][lost] < 0.5).all()
    pd.testing.assert_series_equal(frame["species_entropy"], described.frame["species_entropy"])


def test_descriptions_are_used_for_the_same_weights_alone(model, described, tmp_path):
    described.write(tmp_path / NAME)
    read = ClusterDescriptions.read(tmp_path)
    pd.testing.assert_frame_equal(read.frame, described.frame, check_dtype=False)
    assert read.record == described.record
    own = provenance(model, read_fraction=1.0, seed=0)
    assert find_descriptions(own, tmp_path).record == described.record
    assert find_descriptions(own) is None and find_descriptions(own, tmp_path / "nowhere", None) is None
    assert find_descriptions(own | {"weights_sha256": "ab"}, tmp_path) is None
    assert find_descriptions(own | {"contract": {}}, tmp_path) is None
    assert find_descriptions({}, tmp_path) is None
    with pytest.raises(TableError, match="there is no such file; fetch it again"):
        ClusterDescriptions.read(tmp_path / "nowhere")


def test_descriptions_beside_a_model_are_found_by_it(model, described, tmp_path):
    model.save_pretrained(tmp_path / "own")
    described.write(tmp_path / "own" / NAME)
    loaded = load(tmp_path / "own")
    assert descriptions_of(loaded)[0].record == described.record
    planted_model(4).save_pretrained(tmp_path / "other")
    described.write(tmp_path / "other" / NAME)
    descriptions, remark = descriptions_of(load(tmp_path / "other"))
    assert descriptions is None and "describes the clusters of other weights" in remark
    assert descriptions_of(model) == (None, None)


def test_shipped_descriptions_are_of_the_shipped_weights():
    described = [name for name in shipped_checkpoints() if (FOLDER / name / NAME).is_file()]
    assert described == ["metagenbert-mini"]
    model = load(described[0])
    descriptions, remark = descriptions_of(model)
    assert remark is None and len(descriptions) == model.config.n_clusters == 512
    assert find_descriptions(provenance(model, read_fraction=1.0, seed=0)).record == descriptions.record
    assert (FOLDER / described[0] / NAME).stat().st_size < 200_000


def test_shipped_descriptions_are_those_of_the_known_genomes(shared_data):
    """Few reads of each genome fall where the shipped table says that genus's reads are."""
    catalog = read_catalog(shared_data / "genomes" / "genomes.tsv")
    few = replace(catalog, samples=catalog.samples[::10])
    model = load("metagenbert-mini")
    shipped, _ = descriptions_of(model)
    frame = shipped.frame
    pure = frame.index[frame["genus_purity"] > 0.7]
    genera = {genome.metadata["genus"] for genome in few}
    n_right = n_all = 0
    for genome in iter_references(few, ["genus"]):
        clusters = assign_reads(model, simulate_reads(genome, 1000, 150, seed=9)[0])
        inside = clusters[np.isin(clusters, pure)]
        inside = inside[frame["genus"].to_numpy()[inside] == genome.taxa["genus"]]
        n_right += len(inside)
        own = frame["genus"].to_numpy()[clusters[np.isin(clusters, pure)]]
        n_all += int(np.isin(own, sorted(genera)).sum())
    assert n_right / n_all > 0.7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"read_length": 0}, "make no reads"),
        ({"reads_per_genome": 0}, "make no reads"),
        ({"read_length": 20}, "reads have at least 32 bases; give longer reads"),
        ({"read_length": 20_000}, "genome low has no stretch of 20000 bases without ambiguous ones"),
        ({"annotations": "KEGG"}, "has an annotation 'KEGG'; their genes have product"),
    ],
)
def test_what_cannot_be_described_is_refused(model, catalog, options, words):
    with pytest.raises(InputError, match=words):
        describe(model, catalog, **options)


def test_catalogs_without_sequence_or_taxa(model, tmp_path):
    proteins = read_catalog(write_protein_genomes(tmp_path, n_genomes=2))
    with pytest.raises(GenomeError, match="holds proteins, and reads are cut from DNA"):
        list(iter_references(proteins, ["genus"]))
    assert ranks_of(proteins) == ("genus",)
    with pytest.raises(CohortError, match="has no column 'clade' to take taxa from; it has habitat, genus, genome_id"):
        ranks_of(proteins, ["clade"])
    (tmp_path / "x.fasta").write_text(f">x\n{random_sequences(1, 900, 900)[0]}\n")
    (tmp_path / "plain.csv").write_text("genome_id,fasta\nx,x.fasta\n")
    plain = read_catalog(tmp_path / "plain.csv")
    assert ranks_of(plain) == ("genome_id",)
    described = describe_by_genomes(model, lambda: iter_references(plain, ranks_of(plain)), ranks_of(plain))
    assert set(described.frame["genome_id"]) <= {"x", ""}
    with pytest.raises(InputError, match="there is no genome"):
        describe_by_genomes(model, lambda: [], ["species"])
    assert set(GENOMES) == set(TAXA)
