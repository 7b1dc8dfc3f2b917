"""`pipeline("metagenome-embedding")` and `pipeline("metagenome-classification")`: inputs, options, counts, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from biomeformer import MetagenBertForPhenotypeClassification, MetagenBertModel
from biomeformer.checkpoints import FOLDER
from biomeformer.errors import CheckpointError, InputError, ReadFileError
from biomeformer.phenotypes.checkpoint import _config, with_deep_sets_head
from biomeformer.pipelines.metagenome import MetagenomeClassificationPipeline, MetagenomeEmbeddingPipeline
from factories import random_genome_transformer, random_sequences, tiny_metagenbert, write_fastq

LABELS = ["healthy", "ill", "very ill"]


def headed(problem_type="single_label_classification"):
    """A model with a linear head whose scores differ."""
    torch.manual_seed(1)
    base = tiny_metagenbert()
    config = _config(base, LABELS, head="linear", abundance_transform="clr")
    config.problem_type = problem_type
    model = MetagenBertForPhenotypeClassification(config)
    model.metagenbert, model.processor = base, base.processor
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines")
    for i in range(2):
        write_fastq(folder / f"s{i}.fastq.gz", random_sequences(60, seed=20 + i))
        write_fastq(folder / f"mate_{i + 1}.fastq", random_sequences(40, seed=30 + i), mate=i + 1)
    tiny_metagenbert().save_pretrained(folder / "base")
    headed().save_pretrained(folder / "headed")
    random_genome_transformer().save_pretrained(folder / "genomes")
    return folder


@pytest.fixture(scope="module")
def embed(place):
    return pipeline("metagenome-embedding", model=str(place / "base"), device="cpu")


@pytest.fixture(scope="module")
def classify(place):
    return pipeline("metagenome-classification", model=place / "headed", trust_remote_code=False)


def same(found, sample):
    """Whether a pipeline's result is a sample's, bit for bit."""
    assert sorted(found) == ["abundance", "counts", "read_stats"]
    assert found["counts"].dtype == np.int64 and found["abundance"].dtype == np.float64
    vectors = np.array_equal(found["counts"], sample.counts) and np.array_equal(found["abundance"], sample.abundance)
    return vectors and found["read_stats"] == sample.read_stats


def test_one_sample_or_many(place, embed):
    model = MetagenBertModel.from_pretrained(place / "base")
    first, second = place / "s0.fastq.gz", place / "s1.fastq.gz"
    expected = [model.embed_sample(first), model.embed_sample(second)]
    assert not np.array_equal(expected[0].counts, expected[1].counts)
    assert same(embed(first), expected[0]) and same(embed(str(first)), expected[0])
    # A list of two is two samples.
    both = embed([str(first), second])
    assert len(both) == 2 and same(both[0], expected[0]) and same(both[1], expected[1])
    other, again = embed(path for path in (second, first))
    assert same(other, expected[1]) and same(again, expected[0])
    assert embed([]) == []


def test_mates_are_counted_as_by_the_model(place, embed):
    model = MetagenBertModel.from_pretrained(place / "base")
    mates = place / "mate_1.fastq", place / "mate_2.fastq"
    expected = model.embed_sample(*mates)
    assert expected.read_stats["n_reads"] == 80
    names = {"fastq_1": str(mates[0]), "fastq_2": mates[1]}
    assert same(embed(mates), expected) and same(embed(names), expected)
    alone = model.embed_sample(mates[0])
    assert same(embed({"fastq_1": mates[0]}), alone) and same(embed((mates[0],)), alone)
    pair, single, named = embed([mates, place / "s0.fastq.gz", names])
    assert same(pair, expected) and same(named, expected) and single["read_stats"]["n_reads"] == 60


def test_options_of_the_pipeline_are_those_of_the_model(place, embed):
    model = MetagenBertModel.from_pretrained(place / "base")
    path = place / "s0.fastq.gz"
    options = {"read_fraction": 0.5, "seed": 3}
    expected = model.embed_sample(path, **options)
    assert 0 < expected.read_stats["n_selected"] < 60
    assert same(embed(path, **options), expected) and same(embed(path, batch_tokens=64, **options), expected)
    whole = pipeline("metagenome-embedding", model=str(place / "base"), read_fraction=0.5)
    assert same(whole(path, seed=3), expected) and not same(whole(path, seed=4), expected)
    assert same(embed(path, read_fraction=None), model.embed_sample(path))
    for wrong, words in (
        ({"colour": 1}, "colour: no options of this pipeline; known are read_fraction, seed, batch_tokens"),
        ({"top_k": 1}, "top_k: no options of this pipeline"),
        ({"batch_size": 4}, "batch_size is 4"),
        ({"read_fraction": 1.5}, "read_fraction is 1.5"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
    ):
        with pytest.raises(InputError, match=words):
            embed(path, **wrong)
    for wrong, words in (({"colour": 1}, "colour"), ({"batch_size": 4}, "batch_size"), ({"device": "cuda:99"}, "cuda")):
        with pytest.raises(InputError, match=words):
            pipeline("metagenome-embedding", model=str(place / "base"), **wrong)


def test_the_shipped_checkpoint_is_the_default(place):
    path = place / "s0.fastq.gz"
    expected = MetagenBertModel.from_pretrained("metagenbert-mini").embed_sample(path)
    for found in (
        pipeline("metagenome-embedding"),
        pipeline("metagenome-embedding", model=str(FOLDER / "metagenbert-mini"), trust_remote_code=False),
    ):
        assert same(found(path), expected)


def test_defaults_ask_no_hub():
    """Also where nothing says that there is no network: a refused connection would be tried again for a long time."""
    code = (
        "import socket, biomeformer, transformers\n"
        "def refuse(*args): raise SystemExit('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "for task in ('metagenome-embedding', 'genome-classification'):\n"
        "    print(type(transformers.pipeline(task).model).__name__)\n"
    )
    # SystemExit is no error that a library would take for a failed request.
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["MetagenBertModel", "GenomeTransformerForSequenceClassification"]


def test_models_as_objects_and_dtype(place, embed):
    path = place / "s0.fastq.gz"
    model = headed()
    expected = model.metagenbert.embed_sample(path)
    # Vectors come from a model with a head as well.
    for given in (model, model.metagenbert, str(place / "headed")):
        assert same(pipeline("metagenome-embedding", model=given)(path), expected)
    assert same(MetagenomeEmbeddingPipeline(model.metagenbert)(path), expected)
    half = pipeline("metagenome-embedding", model=str(place / "base"), dtype="bfloat16")
    assert next(half.model.encoder.parameters()).dtype == torch.bfloat16
    assert half.model.centroids.dtype == torch.float32
    loaded = MetagenBertModel.from_pretrained(place / "base", dtype=torch.bfloat16)
    assert same(half(path), loaded.embed_sample(path))


def test_classification_pipeline_predicts_what_the_model_predicts(place, classify):
    first, second = place / "s0.fastq.gz", place / "s1.fastq.gz"
    model = MetagenBertForPhenotypeClassification.from_pretrained(place / "headed")
    expected = model.predict(first)
    found = classify(first)
    assert [one["label"] for one in found] == sorted(LABELS, key=lambda label: -expected[label])
    assert {one["label"]: one["score"] for one in found} == expected
    assert sum(one["score"] for one in found) == pytest.approx(1)
    both = classify([first, second], top_k=2)
    assert [len(one) for one in both] == [2, 2] and both[0] == found[:2] and both[1] != both[0]
    mates = place / "mate_1.fastq", place / "mate_2.fastq"
    half = classify(mates, read_fraction=0.5, seed=1)
    assert {one["label"]: one["score"] for one in half} == model.predict(*mates, read_fraction=0.5, seed=1)
    assert half != classify(mates)
    with pytest.raises(InputError, match=r"colour: no options .* known are read_fraction, seed, batch_tokens, top_k"):
        classify(first, colour=1)
    with pytest.raises(InputError, match="top_k is 0"):
        classify(first, top_k=0)


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_heads_of_other_problem_types_answer_in_their_own_way(place, tmp_path, problem_type):
    model = headed(problem_type)
    model.save_pretrained(tmp_path / "model")
    classify = pipeline("metagenome-classification", model=str(tmp_path / "model"))
    found = classify(place / "s0.fastq.gz")
    counts = model.metagenbert.embed_sample(place / "s0.fastq.gz").counts
    logits = model(counts=torch.from_numpy(counts[None])).logits[0]
    values = dict(zip(LABELS, (logits if problem_type == "regression" else logits.sigmoid()).tolist(), strict=True))
    assert {one["label"]: one["score"] for one in found} == pytest.approx(values)
    order = LABELS if problem_type == "regression" else sorted(LABELS, key=lambda label: -values[label])
    assert [one["label"] for one in found] == order
    if problem_type == "regression":
        assert logits.argsort(descending=True).tolist() != [0, 1, 2]
        with pytest.raises(InputError, match="top_k was given and the model's outputs are numbers"):
            classify(place / "s0.fastq.gz", top_k=1)
    else:
        assert sum(values.values()) != pytest.approx(1, abs=1e-3)


def test_a_deep_sets_head(place, tmp_path):
    model = with_deep_sets_head(tiny_metagenbert(), LABELS, set_elements="reads", set_size=8, set_reads=32)
    model.save_pretrained(tmp_path / "model")
    classify = pipeline("metagenome-classification", model=str(tmp_path / "model"))
    found = {one["label"]: one["score"] for one in classify(place / "s0.fastq.gz", batch_tokens=512)}
    assert found == pytest.approx(model.predict(place / "s0.fastq.gz"), abs=1e-6)
    with pytest.raises(InputError, match=r"read_fraction, seed: no options of a deep_sets head.*set_reads 32"):
        classify(place / "s0.fastq.gz", read_fraction=0.5, seed=1)


def test_errors_of_reads_are_the_librarys(place, embed, classify, tmp_path):
    bad = tmp_path / "bad.fastq"
    bad.write_text("@r0\nACGT\n+\nII\n")
    for run in (embed, classify):
        with pytest.raises(ReadFileError, match="no such file"):
            run(tmp_path / "none.fastq")
        with pytest.raises(ReadFileError, match=r"bad\.fastq"):
            run([place / "s0.fastq.gz", bad])
        for wrong in (3, (), ("a", "b", "c"), ("a", None), {"fastq_2": "b"}, [["a", "b"]]):
            with pytest.raises(InputError, match="is no sample; give the path"):
                run(wrong)
        with pytest.raises(InputError, match="colour: no keys of a sample; known are fastq_1, fastq_2"):
            run({"fastq_1": "a", "colour": "b"})


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        ("metagenome-classification", "base", "base holds no head for a phenotype; make one with"),
        ("metagenome-classification", "metagenbert-mini", "metagenbert-mini holds no head for a phenotype"),
        ("metagenome-embedding", "genomes", "model_type 'genome_transformer', not metagenbert; genomes are its input"),
        ("metagenome-classification", "genome-transformer-mini", 'genomes are its input: pipeline."genome-class'),
        ("genome-classification", "base", "model_type 'metagenbert', not genome_transformer; reads are its input"),
    ],
)
def test_models_of_another_kind(place, task, model, words):
    name = str((FOLDER if (FOLDER / model).is_dir() else place) / model)
    with pytest.raises(CheckpointError, match=words) as caught:
        pipeline(task, model=name)
    assert "\n" not in str(caught.value)


def test_models_of_another_kind_as_objects(place):
    with pytest.raises(InputError, match="the model is a GenomeTransformerForSequenceClassification and the pipeline"):
        pipeline("metagenome-embedding", model=random_genome_transformer())
    with pytest.raises(InputError, match="the model is a MetagenBertModel and the pipeline runs a MetagenBertFor"):
        MetagenomeClassificationPipeline(tiny_metagenbert())
    with pytest.raises(InputError, match="runs a GenomeTransformerForSequenceClassification; reads are its input"):
        pipeline("genome-classification", model=tiny_metagenbert())


def test_pipelines_refuse_damaged_checkpoints(place, tmp_path):
    # Its config says that there is a head.
    folder = shutil.copytree(place / "base", tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["MetagenBertForPhenotypeClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="headless holds no head for a phenotype; make one with"):
        pipeline("metagenome-classification", model=str(folder))
    folder = shutil.copytree(place / "base", tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        pipeline("metagenome-embedding", model=str(folder))
    assert "Traceback" not in str(caught.value)
    folder = shutil.copytree(place / "base", tmp_path / "no-contract")
    (folder / "processor_config.json").unlink()
    with pytest.raises(CheckpointError, match="preprocessing config"):
        pipeline("metagenome-embedding", model=str(folder))


def test_what_a_pipeline_saves_is_a_checkpoint(place, classify, tmp_path):
    classify.save_pretrained(tmp_path / "again")
    # No code is named that would have to be trusted.
    assert "custom_pipelines" not in json.loads((tmp_path / "again" / "config.json").read_text())
    again = pipeline("metagenome-classification", model=str(tmp_path / "again"), trust_remote_code=False)
    assert again(place / "s0.fastq.gz") == classify(place / "s0.fastq.gz")


def test_revision_of_a_hub_model(place, tmp_path):
    """From the cache of the real client, two revisions of one repository."""
    repository = tmp_path / "models--lab--x"
    (repository / "refs").mkdir(parents=True)
    for letter, name, model in (("a", "main", "base"), ("b", "v1", "headed")):
        (repository / "refs" / name).write_text(letter * 40)
        shutil.copytree(place / model, repository / "snapshots" / (letter * 40))
    options = {"model": "lab/x", "model_kwargs": {"cache_dir": str(tmp_path)}}
    path: Path = place / "s0.fastq.gz"
    expected = MetagenBertForPhenotypeClassification.from_pretrained(place / "headed").predict(path)
    for revision in ("v1", "b" * 40):
        found = pipeline("metagenome-classification", revision=revision, **options)(path)
        assert {one["label"]: one["score"] for one in found} == expected
    with pytest.raises(CheckpointError, match="lab/x holds no head for a phenotype"):
        pipeline("metagenome-classification", **options)
    assert same(
        pipeline("metagenome-embedding", **options)(path),
        MetagenBertModel.from_pretrained(place / "base").embed_sample(path),
    )
