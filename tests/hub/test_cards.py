"""Cards are generated, current and true."""

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries

from biomeformer import MetagenBertForPhenotypeClassification, SequenceClassifier
from biomeformer.checkpoints import resolve_checkpoint, shipped_checkpoints
from biomeformer.checkpoints.integrity import CHECKSUMS, checksums, weight_hashes
from biomeformer.errors import CheckpointError, InputError
from biomeformer.hub.card_types import CARD_TYPES
from biomeformer.hub.cards import eval_results, model_card, model_texts, stale_cards
from biomeformer.hub.entry import new_entry, write_entry
from biomeformer.hub.folder import CheckpointFolder
from biomeformer.hub.generated import generated, write_generated
from biomeformer.hub.manifest import load_entry, load_manifest, parse_entry
from biomeformer.metagenomes.export import export_table
from factories import random_contig, random_sequences, write_fastq
from hub_factories import fill_in, phenotype_checkpoint, sequence_checkpoint, small_table

FOLDER = Path(__file__).resolve().parents[2] / "model_cards"
MINI = "metagenbert-mini"


def code_of(card: str) -> str:
    """A card's Python."""
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    return code


def test_every_shipped_checkpoint_has_a_current_card():
    assert set(shipped_checkpoints()) == set(load_manifest(FOLDER)) == {"genome-transformer-mini", MINI}
    assert stale_cards(FOLDER) == []


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_card_is_true(name, tmp_path, monkeypatch):
    folder = Path(resolve_checkpoint(name))
    card = (folder / "README.md").read_text()
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in card
    assert (folder / CHECKSUMS).read_text() == checksums(weight_hashes(folder))
    data = ModelCard(card).data
    assert data.library_name == "biomeformer" and data.license == "apache-2.0" and data.model_name == name
    assert data.pipeline_tag in ("feature-extraction", "other")
    # Figures are the runs', in the metadata as in the text.
    run = {
        MINI: ("read_encoder_quality", lambda run: run["reads"]["unseen"][MINI]["nearest_mean"]),
        "genome-transformer-mini": (
            "habitat",
            lambda run: run["balanced_accuracy"]["transformer: genome-transformer-mini"][0],
        ),
    }[name]
    value = run[1](json.loads((FOLDER.parent / "benchmarks" / "results" / f"{run[0]}.json").read_text()))
    assert data.eval_results[0].metric_value == value and f"{value:.3f}" in card
    assert {result.metric_type for result in data.eval_results} == set(data.metrics)
    # The code block runs as it stands.
    monkeypatch.chdir(tmp_path)
    for mate in (1, 2):
        write_fastq(tmp_path / f"reads_R{mate}.fastq.gz", random_sequences(50, seed=mate), mate=mate)
    with gzip.open(tmp_path / "genome.fna.gz", "wt") as handle:
        handle.write(f">c\n{random_contig(np.random.default_rng(0))}\n")
    names: dict = {}
    exec(code_of(card), names)
    if name == MINI:
        assert names["sample"].counts.sum() == 100
    else:
        assert set(names["probabilities"]) == {"aquatic", "host", "soil"}
        assert sum(names["probabilities"].values()) == pytest.approx(1)


