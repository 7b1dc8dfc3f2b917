"""Runs over a cohort by real processes: shared out, killed, interrupted, short of disk; the same table every time."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import biomeformer
from biomeformer.metagenomes import AbundanceTable
from biomeformer.runs.run_folder import run_status
from factories import write_large_cohort
from processes import ROOT, Job, run_recipe

MODEL = "metagenbert-mini"
# Of several batches each; nine on four ranks leave one that they share.
SIZES = [12_000, 9_000, 9_000, 20_000, 6_000, 9_000, 9_000, 9_000, 9_000]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_large_cohort(tmp_path_factory.mktemp("cohort"), SIZES)


@pytest.fixture(scope="module")
def expected(cohort) -> AbundanceTable:
    """The table, by way of memory."""
    return biomeformer.load(MODEL).embed_cohort(cohort)


def arguments(cohort: Path, output: Path, *more: object) -> list[str]:
    return [str(a) for a in ("--cohort", cohort, "--model", MODEL, "--output", output, *more)]


def start(cohort: Path, output: Path, n_ranks: int, *more: object) -> Job:
    folder = output.with_name(f"{output.name}.text")
    return Job(folder, n_ranks, run_recipe, "embed_cohort", arguments(cohort, output, *more))


@pytest.fixture(scope="module")
def reference(cohort, expected, tmp_path_factory) -> tuple[bytes, float]:
    """The table's file by one process, and how long two take for it."""
    output = tmp_path_factory.mktemp("reference") / "run"
    job = start(cohort, output, 1)
    assert job.wait() == [0], job.text()
    table = AbundanceTable.read(output)
    assert np.array_equal(table.counts, expected.counts) and table.counts.sum() == sum(SIZES)
    assert table.read_stats.equals(expected.read_stats)
    began = time.monotonic()
    assert start(cohort, output.with_name("timed"), 2).wait() == [0, 0]
    return (output / "abundance.parquet").read_bytes(), time.monotonic() - began


def finish(cohort: Path, output: Path, n_ranks: int, reference: tuple[bytes, float]) -> None:
    """Give the command again; the table must come out, and nothing half-written be left."""
    job = start(cohort, output, n_ranks)
    assert job.wait() == [0] * n_ranks, job.text()
    assert (output / "abundance.parquet").read_bytes() == reference[0]
    files = {path.name for path in output.rglob("*") if path.is_file()}
    records = {"run.json", "output.json", "lock"}
    assert files == {"abundance.parquet", *records, *(f"s{i}.safetensors" for i in range(len(SIZES)))}


@pytest.mark.parametrize(("n_ranks", "batch_tokens"), [(2, 10_000), (4, None), (4, 200_000)])
def test_any_number_of_processes_gives_the_same_file(cohort, reference, tmp_path, n_ranks, batch_tokens):
    more = [] if batch_tokens is None else ["--batch-tokens", batch_tokens]
    job = start(cohort, tmp_path / "run", n_ranks, *more)
    assert job.wait() == [0] * n_ranks, job.text()
    assert (tmp_path / "run" / "abundance.parquet").read_bytes() == reference[0]
    (attempt,) = run_status(tmp_path / "run").attempts
    assert attempt["n_processes"] == n_ranks and len(attempt["peak_memory_bytes"]) == n_ranks
    # Each process did something.
    assert all(f"process {rank}: s" in output.read_text() for rank, output in enumerate(job.outputs))


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_fewer_samples_than_processes(tmp_path, n_ranks):
    """They share the batches of one sample, also where a fraction of the reads is used."""
    cohort = write_large_cohort(tmp_path / "cohort", [40_000])
    options = ["--read-fraction", 0.7, "--seed", 5]
    one, many = start(cohort, tmp_path / "one", 1, *options), start(cohort, tmp_path / "many", n_ranks, *options)
    assert one.wait() == [0] and many.wait() == [0] * n_ranks, many.text()
    first, second = ((tmp_path / name / "abundance.parquet").read_bytes() for name in ("one", "many"))
    assert first == second
    assert 27_000 < AbundanceTable.read(tmp_path / "many").counts.sum() < 29_000


@pytest.mark.parametrize("victims", ["one", "all"])
def test_killed_at_ten_moments(cohort, reference, tmp_path, victims):
    """SIGKILL, at whatever the processes are doing; of one, the launcher then stops the other."""
    moments = random.Random(victims)
    n_stopped = 0
    for i in range(10):
        output = tmp_path / f"run{i}"
        job = start(cohort, output, 2)
        time.sleep(moments.uniform(0.1, 1) * reference[1])
        if victims == "all":
            job.signal(signal.SIGKILL)
        else:
            victim = moments.randrange(2)
            job.signal(signal.SIGKILL, [victim])
            job.processes[victim].join()
            job.signal(signal.SIGTERM, [1 - victim])
        codes = job.wait(60)
        assert None not in codes, job.text()
        n_stopped += codes != [0, 0]
        finish(cohort, output, moments.choice([1, 2]), reference)
        shutil.rmtree(output)
    assert n_stopped >= 3


