"""Which device a name means, what is said of it, and that a CUDA device becomes the current one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import pytest
import torch
import typer
from typer.testing import CliRunner

import biomeformer
from biomeformer.cli import app
from biomeformer.cli.runtime import note_device
from biomeformer.errors import InputError
from biomeformer.pipelines.base import check_device
from biomeformer.runs.devices import automatic_device, describe_device, device_name, resolve_device
from biomeformer.runs.process_group import ProcessGroup
from factories import random_sequences, write_fastq


@pytest.fixture
def cards(monkeypatch) -> list[torch.device]:
    """A machine that seems to have two cards, of which the second is current; gives the calls of `set_device`."""
    calls: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {torch.device(device).index}")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(torch.device(device)))
    return calls


@pytest.fixture
def no_card(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: pytest.fail("there is no card"))


def test_a_cuda_device_becomes_the_current_one(cards):
    for name, index in (("cuda:0", 0), ("cuda:1", 1), ("cuda", 1), ("auto", 1)):
        assert resolve_device(name) == torch.device("cuda", index)
        assert cards.pop() == torch.device("cuda", index) and not cards
    assert resolve_device("cpu") == torch.device("cpu") and not cards
    with pytest.raises(InputError, match="'cuda:2' was asked for and 2 CUDA devices are here; name one of them"):
        resolve_device("cuda:2")
    assert not cards


def test_every_loader_makes_it_the_current_one(cards, tmp_path):
    # The loaders resolve the device first, and stop at a checkpoint that is not there.
    from biomeformer.genomes.proteins import load_protein_encoder
    from biomeformer.sequences.classifier import SequenceClassifier

    loaders = (
        biomeformer.load,
        biomeformer.checkpoints.loading.load_phenotype_model,
        biomeformer.checkpoints.loading.load_genome_model,
        biomeformer.checkpoints.loading.load_read_encoder,
        load_protein_encoder,
        SequenceClassifier.load,
    )
    for loader in loaders:
        with pytest.raises(InputError, match="no such folder"):
            loader(str(tmp_path / "gone" / "model"), device="cuda:1")
        assert cards.pop() == torch.device("cuda", 1) and not cards, loader


def test_auto_without_a_card(no_card):
    assert automatic_device() == "cpu" and resolve_device("auto") == torch.device("cpu")
    assert ProcessGroup(size=4, local_rank=3).device("auto") == "cpu"
    assert biomeformer.load("metagenbert-mini", device="auto").device == torch.device("cpu")
    with pytest.raises(InputError, match="'cuda' was asked for and 0 CUDA devices are here; use --device cpu"):
        resolve_device("cuda")
    for name, words in (("abacus", "is unknown"), ("meta", "is not supported")):
        with pytest.raises(InputError, match=f"'{name}' {words}; give auto, cpu, cuda, cuda:N or mps"):
            resolve_device(name)


def test_apples_gpu_is_taken_only_by_name(no_card, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cpu") and resolve_device("mps") == torch.device("mps")


def test_each_process_takes_a_card_of_its_own(cards, capsys):
    processes = ProcessGroup(rank=5, size=8, local_rank=1)
    assert processes.device("auto") == processes.device("cuda") == "cuda:1"
    note_device(torch.device("cuda:1"), processes)
    assert capsys.readouterr().err == "Process 5 of 8 is using cuda:1 (Card 1).\n"
    with pytest.raises(InputError, match="start no more processes than that"):
        resolve_device(ProcessGroup(rank=2, size=3, local_rank=2).device("auto"))


def test_what_is_said(cards, monkeypatch):
    assert (
        describe_device(torch.device("cuda:0")) == "cuda:0 (Card 0)" and device_name(torch.device("cuda:1")) == "Card 1"
    )
    assert describe_device(torch.device("mps")) == "mps" and device_name(torch.device("cpu")) == "cpu"
    for n_threads, words in ((1, "the CPU (1 thread)"), (16, "the CPU (16 threads)")):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        assert describe_device(torch.device("cpu")) == words


def test_pipelines_take_auto_too(cards):
    assert check_device("auto") == torch.device("cuda", 1) and check_device("cuda:0") == torch.device("cuda", 0)
    assert check_device(0) == 0 and cards == [torch.device("cuda", index) for index in (1, 0, 0)]
    assert check_device(None) is None and check_device(-1) == -1


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command beneath a group, with its words."""
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))
    if not hasattr(group, "commands"):
        yield " ".join(path), group


def test_every_verb_with_a_device_chooses_it():
    chosen = {
        name: parameter.default
        for name, command in commands(typer.main.get_command(app))
        for parameter in command.params
        if parameter.name == "device"
    }
    assert set(chosen.values()) == {"auto"}
    assert {"embed", "fit-centroids", "genome embed", "phenotype predict"} <= set(chosen)


def run_embed(folder, *options: str):
    reads = folder / "r.fastq"
    write_fastq(reads, random_sequences(30, 60, 150, 0))
    (folder / "cohort.csv").write_text("sample_id,fastq\ns0,r.fastq\n")
    arguments = ["embed", folder / "cohort.csv", "--model", "metagenbert-mini", "--output", folder / "out", *options]
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_first_line_says_the_device(no_card, tmp_path):
    result = run_embed(tmp_path, "--threads", "1")
    assert result.exit_code == 0 and result.stderr.splitlines()[0] == "Using the CPU (1 thread)."


def test_embed_takes_a_card_where_there_is_one(cards, tmp_path, monkeypatch):
    asked = []

    def load(name, *, revision, device, dtype):
        asked.append((str(resolve_device(device)), dtype))
        raise InputError("stop here.")

    monkeypatch.setattr("biomeformer.checkpoints.loading.load", load)
    for options, device in (((), "cuda:1"), (("--device", "cuda:0"), "cuda:0"), (("--device", "cpu"), "cpu")):
        assert "stop here" in run_embed(tmp_path, *options).stderr
        assert asked.pop() == (device, "float32")


def test_python_functions_keep_the_cpu_by_default():
    assert inspect.signature(biomeformer.load).parameters["device"].default == "cpu"
