"""`biomeformer genome`: from a catalog to vectors; errors in one line."""

from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from transformers import EsmModel, pipeline

import biomeformer
from biomeformer import (
    GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification,
    GenomeTransformerProcessor,
    read_genome,
)
from biomeformer.errors import CheckpointError
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.genomes.proteins import esm_config, load_protein_encoder
from biomeformer.genomes.training_range import training_range
from factories import tiny_esm, write_protein_genomes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genomes")
    tiny_esm(folder / "esm")
    write_protein_genomes(folder, 4)
    return folder


def test_genome_embed_writes_table_vectors_and_dataset(place, run, tmp_path):
    arguments = ["genome", "embed", place / "genomes.csv", "-e", place / "esm", "-o", tmp_path / "out"]
    result = run([*arguments, "--format", "datasets", "--threads", 1])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("4 genomes, 160 genes, 1") and "of the genes share theirs" in lines[0]
    assert lines[1].startswith("0 proteins longer than 1022 residues lost their end; left out 0 pseudogenes")
    assert lines[-1] == f"dataset  {tmp_path / 'out' / 'dataset'}"
    assert "4 genomes" in result.stderr and "4 g3: embedded" in result.stderr
    found = EmbeddedGenomes.read(tmp_path / "out")
    assert found.vectors("g2").shape == (40, 24)
    assert len(datasets.load_dataset(str(tmp_path / "out" / "dataset"), split="train")) == 4
    again = run([*arguments, "--threads", 1])
    assert again.exit_code == 0 and "embedded" not in again.stderr
    assert "resuming an earlier run: 4 of 4 genomes are done" in again.stderr


def test_a_genome_that_fails(place, run, tmp_path):
    (tmp_path / "bad.faa").write_text(">a\nMK7\n")
    rows = [f"g0,{place}/g0.faa", "bad,bad.faa"]
    (tmp_path / "genomes.csv").write_text("\n".join(["genome_id,proteins", *rows]) + "\n")
    result = run(["genome", "embed", tmp_path / "genomes.csv", "-e", place / "esm", "-o", tmp_path / "out"])
    assert result.exit_code == 1 and "failed  bad: " in result.stderr and "'7' is no residue" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: 1 of 2 genomes failed (bad)")


