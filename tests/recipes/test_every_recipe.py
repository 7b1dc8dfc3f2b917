"""What every training recipe does alike: any number of processes, interruptions, reasons of failures, files."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from biomeformer import prepare_sequences
from biomeformer.genomes.catalog import read_catalog
from biomeformer.genomes.embedding import embed_genomes
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.runs.output_folder import RECORD, OutputFolder
from biomeformer.training.run import COLUMNS, TrainingRun
from factories import random_sequences, tiny_esm, write_protein_genomes
from processes import ROOT, Job, free_port, recipe

EXAMPLE = ROOT / "modeling" / "biomeformer" / "example_cohort" / "cohort.csv"
STAGES = "micro_batch_reads: 8, learning_rate: 0.002, read_length: [60, 90], evaluate_every: 2, save_every: 2"
SETS = "set_size=8 reads_per_sample=60 n_folds=2 n_epochs=2 dropout=0.3 batch_samples=3 micro_batches=4"
# Dropout is on, and batches are smaller than four processes: of three examples, or of two or three micro-batches.
OVERRIDES = {
    "pretrain_read_encoder": [
        "stages=["
        f"{{objective: mlm, n_steps: 4, micro_batches: 3, {STAGES}}}, "
        f"{{objective: contrastive, n_steps: 4, micro_batches: 2, {STAGES}}}]",
        "encoder.attention_probs_dropout_prob=0.3",
        "encoder.hidden_dropout_prob=0.3",
    ],
    "pretrain_protein_encoder": ["n_steps=6", "micro_batches=3", "micro_batch_tokens=512", "save_every=2"],
    "train_genome_transformer": ["dropout=0.3", "batch_genomes=3", "micro_batches=4", "n_epochs=2"],
    "finetune_sequence_classifier": ["dropout=0.3", "batch_sequences=3", "micro_batches=4", "n_epochs=4"],
    "finetune_phenotype": SETS.split(),
}
NAMES = list(OVERRIDES)
Table = dict[str, list[str]]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    """The options of each recipe, with inputs small but whole."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = ["genome_id\tspecies\tgenus\tfile"]
    for i in range(4):
        (folder / f"g{i}.fna").write_text(f">c\n{random_sequences(1, 9_000, 9_001, i)[0]}\n")
        rows.append(f"g{i}\tS{i} s\tS{i}\tg{i}.fna")
    (folder / "genomes.tsv").write_text("\n".join(rows) + "\n")
    (folder / "embedded").mkdir()
    catalog = read_catalog(write_protein_genomes(folder / "embedded", 16))
    embed_genomes(load_protein_encoder(tiny_esm(folder / "esm")), catalog, folder / "vectors").raise_for_failures()
    for name, seed in (("a", 1), ("b", 2)):
        sequences = random_sequences(30, 70, 110, seed)
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(sequences)))
    prepare_sequences([f"{name}={folder / name}.fa" for name in "ab"], folder / "prepared", read_encoder=None)
    inputs = {
        "pretrain_read_encoder": ["--genomes", folder],
        "pretrain_protein_encoder": ["--genomes", folder],
        "train_genome_transformer": ["--genomes", folder / "vectors", "--target", "habitat", "--group", "genus"],
        "finetune_sequence_classifier": ["--data", folder / "prepared"],
        "finetune_phenotype": ["--cohort", EXAMPLE, "--target", "group"],
    }
    return {
        name: [
            *("--cpu", "--config", "local" if name == "finetune_phenotype" else "smoke"),
            *(str(option) for option in options),
            *OVERRIDES[name],
        ]
        for name, options in inputs.items()
    }


def run(name: str, options: list[str], output: Path) -> int:
    """A recipe's `main`, in this process."""
    AcceleratorState._reset_state(True)
    return recipe(name).main([*options, "--output", str(output)])


def run_all(table: Table, folder: Path, ports: list[int]) -> int:
    """Each recipe after the other, in the same processes."""
    codes = []
    for port, (name, options) in zip(ports, table.items(), strict=True):
        os.environ["MASTER_PORT"] = str(port)
        codes.append(run(name, options, folder / name))
    return max(codes)


