"""When a part counts: its checksum, and what its input files are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from biomeformer.errors import CohortError, InputError
from biomeformer.genomes.catalog import read_catalog
from biomeformer.io.file_identity import digest_file
from biomeformer.metagenomes import run_cohort
from biomeformer.reads import read_cohort
from biomeformer.runs.control import CallbackObserver
from biomeformer.runs.run_folder import run_status
from factories import random_sequences, tiny_metagenbert, write_fastq

N_READS = 5


@pytest.fixture(scope="module")
def model():
    return tiny_metagenbert()


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Two samples of files of one name and one size in two folders."""
    folder = tmp_path / "cohort"
    lines = ["sample_id,fastq"]
    for i, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        write_reads(folder / name / "reads.fastq", seed=i)
        lines.append(f"{name},{name}/reads.fastq")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder / "cohort.csv"


def write_reads(path: Path, seed: int) -> None:
    write_fastq(path, random_sequences(N_READS, 80, 81, seed))
    os.utime(path, (1000 + seed, 1000 + seed))


def embed(model, cohort, folder, **options):
    """The outcome, the samples that were embedded, and the remarks."""
    seen, remarks = [], []
    observer = CallbackObserver(on_finish=lambda name, reason: seen.append(name), on_remark=remarks.append)
    return run_cohort(model, cohort, folder, observer=observer, **options), seen, remarks


def test_reads_rewritten_with_the_same_size_are_embedded_again(model, cohort, tmp_path):
    before, _, _ = embed(model, cohort, tmp_path / "run")
    write_reads(cohort.parent / "a" / "reads.fastq", seed=7)
    after, seen, remarks = embed(model, cohort, tmp_path / "run")
    assert seen == ["a"] and remarks == ["the files of 1 sample (a) have changed since, so they are taken again"]
    assert not np.array_equal(before.result.counts[0], after.result.counts[0])


def test_files_of_one_name_that_are_swapped_in_the_table_are_embedded_again(model, cohort, tmp_path):
    for name in "ab":
        os.utime(cohort.parent / name / "reads.fastq", (1, 1))
    before, _, _ = embed(model, cohort, tmp_path / "run")
    cohort.write_text("sample_id,fastq\na,b/reads.fastq\nb,a/reads.fastq\n")
    after, seen, remarks = embed(model, cohort, tmp_path / "run")
    assert seen == ["a", "b"] and "2 samples (a, b) have changed" in remarks[0]
    assert np.array_equal(before.result.counts[::-1], after.result.counts)


def test_a_copy_elsewhere_is_read_once_and_its_parts_stay(model, cohort, tmp_path, monkeypatch):
    embed(model, cohort, tmp_path / "run")
    shutil.copytree(cohort.parent, tmp_path / "copy", copy_function=shutil.copy)
    chunks = []
    read = digest_file

    def count(path, check=None):
        return read(path, lambda: chunks.append(path))

    monkeypatch.setattr("biomeformer.io.file_identity.digest_file", count)
    for n_read in (2, 2):
        _, seen, remarks = embed(model, tmp_path / "copy" / "cohort.csv", tmp_path / "run")
        assert not seen and not remarks and len(set(chunks)) == n_read == len(chunks)
    write_reads(tmp_path / "copy" / "a" / "reads.fastq", seed=9)
    assert embed(model, tmp_path / "copy" / "cohort.csv", tmp_path / "run")[1] == ["a"]