def test_stale_and_of_other_weights(tmp_path):
    entry = load_manifest(FOLDER)[MINI]
    source = Path(resolve_checkpoint(MINI))
    checkpoint = tmp_path / MINI
    shutil.copytree(source, checkpoint)
    card = model_card(entry, CheckpointFolder(checkpoint))
    # Of a checkpoint that does not ship, the code block names the Hub's id.
    assert card.replace("biomeformer/metagenbert-mini", MINI) == (source / "README.md").read_text()
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="its evaluation was run on other weights"):
        model_card(entry, CheckpointFolder(checkpoint))
    (checkpoint / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        CheckpointFolder(checkpoint)


def test_a_phenotype_model_from_its_record(tmp_path, monkeypatch):
    folder = phenotype_checkpoint(tmp_path / "head")
    write_entry(folder, "lab/head", "cc-by-4.0")
    with pytest.raises(InputError, match="summary is still to do"):
        load_entry(folder)
    fill_in(folder)
    entry = load_entry(folder)
    assert entry.license == "cc-by-4.0" and [metric.type for metric in entry.metrics][:2] == ["roc_auc", "pr_auc"]
    (base,) = entry.base_models
    assert base.id == "lab/centroids" and base.revision == "a" * 40
    card = model_card(entry, CheckpointFolder(folder))
    data = ModelCard(card).data
    record = json.loads((folder / "training_record.json").read_text())
    assert data.eval_results[0].metric_value == pytest.approx(record["scores"][0]["roc_auc"], abs=1e-6)
    assert data.base_model == ["lab/centroids"] and f"lab/centroids) at `{'a' * 40}`" in card
    for words in ("linear, on centred log-ratios", "6 ill, 6 well", "Emissions were not measured", "arXiv"):
        assert words in card
    # As others would run it, but for where the model is.
    monkeypatch.chdir(tmp_path)
    for mate in (1, 2):
        write_fastq(tmp_path / f"reads_R{mate}.fastq.gz", random_sequences(50, seed=mate), mate=mate)
    names: dict = {}
    exec(code_of(card).replace("lab/head", str(folder)), names)
    own = MetagenBertForPhenotypeClassification.from_pretrained(folder)
    assert names["probabilities"] == own.predict("reads_R1.fastq.gz", "reads_R2.fastq.gz")


def test_a_sequence_classifier(tmp_path):
    folder = sequence_checkpoint(tmp_path / "enhancers")
    write_entry(folder, "lab/enhancers", "cc-by-4.0", "Enhancers")
    fill_in(folder)
    card = model_card(load_entry(folder), CheckpointFolder(folder))
    assert ModelCard(card).data.pipeline_tag == "text-classification"
    assert "| Labels | other, enhancer |" in card and "300 train, 40 test" in card and "0.812" in card
    names: dict = {}
    exec(code_of(card).replace("lab/enhancers", str(folder)), names)
    assert np.array_equal(names["probabilities"], SequenceClassifier.load(folder).predict(["ACGTTGCAACGTTGCAACGTTGCA"]))


def test_dataset_card_describes_an_abundance_table(tmp_path):
    table = small_table()
    export_table(table, tmp_path, "datasets")
    write_entry(tmp_path, "lab/abundance", "cc-by-4.0")
    fill_in(tmp_path)
    assert set(generated(tmp_path, load_entry(tmp_path))) == {"README.md"}
    write_generated(tmp_path, load_entry(tmp_path))
    card = (tmp_path / "README.md").read_text()
    data = DatasetCard(card).data.to_dict()
    # With it, `datasets` would take two folders of one name for one dataset.
    assert "configs" not in data
    assert data["license"] == "cc-by-4.0" and data["size_categories"] == ["n<1K"]
    assert "`disease` | text | of the cohort: ill, well" in card and table.provenance["weights_sha256"] in card
    assert "| Columns about single persons | `age` (its name says 'age') |" in card
    names: dict = {}
    exec(code_of(card).replace("lab/abundance", str(tmp_path)), names)
    assert np.array_equal(names["vectors"], table.abundance)


def test_figures_on_datasets_of_the_hub(tmp_path):
    folder = phenotype_checkpoint(tmp_path / "head")
    # Its score is 1 in all folds, which has no interval.
    file = folder / "training_record.json"
    record = json.loads(file.read_text())
    record["scores"][0] |= {"roc_auc": 0.9, "roc_auc_low": 0.85, "roc_auc_high": 0.95}
    file.write_text(json.dumps(record))
    entry = new_entry(folder, "lab/head", "cc-by-4.0").replace(
        'dataset = "its own samples, cross-validated"', 'dataset = "Cohort B"\ndataset_id = "lab/cohort-b"', 1
    )
    (folder / "card.toml").write_text(entry)
    fill_in(folder)
    text = eval_results(load_entry(folder))
    assert model_texts(load_entry(folder), CheckpointFolder(folder))[".eval_results/biomeformer.yaml"] == text
    (found,) = parse_eval_result_entries(yaml.safe_load(text))
    assert found.dataset_id == "lab/cohort-b" and found.task_id == "default" and found.value == 0.9
    assert "95 % interval 0.850-0.950" in found.notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"license": None}, "has no license; every card needs id, class, license"),
        ({"license": "TODO: such as cc-by-4.0"}, "license is still to do"),
        ({"tags": "dna"}, "tags is 'dna'; it must be a list"),
        ({"id": "model"}, "id 'model' is not a NAMESPACE/NAME"),
        ({"colour": "red"}, "colour is not a field of a card"),
        ({"base_model": [{"id": "runs/model", "commit": "x"}]}, "base_model is .* give id, revision and relation"),
        ({"base_model": [{"id": "a/b", "revision": "main"}]}, "revision 'main' is not a commit of 40"),
        ({"metrics": [{"type": "x"}]}, "a metric's name is missing or unknown"),
        ({"metrics": [{"key": "scores/9/roc_auc"}]}, "has no scores/9/roc_auc, which a metric is taken from"),
        ({"metrics": [{"key": "target/column"}]}, "target/column is 'disease', not a number"),
        ({"metrics": [{"run": "gone.json"}]}, r"gone\.json cannot be read"),
    ],
)
def test_what_an_entry_must_say(tmp_path, change, words):
    folder = phenotype_checkpoint(tmp_path / "head")
    fields = {"id": "lab/x", "class": "MetagenBertForPhenotypeClassification", "license": "mit", "tags": ["dna"]}
    fields |= dict.fromkeys(("title", "summary", "intended_use", "limits", "training_data", "how"), "words")
    metric = {"type": "roc_auc", "name": "n", "task": "t", "dataset": "d", "run": "training_record.json"}
    metric["key"] = "scores/0/roc_auc"
    assert parse_entry("x", {**fields, "metrics": [metric]}, folder / "card.toml").metrics[0].value > 0
    if "metrics" in change and change["metrics"][0] != {"type": "x"}:
        change = {"metrics": [{**metric, **change["metrics"][0]}]}
    with pytest.raises(InputError, match=words):
        parse_entry("x", {key: value for key, value in {**fields, **change}.items() if value}, folder / "card.toml")


def test_manifests_and_classes(tmp_path):
    (tmp_path / "models.toml").write_text('[x]\ntitle = "x"\n')
    with pytest.raises(InputError, match="x has no id"):
        load_manifest(tmp_path)
    (tmp_path / "models.toml").write_text("[x")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        load_manifest(tmp_path)
    folder = phenotype_checkpoint(tmp_path / "head")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(
        InputError, match=f"its class 'BertModel' is unknown; there are cards of {next(iter(CARD_TYPES))}"
    ):
        write_entry(folder, "lab/x")