@pytest.mark.parametrize(
    ("catalog", "encoder", "fragments"),
    [
        ("none.csv", "esm", ["none.csv", "no such table of genomes"]),
        ("g0.faa", "esm", ["g0.faa", "is a FASTA file", "genome_id and fasta"]),
        ("genomes.csv", "metagenbert-mini", ["model_type 'metagenbert'", "ESM-2"]),
        ("genomes.csv", "nowhere", ["nowhere", "no folder"]),
    ],
)
def test_genome_embed_refuses_bad_catalogs_and_encoders(place, run, tmp_path, catalog, encoder, fragments):
    model = place / encoder if encoder == "esm" else encoder
    result = run(["genome", "embed", place / catalog, "-e", model, "-o", tmp_path / "out"])
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def model_dir(place, tmp_path_factory):
    """A checkpoint of random weights with its protein encoder."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24, "protein_size": 24, "max_genes": 30}
    labels = {"id2label": {0: "host", 1: "soil"}, "label2id": {"host": 0, "soil": 1}, "label_name": "habitat"}
    model = GenomeTransformerForSequenceClassification(GenomeTransformerConfig(**sizes, **labels))
    digest = load_protein_encoder(place / "esm").weights_sha256
    preprocessing = {"protein_encoder": "protein_encoder", "protein_encoder_sha256": digest}
    model.processor = GenomeTransformerProcessor(protein_size=24, max_genes=30, **preprocessing)
    model.save_pretrained(folder)
    shutil.copytree(place / "esm", folder / "protein_encoder")
    return folder


def test_genome_predict_prints_one_row_per_genome(place, model_dir, run, tmp_path):
    files = [place / "g0.faa", place / "g1.faa"]
    result = run(["genome", "predict", *files, "--model", model_dir, "--threads", 1])
    assert result.exit_code == 0, result.output
    header, first, second = (line.split("\t") for line in result.stdout.splitlines())
    assert header == ["genome_id", "habitat", "host", "soil", "n_genes"]
    assert first[0] == "g0" and second[0] == "g1" and first[4] == "40" and first[1] in ("host", "soil")
    assert float(first[2]) + float(first[3]) == pytest.approx(1, abs=1e-5)
    assert "g0: 10 genes beyond the model's limit were not seen" in result.stderr
    model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir)
    assert model.predict(files[0])["host"] == pytest.approx(float(first[2]), abs=1e-5)
    encoder, genome = load_protein_encoder(place / "esm"), read_genome(files[0])
    vectors = encoder.embed([gene.protein for gene in genome.genes]).vectors.astype("float16").astype("float32")
    with torch.no_grad():
        logits = model(**model.processor(vectors, genome.contig_ids)).logits
    assert float(logits.softmax(1)[0, 0]) == pytest.approx(float(first[2]), abs=1e-5)
    written = run(["genome", "predict", *files, "--model", model_dir, "--output", tmp_path / "t.tsv"])
    assert written.exit_code == 0 and (tmp_path / "t.tsv").read_text() == result.stdout


def test_inspect_shows_a_genome_models_classes_and_preprocessing(place, model_dir, run):
    result = run(["inspect", model_dir, "--json"])
    record = json.loads(result.stdout)
    assert record["model"]["classes"] == ["host", "soil"] and record["model"]["num_hidden_layers"] == 2
    assert (
        record["preprocessing"]["max_genes"] == 30 and record["preprocessing"]["protein_encoder"] == "protein_encoder"
    )
    with pytest.raises(CheckpointError, match="genomes are its input"):
        biomeformer.load(model_dir)


def test_the_contract_says_how_much_of_a_protein_is_read(place, model_dir, tmp_path):
    model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir)
    model.processor.max_residues = 10
    model.save_pretrained(tmp_path / "model")
    shutil.copytree(place / "esm", tmp_path / "model" / "protein_encoder")
    short = GenomeTransformerForSequenceClassification.from_pretrained(tmp_path / "model")
    encoder, genome = load_protein_encoder(place / "esm"), read_genome(place / "g0.faa")
    vectors = encoder.embed([gene.protein[:10] for gene in genome.genes]).vectors.astype("float16").astype("float32")
    with torch.no_grad():
        logits = short(**short.processor(vectors, genome.contig_ids)).logits
    assert short.predict(place / "g0.faa")["host"] == pytest.approx(float(logits.softmax(1)[0, 0]), abs=1e-5)
    assert encoder.max_residues > 10


def test_genome_pipeline_predicts_what_the_model_predicts(place, model_dir):
    classify = pipeline("genome-classification", model=str(model_dir))
    model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir)
    expected = model.predict(place / "g0.faa")
    found = classify(str(place / "g0.faa"))
    assert [one["label"] for one in found] == sorted(expected, key=lambda name: -expected[name])
    assert {one["label"]: one["score"] for one in found} == pytest.approx(expected, abs=1e-6)
    both = classify([str(place / "g0.faa"), str(place / "g1.faa")], top_k=1, threads=2)
    assert len(both) == 2 and both[0][0] == found[0] and len(both[1]) == 1
    with pytest.raises(ValueError, match="top_k and threads"):
        classify(str(place / "g0.faa"), colour=1)


def test_predict_goes_on_after_a_bad_genome(place, model_dir, run, tmp_path):
    (tmp_path / "bad.fna").write_text(">a\nMKVLE\n")
    result = run(["genome", "predict", tmp_path / "bad.fna", place / "g1.faa", "--model", model_dir])
    assert result.exit_code == 1 and result.stdout.splitlines()[1].startswith("g1\t")
    assert "failed  bad: " in result.stderr and "error: 1 of 2 genomes failed" in result.stderr
    alone = run(["genome", "predict", tmp_path / "bad.fna", "--model", model_dir])
    assert alone.exit_code == 2 and "is no nucleotide, this looks like a protein" in alone.stderr


def test_predict_goes_on_after_an_error_that_nobody_expected(place, model_dir, run, monkeypatch):
    from biomeformer.genomes import catalog

    def read(path, **options):
        if "g0" in str(path):
            raise TypeError("an odd genome")
        return read_genome(path, **options)

    monkeypatch.setattr(catalog, "read_genome", read)
    result = run(["genome", "predict", place / "g0.faa", place / "g1.faa", "--model", model_dir])
    assert result.exit_code == 1 and result.stdout.splitlines()[1].startswith("g1\t")
    assert "failed  g0: TypeError: an odd genome; re-run with --debug for the traceback" in result.stderr
    assert "Traceback" not in result.stderr
    debugged = run(["genome", "predict", place / "g0.faa", place / "g1.faa", "--model", model_dir, "--debug"])
    assert "genome g0 failed" in debugged.stderr and 'raise TypeError("an odd genome")' in debugged.stderr
    monkeypatch.setattr(catalog, "read_genome", lambda path, **options: {}["gene"])
    result = run(["genome", "predict", place / "g0.faa", place / "g1.faa", "--model", model_dir])
    assert result.exit_code == 1
    assert "error: all 2 genomes failed for one reason that is not about their files: KeyError" in result.stderr


def test_predict_reads_genomes_with_the_models_translation_table(place, model_dir, run, tmp_path, monkeypatch):
    from biomeformer.genomes import catalog

    tables = []

    def read(path, **options):
        tables.append(options["translation_table"])
        return read_genome(path, **options)

    monkeypatch.setattr(catalog, "read_genome", read)
    folder = shutil.copytree(model_dir, tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps(settings | {"translation_table": 4}))
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    assert run(["genome", "predict", place / "g0.faa", "--model", folder]).exit_code == 0
    assert tables[-1] == 4
    tables.clear()
    assert run(["genome", "predict", place / "g0.faa", "--model", folder, "--translation-table", 25]).exit_code == 0
    assert tables == [25]


def test_predict_with_another_encoder(place, model_dir, run, tmp_path):
    folder = shutil.copytree(model_dir, tmp_path / "model")
    torch.manual_seed(9)
    tiny = EsmModel(esm_config(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
    tiny.save_pretrained(folder / "protein_encoder")
    result = run(["genome", "predict", place / "g0.faa", "--model", folder])
    assert result.exit_code == 2 and "give the encoder it was trained with" in result.stderr, result.output
    for model, words in (("metagenbert-mini", "model_type 'metagenbert'"), (place / "esm", "model_type 'esm'")):
        result = run(["genome", "predict", place / "g0.faa", "--model", model])
        assert result.exit_code == 2 and words in result.stderr
    result = run(["genome", "predict", place / "g0.faa", place / "g0.faa", "--model", model_dir])
    assert result.exit_code == 2 and "are both called 'g0'" in result.stderr


def test_fair_esm_checkpoints_are_converted(run, tmp_path):
    (tmp_path / "esm2.pt").write_bytes(b"nothing")
    result = run(["convert", tmp_path / "esm2.pt", tmp_path / "out"])
    assert result.exit_code == 2 and "cannot be read as a fair-esm checkpoint" in result.stderr


def test_genome_attribute_writes_pairs_and_resumes(place, model_dir, run, tmp_path):
    embedded, out = tmp_path / "embedded", tmp_path / "out"
    assert run(["genome", "embed", place / "genomes.csv", "-e", place / "esm", "-o", embedded]).exit_code == 0
    options = ["--model", model_dir, "--top", 12, "--ablate", 2, "--min-samples", 2, "--threads", 1]
    result = run(["genome", "attribute", embedded, "--output", out, *options])
    assert result.exit_code == 0, result.output
    assert "4 genomes" in result.stdout and "48 pairs" in result.stdout and "4 g3: attributed" in result.stderr
    assert "accuracy from genes of the strongest pairs" in result.stdout
    network = biomeformer.attribution.GeneInteractionNetwork.load(out)
    assert len(network) == 48 and (out / "report.html").is_file() and (out / "network.graphml").is_file()
    for name in ("pairs_by_cluster.svg", "pairs_by_class.svg", "network.svg"):
        assert "</svg>" in (out / name).read_text()
    again = run(["genome", "attribute", embedded, "--output", out, *options])
    assert again.exit_code == 0 and "resuming an earlier run: 4 of 4 genomes are done" in again.stderr
    other = run(["genome", "attribute", embedded, "--output", out, *options, "--seed", 3])
    assert other.exit_code == 2 and str(out) in other.stderr.splitlines()[-1]
    for bad, words in (
        (["--top", "0"], "give a number of pairs"),
        (["--label", "colour"], "has no column 'colour'"),
        (["--eps", "-1"], "eps is -1.0"),
    ):
        result = run(["genome", "attribute", embedded, "--output", tmp_path / "new", *options, *bad])
        assert result.exit_code == 2 and words in result.stderr.splitlines()[-1], result.output
        assert not (tmp_path / "new").exists()
    result = run(["genome", "attribute", place, "--output", tmp_path / "new", *options])
    assert result.exit_code == 2 and "holds no embedded genomes" in result.stderr


def test_attribute_says_which_genomes_failed(place, model_dir, run, tmp_path):
    (tmp_path / "lonely.faa").write_text(">a\nMKVLE\n")
    rows = [f"g{i},{place}/g{i}.faa,soil" for i in range(2)]
    (tmp_path / "genomes.csv").write_text("\n".join(["genome_id,proteins,source", *rows, "lonely,lonely.faa,soil"]))
    embedded = tmp_path / "embedded"
    assert run(["genome", "embed", tmp_path / "genomes.csv", "-e", place / "esm", "-o", embedded]).exit_code == 0
    options = ["--model", model_dir, "--top", 5, "--ablate", 0, "--threads", 1]
    result = run(["genome", "attribute", embedded, "--output", tmp_path / "out", *options])
    assert result.exit_code == 1, result.output
    assert "failed  lonely: the genome has 1 gene" in result.stderr and "1 of 3 genomes failed" in result.stderr


def contig_and_gff(folder, n_with_stop=0):
    """A GFF3 without sequence, and its contig, on which `n_with_stop` of 20 genes use TGA as tryptophan."""
    bases, lines = "CC", ["##gff-version 3"]
    for i in range(20):
        gene = "ATGTGAAAATGGGAACTGTAA" if i < n_with_stop else "ATGTGGAAATGGGAACTGTAA"
        lines.append("\t".join(["c", "x", "CDS", f"{len(bases) + 1}", f"{len(bases) + 21}", ".", "+", "0", f"ID=g{i}"]))
        bases += gene + "CC"
    (folder / "a.gff").write_text("\n".join(lines) + "\n")
    return folder / "a.gff", f">c\n{bases}\n"


def test_predict_takes_the_fasta_of_a_gff(model_dir, place, run, tmp_path):
    gff, sequence = contig_and_gff(tmp_path)
    (tmp_path / "contigs.fasta").write_text(sequence)
    alone = run(["genome", "predict", gff, "--model", model_dir])
    assert alone.exit_code == 2 and "has no sequence" in alone.stderr and "--fasta" in alone.stderr
    given = run(["genome", "predict", gff, "--fasta", tmp_path / "contigs.fasta", "--model", model_dir])
    assert given.exit_code == 0 and given.stdout.splitlines()[1].endswith("\t20"), given.output
    (tmp_path / "a.fna").write_text(sequence)
    beside = run(["genome", "predict", gff, "--model", model_dir])
    assert beside.stdout == given.stdout and "a: its contigs were read from a.fna beside it" in beside.stderr
    two = run(["genome", "predict", gff, place / "g0.faa", "--fasta", tmp_path / "a.fna", "--model", model_dir])
    assert two.exit_code == 2 and "--fasta names the contigs of one GFF3 file, and there are 2 genomes" in two.stderr


def test_another_genetic_code_is_suspected_and_can_be_given(model_dir, place, run, tmp_path):
    gff, sequence = contig_and_gff(tmp_path, n_with_stop=2)
    (tmp_path / "a.fna").write_text(sequence)
    result = run(["genome", "predict", gff, "--model", model_dir])
    assert result.stdout.splitlines()[1].endswith("\t18")
    assert "a: 2 of 20 genes (10%) have a stop inside" in result.stderr and "--translation-table 4" in result.stderr
    right = run(["genome", "predict", gff, "--model", model_dir, "--translation-table", 4])
    assert right.stdout.splitlines()[1].endswith("\t20") and "stop inside" not in right.stderr
    (tmp_path / "genomes.csv").write_text("genome_id,gff\na,a.gff\n")
    arguments = ["genome", "embed", tmp_path / "genomes.csv", "-e", place / "esm", "--threads", 1]
    embedded = run([*arguments, "-o", tmp_path / "out"])
    assert embedded.exit_code == 0, embedded.output
    assert "warning: more than 5 % of the genes of a have a stop inside and were left out" in embedded.stdout
    assert "--translation-table 4" in embedded.stdout
    embedded = run([*arguments, "-o", tmp_path / "out4", "--translation-table", 4])
    assert embedded.exit_code == 0 and "warning" not in embedded.stdout


def test_predict_says_which_genomes_are_unlike_the_training_genomes(place, model_dir, run, tmp_path):
    encoder = load_protein_encoder(place / "esm")
    means = []
    for i in range(4):
        genome = read_genome(place / f"g{i}.faa")
        means.append(encoder.embed([gene.protein for gene in genome.genes][:30]).vectors.mean(0))
    known = training_range([0.4 + i / 100 for i in range(12)], [38 + i for i in range(12)], np.array(means * 3))
    model = GenomeTransformerForSequenceClassification.from_pretrained(model_dir)
    model.config.training_range, model.config.temperature = known, 2.0
    model.save_pretrained(tmp_path / "model")
    shutil.copytree(place / "esm", tmp_path / "model" / "protein_encoder")
    (tmp_path / "odd.faa").write_text("".join(f">p{i}\nM{'W' * 20}\n" for i in range(5)))
    files = [place / "g0.faa", tmp_path / "odd.faa"]
    result = run(["genome", "predict", *files, "--model", tmp_path / "model"])
    assert result.exit_code == 0, result.output
    (note,) = [line for line in result.stderr.splitlines() if "unlike the genomes" in line]
    assert note.startswith("odd: ") and "5 genes (theirs 38 to 49)" in note and "mean protein vector" in note
    assert "GC" not in note
    unknown = run(["genome", "predict", *files, "--model", model_dir])
    assert unknown.exit_code == 0 and "unlike" not in unknown.stderr
    # The temperature is that of the logits.
    pair = [[float(value) for value in out.stdout.splitlines()[1].split("\t")[2:4]] for out in (result, unknown)]
    assert np.log(pair[1][0] / pair[1][1]) == pytest.approx(2 * np.log(pair[0][0] / pair[0][1]), abs=1e-3)