def test_killed_over_and_over(cohort, reference, tmp_path):
    """Whatever is finished between kills is kept: the run gets to its end."""
    output, before = tmp_path / "run", 0
    for _ in range(40):
        job = start(cohort, output, 2)
        time.sleep(0.6 * reference[1])
        job.signal(signal.SIGKILL)
        codes = job.wait(60)
        done = run_status(output).n_done if (output / "run" / "run.json").exists() else 0
        assert done >= before
        before = done
        if codes == [0, 0] or done == len(SIZES):
            break
    finish(cohort, output, 2, reference)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_run_says_so_and_resumes(cohort, reference, tmp_path, number, code):
    job = start(cohort, tmp_path / "run", 2)
    while not list((tmp_path / "run" / "run" / "parts").glob("[!.]*.safetensors")):
        assert all(process.is_alive() for process in job.processes), job.text()
        time.sleep(0.02)
    job.signal(number)
    assert job.wait(30) == [code] * 2, job.text()
    assert f"error: interrupted by {number.name}" in job.text() and "Traceback" not in job.text()
    status = run_status(tmp_path / "run")
    assert status.attempts[-1]["status"] == "interrupted" and not status.is_running
    assert 0 < status.n_done < len(SIZES) and status.left and not status.failed
    finish(cohort, tmp_path / "run", 1, reference)


def test_a_second_run_on_the_folder_is_refused(cohort, reference, tmp_path):
    first = start(cohort, tmp_path / "run", 2)
    while not (tmp_path / "run" / "run" / "run.json").exists():
        time.sleep(0.02)
    first.signal(signal.SIGSTOP)
    try:
        assert run_status(tmp_path / "run").is_running
        second = start(cohort, tmp_path / "run", 2)
        codes = second.wait(60)
        assert codes == [2, 1], second.text()
        assert f"run is in use by the run that process {first.processes[0].pid} on " in second.text()
    finally:
        first.signal(signal.SIGCONT)
    assert first.wait() == [0, 0], first.text()
    assert (tmp_path / "run" / "abundance.parquet").read_bytes() == reference[0]


def test_a_lost_process_is_noticed_without_a_launcher(cohort, tmp_path):
    """The other one does not wait for ever: it gives up when there is no heartbeat."""
    job = start(cohort, tmp_path / "run", 2, "--timeout", 0.05)
    while not list((tmp_path / "run" / "run" / "parts").glob("[!.]*.safetensors")):
        time.sleep(0.02)
    job.signal(signal.SIGKILL, [1])
    codes = job.wait(60)
    assert codes == [1, -signal.SIGKILL], job.text()
    assert "process 1 of 2 has sent no heartbeat for 3 seconds" in job.text()
    assert "process 1 of 2" in run_status(tmp_path / "run").attempts[-1]["status"]


def test_a_full_disk(cohort, reference, tmp_path):
    """A small file system: one clear error, and the run goes on when there is room."""
    # In a mount name space of its own, where mounting needs no privilege.
    enter = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("name spaces for mounts are not allowed here")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"{sys.executable} recipes/embed_cohort.py {' '.join(arguments(cohort, disk / 'run'))}"
    script = f"""
        mount -t tmpfs -o size=32k tmpfs {disk}
        {command}; echo "first $?"
        find {disk} -name '.*' -type f
        mount -o remount,size=4m {disk}
        {command}; echo "second $?"
        cp {disk}/run/abundance.parquet {tmp_path}
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "modeling")}
    done = subprocess.run(
        [*enter, "sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[0] == "first 1" and done.stdout.splitlines()[-1] == "second 0", done.stderr
    assert len(done.stdout.splitlines()) == 3
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be written to" in errors[0] and "same command again" in errors[0], errors
    assert "No space left on device" in errors[0]
    n_before = int(done.stderr.split(" samples done before")[1].split()[-1])
    assert 0 < n_before < len(SIZES)
    assert (tmp_path / "abundance.parquet").read_bytes() == reference[0]


def test_job_under_accelerate_launch_is_taken_down_and_resumed(cohort, reference, tmp_path):
    """The command as people give it; one process is killed, and the launcher takes the job down."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    output = tmp_path / "run"
    command = [*launch, "-m", "biomeformer", "embed", str(cohort), "--model", MODEL, "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "modeling"), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(command, env=environment, **pipes)
    while not list((output / "run" / "parts").glob("[!.]*.safetensors")):
        assert job.poll() is None, job.communicate()
        time.sleep(0.02)
    os.kill(json.loads((output / "run" / "run.json").read_text())["attempts"][-1]["pid"], signal.SIGKILL)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1 and "SIGKILL" in errors
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming an earlier run" in done.stderr and done.stdout.splitlines()[0].startswith("table ")
    assert (output / "abundance.parquet").read_bytes() == reference[0]
    assert (output / "report.html").exists() and (output / "cohort.png").exists()
