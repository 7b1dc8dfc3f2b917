"""What a run's folder holds, when a part counts, and what becomes of samples that fail."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from biomeformer.errors import InputError, RunError, RunInterrupted, SamplesFailedError
from biomeformer.metagenomes import AbundanceTable, run_cohort
from biomeformer.runs.control import CallbackObserver
from biomeformer.runs.run_folder import run_status
from factories import random_sequences, tiny_metagenbert, write_cohort, write_fastq
from processes import Job, run_recipe


@pytest.fixture(scope="module")
def model():
    return tiny_metagenbert()


@pytest.fixture
def cohort(tmp_path) -> Path:
    return write_cohort(tmp_path / "cohort", n_samples=4)


def embed(model, cohort, folder, **options):
    """The outcome, and the samples that were embedded."""
    seen = []
    observer = CallbackObserver(on_finish=lambda name, reason: seen.append(name))
    outcome = run_cohort(model, cohort, folder, observer=observer, **options)
    return outcome, seen


def parts(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "run" / "parts").iterdir())


def test_a_finished_run_is_not_done_again(model, cohort, tmp_path):
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s0", "s1", "s2", "s3"] == parts(tmp_path / "run") and outcome.n_resumed == 0
    table = (tmp_path / "run" / "abundance.parquet").read_bytes()
    times = [path.stat().st_mtime_ns for path in (tmp_path / "run" / "run" / "parts").iterdir()]
    again, seen = embed(model, cohort, tmp_path / "run")
    assert not seen and again.n_resumed == 4 and (tmp_path / "run" / "abundance.parquet").read_bytes() == table
    assert [path.stat().st_mtime_ns for path in (tmp_path / "run" / "run" / "parts").iterdir()] == times
    assert np.array_equal(again.result.counts, model.embed_cohort(cohort).counts)


def test_another_run_is_refused_with_what_differs(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    before = (tmp_path / "run" / "run" / "run.json").read_text()
    with pytest.raises(InputError, match=r"holds another run: read_fraction was 1.0 and is now 0.5; seed was 0 and is"):
        embed(model, cohort, tmp_path / "run", read_fraction=0.5, seed=1)
    other = tiny_metagenbert(min_read_length=50)
    with pytest.raises(
        InputError, match=r"another run: preprocessing.min_read_length was 1 and is now 50; give another"
    ):
        embed(other, cohort, tmp_path / "run")
    with pytest.raises(InputError, match="weights_sha256 was"):
        embed(tiny_metagenbert(seed=4), cohort, tmp_path / "run")
    with pytest.raises(InputError, match="holds a run already"):
        embed(model, cohort, tmp_path / "run", resume=False)
    assert (tmp_path / "run" / "run" / "run.json").read_text() == before
    (tmp_path / "run" / "notes.txt").write_text("mine")
    outcome, seen = embed(model, cohort, tmp_path / "run", read_fraction=0.5, overwrite=True)
    assert len(seen) == 4 and outcome.result.provenance["read_fraction"] == 0.5
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_the_same_weights_under_another_name_go_on(model, cohort, tmp_path, monkeypatch):
    embed(model, cohort, tmp_path / "run")
    monkeypatch.setattr(type(model), "name_or_path", "/elsewhere/model", raising=False)
    _, seen = embed(model, cohort, tmp_path / "run")
    assert not seen


def test_a_folder_with_something_else_is_refused(model, cohort, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        embed(model, cohort, tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["notes.txt"]


def test_an_interrupted_run_keeps_what_is_finished(model, cohort, tmp_path):
    def check():
        if run_status(tmp_path / "run").n_done == 2:
            raise RunInterrupted("interrupted by SIGTERM", 15)

    with pytest.raises(RunInterrupted):
        embed(model, cohort, tmp_path / "run", check=check)
    status = run_status(tmp_path / "run")
    assert status.n_done == 2 and status.left == ("s2", "s3") and status.is_running is False
    assert [attempt["status"] for attempt in status.attempts] == ["interrupted"]
    assert status.bytes_done > 0 and status.bytes_left > 0 and status.seconds_to_go is not None
    assert not (tmp_path / "run" / "abundance.parquet").exists()
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s2", "s3"] and outcome.n_resumed == 2
    assert np.array_equal(outcome.result.counts, model.embed_cohort(cohort).counts)
    assert run_status(tmp_path / "run").seconds_to_go == 0


def test_a_cohort_that_grows_and_shrinks(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    write_fastq(cohort.parent / "s4.fastq.gz", random_sequences(30, seed=99))
    lines = cohort.read_text().splitlines()
    cohort.write_text("\n".join([lines[0], lines[3].replace(",a", ",z"), "s4,s4.fastq.gz,a"]) + "\n")
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s4"] and outcome.result.sample_ids == ("s2", "s4")
    assert outcome.result.metadata["group"].tolist() == ["z", "a"]


def test_a_sample_whose_reads_changed_is_done_again(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    # A copy elsewhere is the same.
    shutil.copytree(cohort.parent, tmp_path / "copy")
    _, seen = embed(model, tmp_path / "copy" / "cohort.csv", tmp_path / "run")
    assert not seen
    write_fastq(cohort.parent / "s1.fastq.gz", random_sequences(50, seed=5))
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s1"] and outcome.result.counts[1].sum() == 50


@pytest.mark.parametrize("damage", ["cut", "empty", "of another sample", "of another run"])
def test_a_part_that_is_not_good_is_made_again(model, cohort, tmp_path, damage):
    embed(model, cohort, tmp_path / "run")
    folder = tmp_path / "run" / "run" / "parts"
    path, good = folder / "s1.safetensors", (folder / "s1.safetensors").read_bytes()
    if damage == "of another run":
        embed(model, cohort, tmp_path / "other", seed=1)
        shutil.copy(tmp_path / "other" / "run" / "parts" / "s1.safetensors", path)
    else:
        other = (folder / "s2.safetensors").read_bytes()
        path.write_bytes({"cut": good[:-8], "empty": b"", "of another sample": other}[damage])
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s1"] and path.stat().st_size == len(good)
    assert np.array_equal(outcome.result.counts, model.embed_cohort(cohort).counts)


def test_what_a_crash_left_half_written_is_removed(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    for name in ("run/parts/.77.partial.s9.safetensors", "run/.77.partial.run.json", ".77.partial.abundance.parquet"):
        (tmp_path / "run" / name).write_text("half")
    embed(model, cohort, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".*"))


def test_failing_samples_do_not_stop_the_others(model, cohort, tmp_path):
    good = (cohort.parent / "s1.fastq.gz").read_bytes()
    (cohort.parent / "s1.fastq.gz").write_bytes(good[:-20])
    write_fastq(cohort.parent / "s2.fastq.gz", [])
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s0", "s1", "s2", "s3"] and outcome.result.sample_ids == ("s0", "s3")
    assert list(outcome.failed) == ["s1", "s2"] and parts(tmp_path / "run") == ["s0", "s3"]
    assert "s1.fastq.gz, record" in outcome.failed["s1"] and "holds no reads" in outcome.failed["s2"]
    assert run_status(tmp_path / "run").failed == outcome.failed
    assert run_status(tmp_path / "run").left == ()
    with pytest.raises(SamplesFailedError, match=r"2 of 4 samples failed \(s1, s2\)") as raised:
        model.embed_cohort(cohort, output=tmp_path / "run")
    assert raised.value.failed == outcome.failed and raised.value.exit_code == 1
    # Mended, only they are done.
    (cohort.parent / "s1.fastq.gz").write_bytes(good)
    write_fastq(cohort.parent / "s2.fastq.gz", random_sequences(9))
    outcome, seen = embed(model, cohort, tmp_path / "run")
    assert seen == ["s1", "s2"] and not outcome.failed and outcome.result.counts.sum() == 60 * 3 + 9
    assert not list((tmp_path / "run" / "run" / "failed").iterdir()) and not run_status(tmp_path / "run").failed


def test_fail_fast_stops_at_the_first_failing_sample(model, cohort, tmp_path):
    write_fastq(cohort.parent / "s1.fastq.gz", [])
    with pytest.raises(SamplesFailedError, match=r"sample s1 failed: .*holds no reads"):
        embed(model, cohort, tmp_path / "run", fail_fast=True)
    status = run_status(tmp_path / "run")
    assert status.n_done == 1 and list(status.failed) == ["s1"] and status.left == ("s2", "s3")
    assert not (tmp_path / "run" / "abundance.parquet").exists()


@pytest.mark.parametrize("n_samples", [4, 5])
def test_nothing_is_kept_of_a_file_that_breaks_late(tmp_path, n_samples):
    """A hundred thousand good reads, in many batches, and then a record that is cut inside a whole gzip.

    Of four samples each process does two by itself; of five they share the largest, which is the damaged one.
    """
    cohort = write_cohort(tmp_path / "cohort", n_samples=n_samples)
    n_reads = 100_000
    text = b"".join(b"@r%d\n%s\n+\n%s\n" % (i, b"ACGTTGCA" * 8, b"I" * 64) for i in range(n_reads))
    (cohort.parent / "s3.fastq.gz").write_bytes(gzip.compress(text + b"@last\nACGT\n", 1))
    arguments = ["--cohort", str(cohort), "--model", "metagenbert-mini", "--output", str(tmp_path / "run")]
    job = Job(tmp_path / "text", 2, run_recipe, "embed_cohort", arguments)
    assert job.wait() == [1, 0], job.text()
    good = [f"s{i}" for i in range(n_samples) if i != 3]
    assert parts(tmp_path / "run") == good
    assert f"record {n_reads + 1}" in run_status(tmp_path / "run").failed["s3"]
    assert AbundanceTable.read(tmp_path / "run").sample_ids == tuple(good)


GOOD = {"members", "trailing zeros", "plain text named gz", "fasta named fastq.gz"}


def damage_table(folder: Path) -> Path:
    """A sample for each way in which files are damaged, or only look so, and two good ones."""
    sequences = random_sequences(400, seed=3)
    text = write_fastq(folder / "whole.fastq", sequences).read_bytes()
    whole = gzip.compress(text)
    flipped, checksum = bytearray(whole), bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    checksum[-8] ^= 1
    rows = {
        "good": whole,
        "members": gzip.compress(text[: len(text) // 2]) + gzip.compress(text[len(text) // 2 :]),
        "trailing zeros": whole + b"\0" * 512,
        "trailing garbage": whole + b"garbage",
        "checksum": bytes(checksum),
        "bit flip": bytes(flipped),
        "truncated stream": whole[: len(whole) // 2],
        "cut record": gzip.compress(text[:-200]),
        "empty": b"",
        "empty gzip": gzip.compress(b""),
        "plain text named gz": text,
        "fasta named fastq.gz": "".join(f">r{i}\n{s}\n" for i, s in enumerate(sequences)).encode(),
        "last": whole,
    }
    lines = ["sample_id,fastq"]
    for i, (name, content) in enumerate(rows.items()):
        (folder / f"{i}.fastq.gz").write_bytes(content)
        lines.append(f"{name},{i}.fastq.gz")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder / "cohort.csv"


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_every_kind_of_damage_within_a_cohort(tmp_path, n_ranks):
    cohort = damage_table(tmp_path)
    arguments = ["--cohort", str(cohort), "--model", "metagenbert-mini", "--output", str(tmp_path / "run")]
    arguments.append("--allow-shared-files")
    job = Job(tmp_path / "text", n_ranks, run_recipe, "embed_cohort", arguments)
    assert job.wait() == [1] + [0] * (n_ranks - 1), job.text()
    samples = [line.split(",")[0] for line in cohort.read_text().splitlines()[1:]]
    good = [name for name in samples if name in {"good", "last", *GOOD}]
    table, status = AbundanceTable.read(tmp_path / "run"), run_status(tmp_path / "run")
    assert list(table.sample_ids) == good and set(status.failed) == set(samples) - set(good)
    assert (table.counts == table.counts[0]).all() and table.counts[0].sum() == 400
    for name, reason in status.failed.items():
        assert f"{samples.index(name)}.fastq.gz" in reason, reason
        assert f"failed  {name}: {reason}" in job.text()
    assert f"error: {len(status.failed)} of 13 samples failed (trailing garbage, checksum, bit flip, …)" in job.text()


@pytest.mark.parametrize("what", ["part", "record", "table", "failure"])
def test_a_disk_that_is_full(model, cohort, tmp_path, monkeypatch, what):
    """Wherever it strikes: an error that says so, and a run that goes on."""
    if what == "failure":
        write_fastq(cohort.parent / "s1.fastq.gz", [])
    name = {"part": "s1.safetensors", "record": "run.json", "table": "abundance.parquet", "failure": "s1.json"}[what]
    replace = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("biomeformer.io.atomic.os.replace", full)
        with pytest.raises(RunError, match=r"run cannot be written to: No space left on device; finished samples are"):
            embed(model, cohort, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".*"))
    outcome, seen = embed(model, cohort, tmp_path / "run")
    expected = {"part": ["s1", "s2", "s3"], "record": ["s0", "s1", "s2", "s3"], "table": []}
    assert seen == expected.get(what, ["s1", "s2", "s3"])
    assert len(outcome.result.sample_ids) + len(outcome.failed) == 4


def test_status_of_a_run_under_way(model, cohort, tmp_path):
    found = []

    def look(name, reason):
        time.sleep(1.1)
        found.append(run_status(tmp_path / "run"))

    run_cohort(model, cohort, tmp_path / "run", observer=CallbackObserver(on_finish=look))
    assert [status.n_done for status in found] == [1, 2, 3, 4] and all(status.is_running for status in found)
    assert 0.5 < found[1].seconds_to_go < 60 and found[3].seconds_to_go == 0
    record = json.loads((tmp_path / "run" / "run" / "run.json").read_text())
    assert record["attempts"][0]["how_it_ended"] == "finished" and record["attempts"][0]["seconds"] >= 4.4
    assert record["attempts"][0]["peak_memory_bytes"][0] > 1e6
    part = load_file(tmp_path / "run" / "run" / "parts" / "s0.safetensors")
    assert part["counts"].dtype == np.int64 and part["counts"].sum() == 60
