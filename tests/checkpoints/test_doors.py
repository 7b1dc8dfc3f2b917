"""Every door refuses every broken checkpoint, with the same sentence: none predicts with weights it was not given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import biomeformer
from biomeformer.errors import CheckpointError
from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.embedding import embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from checkpoint_kinds import BREAKAGES, KINDS, Inputs, change_config, sums
from factories import random_sequences, write_cohort, write_protein_genomes

TABLE = [
    (kind, breakage, door)
    for kind, of_kind in KINDS.items()
    for breakage, how in BREAKAGES.items()
    for door, to in of_kind.doors.items()
    if not how.of_head or (of_kind.head and to.has_head and (breakage != "base model" or of_kind.base))
    # A class that the config chooses is another one's, and its own weights are what is missing.
    if breakage != "another model type" or not (to.chooses_class and "from_pretrained" in door)
    # Without its head it is published as the base model.
    if not (breakage == "base model" and (door == "publish load check" or (door == "inspect" and "phenotype" in kind)))
    # A convolutional network has no encoder that could be kept.
    if not (breakage == "head removed" and kind == "sequences, cnn")
]
SUMS = {
    "none": None,
    "text mode": str,
    "binary mode": lambda text: text.replace("  ", " *"),
    "relative, CRLF": lambda text: text.replace("  ", "  ./").replace("\n", "\r\n"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    cohort = write_cohort(folder, 1, 8)
    catalog = write_protein_genomes(folder, 2, 6)
    sequences = folder / "sequences.fa"
    sequences.write_text("".join(f">s{i}\n{one}\n" for i, one in enumerate(random_sequences(3))))
    torch.manual_seed(0)
    KINDS["protein encoder"].make(folder / "esm", False)
    encoder = load_protein_encoder(folder / "esm")
    embed_genomes(encoder, read_catalog(catalog), folder / "embedded").raise_for_failures()
    return Inputs(cohort, folder / "s0.fastq.gz", sequences, folder / "g0.faa", catalog, folder / "embedded")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Makes a kind of checkpoint, whole or broken, once."""
    made: dict[tuple[str, str], Path] = {}

    def make(kind: str, breakage: str = "") -> Path:
        if (kind, breakage) not in made:
            folder = tmp_path_factory.mktemp("checkpoint") / "model"
            if breakage:
                shutil.copytree(make(kind), folder)
                BREAKAGES[breakage].apply(KINDS[kind], folder / KINDS[kind].part)
            else:
                torch.manual_seed(0)
                KINDS[kind].make(folder, False)
            made[kind, breakage] = folder
        return made[kind, breakage]

    return make


@pytest.fixture(scope="module")
def sentences() -> dict[tuple[str, ...], tuple[str, str]]:
    """What the first door said of a broken checkpoint."""
    return {}


@pytest.mark.parametrize(("kind", "breakage", "door"), TABLE, ids=lambda value: value)
def test_a_broken_checkpoint_is_refused(kind, breakage, door, checkpoint, inputs, sentences, tmp_path):
    folder, to = checkpoint(kind, breakage), KINDS[kind].doors[door]
    with pytest.raises(CheckpointError) as caught:
        to.open(folder, inputs, tmp_path / "out")
    said = " ".join(str(caught.value).split())
    assert BREAKAGES[breakage].says in said and str(folder) in said and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").rglob("*.parquet"))
    if breakage != "another model type":
        key = (kind, breakage, "head" if to.has_head else "base")
        assert said == sentences.setdefault(key, (said, door))[0], (
            f"{door} and {sentences[key][1]} say different things"
        )
    elif not to.chooses_class:
        assert "is a checkpoint of model_type" in said


@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_checkpoint_loads(kind, how, checkpoint, inputs, tmp_path):
    folder = Path(shutil.copytree(checkpoint(kind), tmp_path / "model"))
    if SUMS[how] is not None:
        sums(KINDS[kind], folder / KINDS[kind].part, SUMS[how])
    for name, door in KINDS[kind].doors.items():
        if not door.is_command or name == "inspect":
            door.open(folder, inputs, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "door"), [(kind, door) for kind, of in KINDS.items() for door, to in of.doors.items() if to.is_command]
)
def test_commands_take_whole_checkpoints(kind, door, checkpoint, inputs, tmp_path):
    KINDS[kind].doors[door].open(checkpoint(kind), inputs, tmp_path / "out")


HEADLESS = [name for name, kind in KINDS.items() if kind.base and name != "sequences, bert"]


@pytest.mark.parametrize("kind", HEADLESS)
@pytest.mark.parametrize("options", [{"new_head": True}, {"num_labels": 4}], ids=["new_head", "num_labels"])
def test_a_new_head_is_given_where_it_is_asked_for(kind, options, checkpoint):
    folder, whole = checkpoint(kind, "base model"), checkpoint(kind)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **options)
    assert info["missing_keys"] and all(key.startswith(KINDS[kind].head) for key in info["missing_keys"])
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert model.config.num_labels == options.get("num_labels", model.config.num_labels)
    cls = type(model)
    assert cls.from_pretrained(folder, **options).config.num_labels == model.config.num_labels
    # The encoder is the checkpoint's.
    kept = cls.from_pretrained(whole).base_model.state_dict()
    for key, value in model.base_model.state_dict().items():
        assert f"bert.{key}".startswith(KINDS[kind].head) or torch.equal(value, kept[key]), key


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_new_head_takes_the_place_of_none_that_is_damaged(kind, checkpoint):
    for breakage in ("part of the head removed", "one weight removed"):
        for options in ({"new_head": True}, {"num_labels": len(KINDS) + 1}):
            with pytest.raises(CheckpointError, match="do not fit the config"):
                AutoModelForSequenceClassification.from_pretrained(checkpoint(kind, breakage), **options)


def test_a_config_that_asks_for_more_memory_than_there_is(checkpoint, tmp_path):
    """The headers are compared first: a part of a petabyte is not asked for."""
    folder = Path(shutil.copytree(checkpoint("metagenbert"), tmp_path / "model"))
    change_config(folder, n_clusters=10**13)
    with pytest.raises(CheckpointError, match=r"1 of another shape \(centroids\)"):
        biomeformer.load(folder)


def test_labels_that_are_the_checkpoints_own_ask_for_no_head(checkpoint):
    folder = checkpoint("genome", "head removed")
    config = biomeformer.GenomeTransformerConfig.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="holds no classifier of genomes"):
        AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    with pytest.raises(CheckpointError, match="holds no classifier of genomes"):
        AutoModelForSequenceClassification.from_pretrained(folder, new_head=False, num_labels=5)