def test_digests_are_computed_while_reads_are_embedded(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    digest_file(cohort.parent / "a" / "reads.fastq", check=lambda: pytest.fail("the file was read a second time"))


def test_reads_that_change_under_the_run_are_a_failure_of_the_sample(model, cohort, tmp_path, monkeypatch):
    from biomeformer.metagenomes import cohort as module

    embed_sample = module.embed_sample

    def change(*arguments, **options):
        embedding = embed_sample(*arguments, **options)
        if options["sample_id"] == "a":
            write_reads(cohort.parent / "a" / "reads.fastq", seed=3)
        return embedding

    monkeypatch.setattr(module, "embed_sample", change)
    outcome, _, _ = embed(model, cohort, tmp_path / "run")
    assert "a/reads.fastq was changed while the run was under way" in outcome.failed["a"]
    assert outcome.result.sample_ids == ("b",)


@pytest.mark.parametrize("kind", ["path", "symbolic link", "hard link"])
def test_one_file_in_two_samples_is_refused_with_the_names_of_both(cohort, kind):
    folder = cohort.parent
    if kind != "path":
        (folder / "b" / "reads.fastq").unlink()
        link = os.symlink if kind == "symbolic link" else os.link
        link(folder / "a" / "reads.fastq", folder / "b" / "reads.fastq")
    else:
        cohort.write_text("sample_id,fastq\na,a/reads.fastq\nb,b/../a/reads.fastq\n")
    with pytest.raises(CohortError, match=r"line 3: samples a and b have the file .*reads.fastq in common.*--allow-sh"):
        read_cohort(cohort)
    assert len(read_cohort(cohort, allow_shared_files=True)) == 2


def test_equal_files_of_two_samples_are_refused_when_the_table_is_made(model, cohort, tmp_path):
    write_reads(cohort.parent / "b" / "reads.fastq", seed=0)
    with pytest.raises(InputError, match=r"samples a and b have a file in common: .*a/reads.fastq and .*b/reads.fastq"):
        embed(model, cohort, tmp_path / "run")
    assert not (tmp_path / "run" / "abundance.parquet").exists()
    outcome, seen, _ = embed(model, read_cohort(cohort, allow_shared_files=True), tmp_path / "run")
    assert not seen and outcome.result.sample_ids == ("a", "b")


def test_a_mate_that_equals_another_samples_file_is_named(model, cohort, tmp_path):
    folder = cohort.parent
    write_reads(folder / "b" / "reads.fastq", seed=0)
    write_reads(folder / "a" / "more.fastq", seed=5)
    cohort.write_text("sample_id,fastq\na,a/reads.fastq;a/more.fastq\nb,b/reads.fastq\n")
    outcome, _, remarks = embed(model, cohort, tmp_path / "run")
    assert outcome.result.sample_ids == ("a", "b") and len(remarks) == 1
    assert remarks[0].startswith("samples a and b have a file in common: ") and "equal byte for byte" in remarks[0]


def test_one_file_of_two_genomes_is_refused_and_annotations_may_be_shared(tmp_path):
    for name in ("a.fna", "b.fna"):
        (tmp_path / name).write_text(f">{name}\nACGT\n")
    (tmp_path / "notes.tsv").write_text("gene\tnote\n")
    table = tmp_path / "genomes.csv"
    table.write_text("genome_id,fasta,annotations\na,a.fna,notes.tsv\nb,b.fna,notes.tsv\n")
    assert len(read_catalog(table)) == 2
    table.write_text("genome_id,fasta,annotations\na,a.fna,notes.tsv\nb,a.fna,notes.tsv\n")
    with pytest.raises(CohortError, match=r"line 3: genomes a and b have the file .*a.fna in common"):
        read_catalog(table)
    assert len(read_catalog(table, allow_shared_files=True)) == 2


def test_no_flipped_bit_of_a_part_reaches_the_table(model, cohort, tmp_path):
    expected, _, _ = embed(model, cohort, tmp_path / "run")
    path = tmp_path / "run" / "run" / "parts" / "a.safetensors"
    good = path.read_bytes()
    n_taken_again = 0
    for position in range(0, len(good), 23):
        damaged = bytearray(good)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        status = run_status(tmp_path / "run")
        outcome, seen, remarks = embed(model, cohort, tmp_path / "run")
        assert np.array_equal(outcome.result.counts, expected.result.counts), position
        if seen:
            assert seen == ["a"] and (status.n_done, status.damaged, status.left) == (1, ("a",), ("a",)), position
            assert remarks == ["the parts of 1 sample (a) are damaged, so they are taken again"]
            n_taken_again += 1
    # Blanks that pad the header have no meaning.
    assert n_taken_again > len(range(0, len(good), 23)) * 0.9


def as_version_0_1(folder: Path, counts_added: int = 0) -> None:
    """Turn a run into one of version 0.1: parts without checksums, which know files by name and size."""
    import json

    for path in (folder / "run" / "parts").iterdir():
        from biomeformer.runs.records import read_part

        part, _ = read_part(path)
        arrays = load_file(path)
        arrays["counts"][0] += counts_added
        metadata = {
            "sample_id": part.item_id,
            "fingerprint": part.fingerprint,
            "reads": json.dumps([[Path(file.name).name, file.size] for file in part.inputs]),
            "tallies": json.dumps(part.stats),
        }
        save_file(arrays, path, metadata=metadata)
    (folder / "run" / "output.json").unlink()
    record = json.loads((folder / "run" / "run.json").read_text())
    del record["checksum"], record["noun"]
    (folder / "run" / "run.json").write_text(json.dumps(record | {"format_version": 1}))


def test_parts_of_version_0_1_are_used_and_said_to_be_unverifiable(model, cohort, tmp_path):
    expected, _, _ = embed(model, cohort, tmp_path / "run")
    as_version_0_1(tmp_path / "run")
    outcome, seen, remarks = embed(model, cohort, tmp_path / "run")
    assert not seen and np.array_equal(outcome.result.counts, expected.result.counts)
    assert len(remarks) == 1 and "2 samples (a, b) are of version 0.1, which wrote no checksums" in remarks[0]


def test_a_part_of_version_0_1_whose_counts_do_not_add_up_is_taken_again(model, cohort, tmp_path):
    expected, _, _ = embed(model, cohort, tmp_path / "run")
    as_version_0_1(tmp_path / "run", counts_added=1 << 30)
    outcome, seen, remarks = embed(model, cohort, tmp_path / "run")
    assert seen == ["a", "b"] and "are damaged" in remarks[0]
    assert np.array_equal(outcome.result.counts, expected.result.counts)


def test_a_run_of_version_0_1_can_be_started_over(model, cohort, tmp_path):
    embed(model, cohort, tmp_path / "run")
    as_version_0_1(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    _, seen, _ = embed(model, cohort, tmp_path / "run", overwrite=True, seed=1)
    assert seen == ["a", "b"] and (tmp_path / "run" / "notes.txt").exists()


def test_a_damaged_reason_of_a_failure_is_said_to_be_damaged(model, cohort, tmp_path):
    write_fastq(cohort.parent / "a" / "reads.fastq", [])
    embed(model, cohort, tmp_path / "run")
    path = tmp_path / "run" / "run" / "failed" / "a.json"
    path.write_bytes(path.read_bytes().replace(b"holds", b"h\xffld"))
    assert "a.json is not JSON, so it is damaged" in run_status(tmp_path / "run").failed["a"]