def interrupt_and_resume_all(table: Table, folder: Path) -> int:
    """Each recipe gets SIGTERM once it has written its third row, and is run again."""
    append = TrainingRun.append
    codes = []
    for name, options in table.items():
        n_rows = 0

        def interrupt(self: TrainingRun, row: dict) -> None:
            nonlocal n_rows
            append(self, row)
            n_rows += 1
            if n_rows == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        TrainingRun.append = interrupt
        print(f"{name} starts", file=sys.stderr, flush=True)
        codes.append(run(name, options, folder / name) - 143)
        codes.append(run(name, options, folder / name))
    return int(any(codes))


@pytest.fixture(scope="module")
def one(table, tmp_path_factory) -> Path:
    """Every recipe on one process."""
    folder = tmp_path_factory.mktemp("one")
    job = Job(folder / "text", 1, run_all, table, folder, [0] * len(table))
    assert job.wait(300) == [0], job.text()
    return folder


def history(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name / "history.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_losses_do_not_depend_on_the_number_of_processes(one, table, tmp_path, n_ranks):
    job = Job(tmp_path / "text", n_ranks, run_all, table, tmp_path, [free_port() for _ in table])
    assert job.wait(300) == [0] * n_ranks, job.text()
    for name in NAMES:
        expected, rows = history(one, name), history(tmp_path, name)
        assert len(rows) == len(expected) >= 4, name
        for row, other in zip(rows, expected, strict=True):
            assert row["stage"] == other["stage"] and row["step"] == other["step"]
            for column in ("training_loss", "validation_loss", "validation_score"):
                values = [float(each[column] or "nan") for each in (row, other)]
                assert values[0] == pytest.approx(values[1], abs=2e-6, nan_ok=True), (name, row, other)


def test_histories_are_alike(one):
    for name in NAMES:
        text = (one / name / "history.csv").read_bytes()
        assert text.startswith(",".join(COLUMNS).encode() + b"\n") and b"\r" not in text
        assert (one / name / "training_record.json").is_file() and not (one / name / "state").exists()


def test_interrupted_and_resumed_is_as_if_it_had_not_been(one, table, tmp_path):
    job = Job(tmp_path / "text", 1, interrupt_and_resume_all, table, tmp_path)
    assert job.wait(300) == [0], job.text()
    errors = [line for line in job.text().splitlines() if line.startswith("error: ")]
    assert len(errors) == len(NAMES) and "Traceback" not in job.text()
    assert all(error.startswith("error: interrupted by SIGTERM; the same command resumes") for error in errors), errors
    for name in NAMES:
        assert (tmp_path / name / "history.csv").read_bytes() == (one / name / "history.csv").read_bytes(), name


def test_every_recipe_with_overwrite_is_tried():
    names = [path.stem for path in (ROOT / "recipes").glob("*.py") if "--overwrite" in path.read_text()]
    names += [path.stem for path in (ROOT / "recipes").glob("*.py") if "add_training_options()" in path.read_text()]
    assert sorted(names) == sorted([*NAMES, "embed_cohort"])


def test_what_a_recipe_writes_is_what_its_record_names(one):
    for name in NAMES:
        entries = OutputFolder(one / name, "training").require_own().entries
        written = {path.name for path in (one / name).iterdir()} - {"lock", RECORD}
        assert written <= set(entries), name


def overwrite_a_home(table: Table, folder: Path) -> int:
    """Every recipe, told to overwrite a folder that no run wrote."""
    codes = [run(name, [*options, "--overwrite"], folder) for name, options in table.items()]
    options = ["--cohort", str(EXAMPLE), "--model", "metagenbert-mini", "--device", "cpu", "--overwrite"]
    codes.append(recipe("embed_cohort").main([*options, "--output", str(folder)]))
    print(f"codes {codes}")
    return 0


def test_overwrite_keeps_files_that_no_run_wrote(table, tmp_path):
    home = tmp_path / "home"
    for file in ("thesis.tex", "model/weights", "run.json", "run/own.py"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text("{}")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    job = Job(tmp_path / "text", 1, overwrite_a_home, table, home)
    assert job.wait(120) == [0], job.text()
    assert f"codes {[2] * (len(NAMES) + 1)}" in job.text()
    assert job.text().count("has no record of what a run wrote there") == len(NAMES) + 1
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def bad_input_on_rank_1(table: Table, folder: Path, ports: list[int]) -> int:
    """Of process 1 alone, as on a machine that lacks a mount."""
    if os.environ["RANK"] == "1":
        changed = {"--genomes", "--data", "--cohort"}
        table = {
            name: [
                f"/nowhere/{name}" if before in changed else option for before, option in zip(["", *o], o, strict=False)
            ]
            for name, o in table.items()
        }
    codes = []
    for port, (name, options) in zip(ports, table.items(), strict=True):
        os.environ["MASTER_PORT"] = str(port)
        codes.append(run(name, options, folder / name))
    print(f"codes {codes}")
    return 0


def test_a_reason_of_another_process_is_shown_once(table, tmp_path):
    job = Job(tmp_path / "text", 2, bad_input_on_rank_1, table, tmp_path / "runs", [free_port() for _ in table])
    assert job.wait(120) == [0, 0], job.text()
    quiet, failing = (path.read_text() for path in job.outputs)
    assert f"codes {[1] * 5}" in quiet and "error" not in quiet
    errors = [line for line in failing.splitlines() if line.startswith("error: ")]
    assert len(errors) == 5 and f"codes {[2] * 5}" in failing
    for name, error in zip(NAMES, errors, strict=True):
        assert error.startswith("error: process 1: ") and f"/nowhere/{name}" in error
    assert not (tmp_path / "runs").exists()


def fail_in_training(table: Table, folder: Path) -> int:
    """Process 1 cannot make its third step's batch."""
    module = recipe("pretrain_protein_encoder")
    batch = module.Proteins.batch
    n_batches = 0

    def fail(self, config, rng):
        nonlocal n_batches
        n_batches += 1
        if os.environ["RANK"] == "1" and n_batches == 3:
            raise module.InputError("/mount/proteins.npz breaks off.")
        return batch(self, config, rng)

    module.Proteins.batch = fail
    return module.main([*table["pretrain_protein_encoder"], "--output", str(folder)])


def test_a_failure_in_training_is_shown_once(table, tmp_path):
    job = Job(tmp_path / "text", 2, fail_in_training, table, tmp_path / "run")
    assert job.wait(60) == [1, 2], job.text()
    assert job.outputs[0].read_text().count("error") == 0
    # Without a terminal, progress is a line when a task begins.
    lines = [line for line in job.text().splitlines() if line.strip()]
    assert lines == ["predicting genes", "masked residues", "error: process 1: /mount/proteins.npz breaks off."]


def hold_the_folder(table: Table, folder: Path) -> int:
    """A second run, begun from within the first."""
    append = TrainingRun.append
    codes = []

    def second(self: TrainingRun, row: dict) -> None:
        append(self, row)
        if not codes:
            codes.append(0)
            module = recipe("pretrain_protein_encoder")
            parsed = module.parser().parse_args([*table["pretrain_protein_encoder"], "--output", str(folder)])
            try:
                module.run_recipe(parsed)
            except module.InputError as error:
                codes[0] = 2
                print(error)

    TrainingRun.append = second
    return run("pretrain_protein_encoder", table["pretrain_protein_encoder"], folder) + codes[0] - 2


def test_a_second_run_in_the_folder_is_refused(table, tmp_path):
    job = Job(tmp_path / "text", 1, hold_the_folder, table, tmp_path / "run")
    assert job.wait(60) == [0], job.text()
    assert f"{tmp_path / 'run'} is in use by the run that process {job.processes[0].pid} on " in job.text()


def test_a_run_of_another_version_is_refused(table, tmp_path, capfd):
    (tmp_path / "run.json").write_text('{"config": {}, "genomes": "0"}\n')
    assert run("pretrain_protein_encoder", table["pretrain_protein_encoder"], tmp_path) == 2
    assert "holds a run of another version of biomeformer" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == ["run.json"]


def test_the_command_launches_processes_and_has_the_recipe_s_exit_code(one, table, tmp_path):
    command = [sys.executable, "-m", "biomeformer", "recipes", "run", "pretrain_protein_encoder", "--processes", "2"]
    command += [*table["pretrain_protein_encoder"], "--output", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "modeling"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "config.json").is_file()
    expected = history(one, "pretrain_protein_encoder")
    for row, other in zip(history(tmp_path, "run"), expected, strict=True):
        assert float(row["training_loss"]) == pytest.approx(float(other["training_loss"]), abs=2e-6)
    done = subprocess.run(
        [*command, "n_step=3"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: 'n_step=3': unknown field n_step") and line.endswith("did you mean n_steps?")
