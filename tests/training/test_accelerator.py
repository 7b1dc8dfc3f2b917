"""Setups in which a recipe would not train correctly are refused in one sentence, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from biomeformer import prepare_sequences
from biomeformer.errors import InputError
from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.embedding import embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.training.accelerator import describe_device, make_accelerator
from factories import random_sequences, tiny_esm, write_protein_genomes
from processes import ROOT, Job, recipe, run_recipe

EXAMPLE = ROOT / "modeling" / "biomeformer" / "example_cohort" / "cohort.csv"
SHARDING = {
    "FSDP": {"ACCELERATE_USE_FSDP": "true"},
    "DeepSpeed": {"ACCELERATE_USE_DEEPSPEED": "true"},
    "Megatron-LM": {"ACCELERATE_USE_MEGATRON_LM": "true"},
    "tensor parallelism": {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
    "context parallelism": {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_CP_SIZE": "4"},
    "sharded data parallelism": {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2"},
}


@pytest.fixture(autouse=True)
def no_accelerator_before(monkeypatch):
    """A process in which no Accelerator was made, on a machine without a card."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def set_environment(monkeypatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> dict[str, list[str]]:
    """The arguments of each training recipe, with inputs small but whole."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "c.fna").write_text(f">c\n{random_sequences(1, 9_000, 9_001, 0)[0]}\n")
    (folder / "genomes.tsv").write_text("genome_id\tspecies\tgenus\tfile\nc\tG s\tG\tc.fna\n")
    catalog = read_catalog(write_protein_genomes(folder, 16))
    embed_genomes(load_protein_encoder(tiny_esm(folder / "esm")), catalog, folder / "embedded").raise_for_failures()
    for name, seed in (("a", 1), ("b", 2)):
        reads = random_sequences(60, 70, 110, seed)
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(reads)))
    prepare_sequences([f"{name}={folder / name}.fa" for name in "ab"], folder / "prepared", read_encoder=None)
    inputs = {
        "pretrain_read_encoder": ("smoke", ["--genomes", folder]),
        "pretrain_protein_encoder": ("smoke", ["--genomes", folder]),
        "train_genome_transformer": (
            "smoke",
            ["--genomes", folder / "embedded", "--target", "habitat", "--group", "genus"],
        ),
        "finetune_sequence_classifier": ("smoke", ["--data", folder / "prepared"]),
        "finetune_phenotype": ("local", ["--cohort", EXAMPLE, "--target", "group"]),
    }
    configs = ROOT / "recipes" / "configs"
    return {
        name: ["--config", str(configs / name / f"{config}.yaml"), *map(str, options)]
        for name, (config, options) in inputs.items()
    }


def run(name: str, arguments: list[str], output: Path) -> None:
    module = recipe(name)
    module.run_recipe(module.parser().parse_args([*arguments, "--output", str(output)]))


NAMES = [
    "pretrain_read_encoder",
    "pretrain_protein_encoder",
    "train_genome_transformer",
    "finetune_sequence_classifier",
    "finetune_phenotype",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_refuses_before_it_writes(name, recipes, tmp_path, monkeypatch):
    output = tmp_path / "run"
    for environment, words in (
        (SHARDING["FSDP"], "FSDP is not supported"),
        ({"WORLD_SIZE": "2"}, "started 2 processes"),
    ):
        with monkeypatch.context() as context:
            set_environment(context, environment)
            with pytest.raises(InputError, match=words):
                run(name, recipes[name], output)
        AcceleratorState._reset_state(True)
    assert not output.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the processes would share the work on cards")
def test_torchrun_without_a_card_and_without_cpu(recipes, tmp_path):
    arguments = [*recipes["pretrain_protein_encoder"], "--output", str(tmp_path / "run")]
    job = Job(tmp_path / "job", 2, run_recipe, "pretrain_protein_encoder", arguments)
    assert job.wait() == [2, 2], job.text()
    assert job.text().count("error:") == 1 and "the launcher started 2 processes" in job.text()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cpu", [True, False])
@pytest.mark.parametrize("strategy", SHARDING)
def test_strategies_that_split_the_model(strategy, cpu, monkeypatch):
    set_environment(monkeypatch, SHARDING[strategy])
    with pytest.raises(InputError, match=rf"^{strategy} is not supported: .*plain data parallelism"):
        make_accelerator("no", cpu=cpu)


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"])
def test_strategies_that_only_the_accelerator_tells(kind, monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda self: DistributedType[kind]))
    with pytest.raises(InputError, match=f"{kind} is not supported"):
        make_accelerator("no")


@pytest.mark.parametrize("launcher", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_a_launcher_whose_processes_do_not_share_the_run(launcher, monkeypatch):
    monkeypatch.setenv(launcher, "3")
    with pytest.raises(InputError, match="launcher started 3 processes, but this one trains among 1"):
        make_accelerator("no")


def test_switches_that_are_off_and_one_process(monkeypatch):
    for environment in SHARDING.values():
        set_environment(monkeypatch, {name: "false" if name.startswith("ACC") else "1" for name in environment})
    set_environment(monkeypatch, {"WORLD_SIZE": "1", "PMI_SIZE": ""})
    accelerator = make_accelerator("auto")
    assert accelerator.num_processes == 1 and accelerator.mixed_precision == "no"
    assert describe_device(accelerator).startswith("cpu, 1 process, ")


def test_unknown_precision_is_refused(monkeypatch):
    with pytest.raises(InputError, match="'fp8'; give auto, bf16 or no"):
        make_accelerator("fp8")
