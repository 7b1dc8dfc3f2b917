"""The pretraining recipe on small genomes: it learns, goes on after an interruption, and shares out its work."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

import biomeformer
from biomeformer import load_read_encoder
from biomeformer.errors import InputError
from biomeformer.models.dnabert2 import DnaBert2Model
from biomeformer.models.kmer_encoder import KmerEncoderModel
from biomeformer.models.metagenbert import MetagenBertProcessor
from biomeformer.reads import GenomeSet
from processes import Job, run_recipe
from recipes import pretrain_read_encoder as recipe

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "recipes" / "configs" / "pretrain_read_encoder"
SMOKE = CONFIGS / "smoke.yaml"
# Losses of some steps of the smoke config on the genomes of conftest.py, by stage; of masked tokens means over all of a
# step.
EXPECTED = {
    0: {1: 4.857266, 6: 4.679757, 12: 4.649234},
    1: {1: 3.368947, 6: 2.543224, 12: 2.528627},
    2: {1: 6.859321, 6: 1.965930, 12: 2.129875},
}


def run(genomes, output, config=SMOKE, *options):
    """The recipe in this process."""
    AcceleratorState._reset_state(True)
    arguments = ["--config", config, "--genomes", genomes, "--output", output, "--cpu", *options]
    parsed = recipe.parser().parse_args([str(argument) for argument in arguments])
    recipe.run_recipe(parsed)
    return json.loads((output / "training_record.json").read_text())


def history(output):
    with (output / "history.csv").open() as handle:
        return {(int(row["stage"]), int(row["step"])): float(row["training_loss"]) for row in csv.DictReader(handle)}


def write_config(path, **changes):
    values = yaml.safe_load(SMOKE.read_text())
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


@pytest.fixture(scope="module")
def smoke(genomes, tmp_path_factory):
    """An uninterrupted run of every stage."""
    output = tmp_path_factory.mktemp("pretrain") / "run"
    return output, run(genomes, output)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    config = recipe.RecipeConfig.from_yaml(path)
    assert config.stages and config.centroids.n_clusters > 1
    MetagenBertProcessor(recipe.KmerTokenizer(k=4), **config.preprocessing)
    if config.held_out_genera:
        assert len((path.parent / config.held_out_genera).read_text().split()) == 19


def test_shipped_configs_cover_the_published_stages():
    objectives = {
        p.stem: [s.objective for s in recipe.RecipeConfig.from_yaml(p).stages] for p in CONFIGS.glob("*.yaml")
    }
    assert objectives["dnabert_ms"] == ["mlm", "contrastive"]
    assert objectives["smoke"] == ["mlm", "contrastive", "species"]
    assert objectives["mini"] == ["species"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rte": 1}, "unknown field learning_rte; known are encoder"),
        ({"stages": [{"objective": "mlm", "n_steps": 3, "steps": 1}]}, "stage 1: unknown field steps"),
        ({"stages": [{"objective": "mlm"}]}, "stage 1: n_steps is missing"),
        ({"stages": [{"objective": "nsp", "n_steps": 1}]}, "objective is 'nsp'; give mlm, species, contrastive"),
        ({"stages": [{"objective": "mlm", "n_steps": 0}]}, "n_steps is 0; it must be at least 1"),
        ({"stages": [{"objective": "mlm", "n_steps": 1, "read_length": [9, 5]}]}, r"read_length is \[9, 5\]"),
        (
            {"stages": [{"objective": "mlm", "n_steps": 1, "warmup": 2}]},
            "stage 1: warmup is 2.0; it must be at",
        ),
        ({"centroids": {"n_clusters": 0}}, "centroids: n_clusters is 0; it must be at least 1"),
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8'; give auto, bf16, no"),
        ({"centroids": {"reads_per_genome": 5}}, "centroids: n_clusters is missing"),
    ],
)
def test_bad_configs_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        recipe.RecipeConfig.from_yaml(write_config(tmp_path / "bad.yaml", **changes))


def test_reads_come_from_their_genome_on_both_strands(genomes):
    loaded = GenomeSet.load(genomes, {"G5"})
    assert loaded.ids == ["g0", "g1", "g2", "g3", "g4"]
    which = np.array([3, 0, 3, 1, 4, 3, 0, 2] * 5)
    flat, offsets = loaded.draw(which, (30, 60), 0.0, np.random.default_rng(0))
    complement = str.maketrans("ACGT", "TGCA")
    strands = []
    for i, genome in enumerate(which):
        read = flat[offsets[i] : offsets[i + 1]].tobytes().decode()
        text = loaded.sequences[genome].tobytes().decode()
        strands.append(read in text)
        assert 30 <= len(read) <= 60 and (read in text or read.translate(complement)[::-1] in text)
    assert 5 < sum(strands) < 35
    with pytest.raises(ValueError, match="no genus Elsewhere"):
        GenomeSet.load(genomes, {"Elsewhere"})


def test_losses_are_the_expected_ones(smoke):
    losses = history(smoke[0])
    assert len(losses) == 36
    for stage, steps in EXPECTED.items():
        for step, loss in steps.items():
            assert losses[stage, step] == pytest.approx(loss, abs=1e-4), (stage, step)


def test_what_a_run_leaves_loads(smoke):
    output, record = smoke
    model = biomeformer.load(output / "model")
    assert model.config.n_clusters == 8 and model.processor.min_read_length == 20
    encoder, tokenizer = load_read_encoder(output / "encoder")
    assert isinstance(encoder, DnaBert2Model) and tokenizer.mask_token_id is not None
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name])
    language_model = AutoModelForMaskedLM.from_pretrained(output / "stages" / "0" / "masked_lm")
    assert language_model.config.vocab_size == len(tokenizer)
    assert not (output / "state").exists()
    assert record["metrics"]["3 species"]["n_species"] == 6 and len(record["genomes"]) == 6
    assert record["n_reads"] == 12 * (2 * 32 + 2 * 2 * 16 + 2 * 32)
    vectors = model(**model.processor(["ACGT" * 20])).read_embeddings
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize(("stage", "step"), [(0, 7), (1, 11), (2, 3)])
def test_a_resumed_run_equals_the_uninterrupted_one(genomes, smoke, tmp_path, monkeypatch, stage, step):
    append = recipe.TrainingRun.append

    def interrupt(self, row):
        append(self, row)
        if (row["stage"], row["step"]) == (stage, step):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recipe.TrainingRun, "append", interrupt)
        run(genomes, tmp_path / "run")
    assert max(history(tmp_path / "run")) == (stage, step)
    run(genomes, tmp_path / "run")
    expected, resumed = history(smoke[0]), history(tmp_path / "run")
    assert list(resumed) == list(expected)
    assert [resumed[key] for key in expected] == pytest.approx(list(expected.values()), abs=1e-6)
    assert (tmp_path / "run" / "history.csv").read_bytes() == (smoke[0] / "history.csv").read_bytes()
    weights, again = (load_file(folder / "model" / "model.safetensors") for folder in (smoke[0], tmp_path / "run"))
    for name, value in weights.items():
        torch.testing.assert_close(again[name], value, atol=1e-5, rtol=0)


def test_two_processes_equal_one(genomes, smoke, tmp_path):
    arguments = ["--config", SMOKE, "--genomes", genomes, "--output", tmp_path / "run", "--cpu"]
    job = Job(tmp_path / "text", 2, run_recipe, "pretrain_read_encoder", [str(argument) for argument in arguments])
    assert job.wait() == [0, 0], job.text()
    assert "2 processes" in json.loads((tmp_path / "run" / "training_record.json").read_text())["device"]
    one, two = history(smoke[0]), history(tmp_path / "run")
    assert list(two) == list(one)
    assert list(two.values()) == pytest.approx(list(one.values()), abs=1e-4)


def test_a_stage_alone_from_an_encoder_that_exists(genomes, smoke, tmp_path):
    record = run(genomes, tmp_path / "run", SMOKE, "--stages", "contrastive", f"encoder={smoke[0] / 'encoder'}")
    assert list(record["metrics"]) == ["1 contrastive"] and not (tmp_path / "run" / "model").exists()
    centroids = run(genomes, tmp_path / "c", SMOKE, "--stages", "centroids", f"encoder={tmp_path / 'run' / 'encoder'}")
    assert list(centroids["metrics"]) == ["centroids"]
    encoder, _ = load_read_encoder(tmp_path / "run" / "encoder")
    model = biomeformer.load(tmp_path / "c" / "model")
    assert torch.equal(model.encoder.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight)


def test_masked_language_modelling_goes_on_with_its_head(genomes, smoke, tmp_path):
    source = smoke[0] / "stages" / "0" / "masked_lm"
    run(genomes, tmp_path / "run", SMOKE, "--stages", "mlm", f"encoder={source}", "stages.0.n_steps=2")
    losses = history(tmp_path / "run")
    assert losses[0, 1] < 4.72 < history(smoke[0])[0, 3]


def test_gradient_checkpointing_changes_no_loss(genomes, smoke, tmp_path):
    config = write_config(tmp_path / "c.yaml", gradient_checkpointing=True)
    config.write_text(config.read_text().replace("patience: 3", "patience: null"))
    run(genomes, tmp_path / "run", config, "--stages", "mlm", "contrastive")
    expected, losses = history(smoke[0]), history(tmp_path / "run")
    assert len(losses) == 24
    assert list(losses.values()) == pytest.approx([expected[key] for key in losses], abs=1e-4)


def mini_like(path, **changes):
    stage = {
        "objective": "species", "n_steps": 60, "micro_batch_reads": 128, "learning_rate": 0.02, "read_length": [60, 90],
        "one_length": True, "evaluate_every": 10, **changes,
    }  # fmt: skip
    encoder = {"model_type": "kmer_encoder", "k": 4, "hidden_size": 16, "num_gate_heads": 4}
    return write_config(
        path, encoder=encoder, stages=[stage], normalize_embeddings=True, preprocessing={}, tokenizer=None
    )


def test_a_kmer_encoder_learns_species(genomes, tmp_path):
    record = run(genomes, tmp_path / "run", mini_like(tmp_path / "mini.yaml"))
    figures = record["metrics"]["1 species"]
    with (tmp_path / "run" / "history.csv").open() as handle:
        last = list(csv.DictReader(handle))[-1]
    assert figures["score"] == pytest.approx(float(last["validation_score"]), abs=1e-4)
    assert figures["final_loss"] < 0.7 * figures["first_loss"] and figures["species_accuracy"] > 2 / 6
    model = biomeformer.load(tmp_path / "run" / "model")
    assert isinstance(model.encoder, KmerEncoderModel) and model.encoder.gates is not None
    torch.testing.assert_close(model.centroids.norm(dim=1), torch.ones(8))


def test_diverged_copies_are_further_species(genomes, tmp_path):
    config = mini_like(tmp_path / "mini.yaml", n_steps=3)
    config.write_text(config.read_text() + "diverged_copies: {n_copies: 2}\n")
    record = run(genomes, tmp_path / "run", config)
    assert record["metrics"]["1 species"]["n_species"] == 18 and len(record["genomes"]) == 6
    assert record["metrics"]["centroids"]["n_reads"] == 6 * 50
    assert record["config"]["diverged_copies"] == {"n_copies": 2, "rate": [0.05, 0.25]}


def test_a_stage_stops_early_and_keeps_its_best_weights(genomes, tmp_path, monkeypatch):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    kept = {}

    def recall(self, stage):
        score = next(scores)
        kept[score] = {name: value.clone() for name, value in self.encoder.state_dict().items()}
        return score

    monkeypatch.setattr(recipe.Trainer, "_recall", recall)
    (tmp_path / "held_out.txt").write_text("G4\nG5\n")
    config = mini_like(tmp_path / "mini.yaml", patience=2)
    config.write_text(config.read_text() + "held_out_genera: held_out.txt\n")
    record = run(genomes, tmp_path / "run", config)
    assert record["metrics"]["1 species"]["n_steps"] == 40 and record["metrics"]["1 species"]["score"] == 0.5
    assert [genome["genome_id"] for genome in record["genomes"]] == ["g0", "g1", "g2", "g3"]
    encoder, _ = load_read_encoder(tmp_path / "run" / "encoder")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, kept[0.5][name])


def test_another_run_in_the_folder_is_refused(genomes, smoke, tmp_path):
    changed = write_config(tmp_path / "changed.yaml", seed=1)
    with pytest.raises(InputError, match="holds a run with another config"):
        run(genomes, smoke[0], changed)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is a folder that is not empty"):
        run(genomes, tmp_path)


def test_work_that_cannot_be_done_is_refused(genomes, smoke, tmp_path):
    kmers = mini_like(tmp_path / "a.yaml", objective="mlm")
    with pytest.raises(InputError, match=r"mlm needs a tokenizer with a \[MASK\] token"):
        run(genomes, tmp_path / "a", kmers)
    short = mini_like(tmp_path / "b.yaml", read_length=[3, 3])
    with pytest.raises(InputError, match="give no tokens; draw longer ones"):
        run(genomes, tmp_path / "b", short)
    with pytest.raises(InputError, match="none of the requested stages"):
        run(genomes, tmp_path / "c", mini_like(tmp_path / "c.yaml"), "--stages", "mlm")


def test_errors_are_one_line_and_an_exit_code(genomes, tmp_path, monkeypatch, capsys):
    arguments = ["recipe", "--config", str(SMOKE), "--genomes", str(tmp_path / "none"), "--output", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--cpu"])
    AcceleratorState._reset_state(True)
    assert recipe.main() == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "genomes.tsv" in message and message.count("\n") == 1

    def interrupt(args, processes):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "run_recipe", interrupt)
    assert recipe.main() == 130 and "the same command resumes" in capsys.readouterr().err


def test_a_tracker_follows(genomes, tmp_path):
    run(genomes, tmp_path / "run", mini_like(tmp_path / "mini.yaml", n_steps=2), "--tracker", "tensorboard")
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_markers_are_further_species_and_genera_of_the_centroids(genomes, tmp_path):
    rng = np.random.default_rng(7)
    genes = {f"NC_{i}.1": "".join(rng.choice(list("ACGT"), 900, p=rng.dirichlet([4] * 4))) for i in range(3)}
    (tmp_path / "markers.fasta").write_text("".join(f">gi|1|ref|{a}|:1-900\n{g}\n" for a, g in genes.items()))
    (tmp_path / "groups.tsv").write_text("group\torganism\n" + "".join(f"{a}\tM{a[3]} m 1\n" for a in genes))
    stages = [{**yaml.safe_load(SMOKE.read_text())["stages"][2], "n_steps": 3, "micro_batch_reads": 20}]
    centroids = {"n_clusters": 4, "reads_per_genome": 200, "marker_reads_per_genus": 100, "read_length": [60, 90]}
    config = write_config(
        tmp_path / "config.yaml", stages=stages, centroids=centroids, markers={"share": 0.6, "min_bases": 100}
    )
    files = ("--markers", tmp_path / "markers.fasta", "--marker-groups", tmp_path / "groups.tsv")
    record = run(genomes, tmp_path / "run", config, *files)
    assert record["markers"]["species"] == ["M0 m", "M1 m", "M2 m"] and record["markers"]["n_bases"] == 3 * 901
    assert record["metrics"]["1 species"]["n_species"] == 6 + 3
    assert record["metrics"]["centroids"]["n_reads"] == 6 * 200 + 3 * 100
    # The centroids know from which distance a read is far.
    assert biomeformer.load(tmp_path / "run" / "model").config.far_distances is not None
    with pytest.raises(InputError, match="trains on markers"):
        run(genomes, tmp_path / "other", config)
    with pytest.raises(InputError, match="has no markers"):
        run(genomes, tmp_path / "other", SMOKE, *files)


def test_a_batch_has_its_share_of_markers(genomes):
    loaded = GenomeSet.load(genomes)
    processor = MetagenBertProcessor(recipe.KmerTokenizer(k=4), min_read_length=20)
    source = recipe.ReadSource(loaded, processor, 0, [(4, 0.25), (2, 0.75)])
    drawn = source.evenly(40, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(drawn, minlength=6)[:4].sum(), 10)
    counts = np.bincount(drawn, minlength=6)
    assert counts[:4].max() - counts[:4].min() <= 1 and counts[4:].tolist() == [15, 15]
