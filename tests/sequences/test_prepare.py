"""From files to a dataset that `datasets` loads."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from biomeformer.errors import CheckpointError, InputError, RunError
from biomeformer.io.nucleotides import reverse_complement
from biomeformer.sequences import PreparationSettings, prepare_sequences, split_files
from factories import random_sequences


def write_fasta(path, sequences, prefix="s"):
    path.write_text("".join(f">{prefix}{i} note\n{one}\n" for i, one in enumerate(sequences)))
    return path


def write_table(path, rows, columns="sequence,label"):
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def prepare(inputs, output, read_encoder=None, genome=None, **settings):
    return prepare_sequences(
        inputs, output, PreparationSettings(**settings), read_encoder=read_encoder, genome=genome, overwrite=True
    )


def load(folder, tmp_path):
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def rows_of(folder):
    """Split and columns of every row."""
    files = sorted((folder / "data").glob("*.parquet"))
    frames = [pd.read_parquet(file).assign(split=file.name.partition("-")[0]) for file in files]
    return pd.concat(frames, ignore_index=True)


def other_strand(sequence):
    return reverse_complement(sequence.encode()).decode()


def test_the_positive_class_is_the_second(tmp_path):
    inputs = [f"{name}={write_fasta(tmp_path / name, random_sequences(9, seed=i))}" for i, name in enumerate("ab")]
    assert prepare(inputs, tmp_path / "out").label_names == ("a", "b")
    found = prepare(inputs, tmp_path / "out", positive="a")
    names = load(tmp_path / "out", tmp_path)["train"].features["label"].names
    assert found.label_names == ("b", "a") and names == ["b", "a"]
    assert found.class_counts["train"] == {"b": 7, "a": 7}
    with pytest.raises(InputError, match="positive is 'c' and the labels are a, b; name one of two classes"):
        prepare(inputs, tmp_path / "out", positive="c")
    with pytest.raises(InputError, match="the task regression; leave it out"):
        prepare(inputs, tmp_path / "out", positive="a", task="regression")


def test_two_fasta_files(tmp_path):
    one, two = random_sequences(60, seed=1), random_sequences(40, seed=2)
    lower = [sequence.lower().replace("t", "u") for sequence in two]
    (tmp_path / "neg.fa.gz").write_bytes(gzip.compress(write_fasta(tmp_path / "neg.fa", lower, "n").read_bytes()))
    inputs = [f"other={tmp_path}/neg.fa.gz", f"enhancer={write_fasta(tmp_path / 'pos.fa', one)}"]
    found = prepare(inputs, tmp_path / "out", read_encoder="metagenbert-mini", max_tokens=100)
    assert found.n_read == found.n_kept == 100 and found.dropped == {} and found.label_names == ("enhancer", "other")
    assert found.class_counts == {
        "train": {"enhancer": 48, "other": 32},
        "validation": {"enhancer": 6, "other": 4},
        "test": {"enhancer": 6, "other": 4},
    }
    dataset = load(tmp_path / "out", tmp_path)
    assert set(dataset) == {"train", "validation", "test"} and dataset["train"].num_rows == 80
    features = dataset["test"].features
    assert features["label"] == datasets.ClassLabel(names=["enhancer", "other"])
    assert list(features) == ["id", "sequence", "label", "source"]
    by_id = {row["id"]: row for part in dataset.values() for row in part}
    assert by_id["n3"] == {"id": "n3", "sequence": two[3], "label": 1, "source": "neg.fa.gz:4"}
    assert by_id["s0"]["sequence"] == one[0] and by_id["s0"]["label"] == 0
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert record["token_lengths"]["n_sampled"] == 100 and record["settings"]["seed"] == 0
    longest = max(map(len, one + two))
    assert record["token_lengths"]["quantiles"]["1"] == longest - 5 and str(tmp_path) not in json.dumps(record)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: other" in card and "| train | 80 | 48 | 32 |" in card and str(tmp_path) not in card
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_tallies_account_for_every_record(tmp_path):
    good = random_sequences(20, 50, 60)
    rows = [
        *((sequence, "ab"[i % 2]) for i, sequence in enumerate(good)),
        (good[0].lower(), "a"),
        (other_strand(good[1]), "b"),
        (good[2], "b"),
        ("", "a"),
        ("ACGT", "a"),
        ("N" * 6 + "A" * 44, "a"),
        ("ACGTR" * 10, ""),
        ("N" * 5 + "A" * 45, "a"),
    ]
    table = write_table(tmp_path / "t.csv", rows)
    found = prepare([table], tmp_path / "out", min_length=10)
    assert found.dropped == {
        "empty": 1,
        "too_short": 1,
        "too_many_n": 1,
        "no_label": 1,
        "conflict": 2,
        "duplicate": 2,
    }
    assert found.n_read == 28 and found.n_kept == 20 == found.n_read - sum(found.dropped.values())
    assert found.n_conflicts == 1
    kept = rows_of(tmp_path / "out")
    assert good[0] in set(kept["sequence"]) and good[2] not in set(kept["sequence"])
    assert kept.set_index("source").loc["t.csv:2", "sequence"] == good[0]
    lines = (tmp_path / "out" / "conflicts.tsv").read_text().splitlines()
    assert lines[0] == "group\tid\tlabel\tsource\tsequence"
    assert lines[1:] == [f"1\tt.csv:{line}\t{label}\tt.csv:{line}\t{good[2]}" for line, label in ((4, "a"), (24, "b"))]
    assert "| further copies of identical sequences | 2 |" in (tmp_path / "out" / "README.md").read_text()
    apart = prepare([table], tmp_path / "out", min_length=10, reverse_complement=False)
    assert apart.n_kept == 21 and apart.dropped["duplicate"] == 1


@pytest.mark.parametrize("split", ["random", "cluster"])
def test_splits_do_not_depend_on_the_order_of_records(tmp_path, split):
    sequences = random_sequences(120, seed=4)
    rows = [(sequence, "ab"[i % 3 == 0]) for i, sequence in enumerate(sequences)]
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(120)]
    found = []
    for i, some in enumerate((rows, mixed)):
        prepare([write_table(tmp_path / "t.csv", some)], tmp_path / str(i), split=split, balance=True)
        found.append(dict(rows_of(tmp_path / str(i))[["sequence", "split"]].values))
    assert found[0] == found[1] and len(found[0]) == 80
    prepare([tmp_path / "t.csv"], tmp_path / "seed", split=split, balance=True, seed=1)
    assert dict(rows_of(tmp_path / "seed")[["sequence", "split"]].values) != found[0]


def test_balance_draws_equally_many_of_each_class(tmp_path):
    inputs = [f"a={write_fasta(tmp_path / 'a.fa', random_sequences(50))}"]
    inputs.append(f"b={write_fasta(tmp_path / 'b.fa', random_sequences(20, seed=1))}")
    found = prepare(inputs, tmp_path / "out", balance=True)
    assert found.dropped == {"not_drawn": 30} and found.n_kept == 40
    assert found.class_counts["train"] == {"a": 16, "b": 16}


def test_near_duplicates_share_a_split(tmp_path):
    bases = random_sequences(150, 200, 200, seed=5)
    rows = []
    for i, sequence in enumerate(bases):
        for copy in range(1 + i % 3):
            place = 20 + 60 * copy
            one = sequence[:place] + "ACGT"["ACGT".index(sequence[place]) - 1] + sequence[place + 1 :]
            rows.append((other_strand(one) if copy == 1 else one, "ab"[i % 2], i))
    table = write_table(tmp_path / "t.csv", rows, "sequence,label,family")
    found = prepare([table], tmp_path / "out", split="cluster", id_column="family")
    assert found.n_clusters == 150 and found.n_kept == 300
    assert rows_of(tmp_path / "out").groupby("id")["split"].nunique().max() == 1
    assert found.n_sequences == {"train": 240, "validation": 30, "test": 30}
    plain = prepare([table], tmp_path / "plain", id_column="family")
    assert plain.n_clusters is None
    assert rows_of(tmp_path / "plain").groupby("id")["split"].nunique().max() > 1


def test_groups_share_a_split(tmp_path):
    rows = [(sequence, "ab"[i % 2], f"g{i % 17}") for i, sequence in enumerate(random_sequences(200))]
    table = write_table(tmp_path / "t.tsv", rows, "sequence,label,patient")
    table.write_text(table.read_text().replace(",", "\t"))
    prepare([table], tmp_path / "out", split="group", group_column="patient", id_column="patient")
    found = rows_of(tmp_path / "out")
    assert found.groupby("id")["split"].nunique().max() == 1 and set(found["split"]) == {"train", "validation", "test"}
    table.write_text(table.read_text().replace("\tg3", "\t"))
    with pytest.raises(InputError, match=r"t\.tsv, line 5: the group or contig is empty"):
        prepare([table], tmp_path / "out", split="group", group_column="patient")


@pytest.fixture
def genome(tmp_path):
    contigs = random_sequences(6, 3000, 3000, seed=8)
    write_fasta(tmp_path / "genome.fa", contigs, "chr")
    for name, offset in (("pos", 150), ("neg", 300)):
        lines = [f"chr{i}\t{start}\t{start + 1}\t{name}{start}\t0\t{'+-'[i % 2]}" for i in (3, 1, 0, 2, 4, 5)
                 for start in range(offset, 3000, 300)]  # fmt: skip
        (tmp_path / f"{name}.bed").write_text("\n".join(lines) + "\n")
    return tmp_path / "genome.fa", contigs


def test_intervals_split_by_contig(tmp_path, genome):
    path, contigs = genome
    inputs = [f"enhancer={tmp_path}/pos.bed", f"other={tmp_path}/neg.bed"]
    named = {"validation_contigs": ("chr4",), "test_contigs": ("chr0", "chr5")}
    found = prepare(inputs, tmp_path / "out", genome=path, length=101, split="chromosome", **named)
    assert found.n_read == 114 and found.dropped == {} and found.n_sequences["validation"] == 19
    kept = rows_of(tmp_path / "out")
    contig = kept["source"].str.partition(":")[0]
    assert set(contig[kept["split"] == "test"]) == {"chr0", "chr5"}
    assert set(contig[kept["split"] == "validation"]) == {"chr4"}
    for row in kept.itertuples():
        name, place, strand = row.source.split(":")
        start, end = map(int, place.split("-"))
        bases = contigs[int(name[3:])][start:end]
        assert row.sequence == (bases if strand == "+" else other_strand(bases)) and len(bases) == 101
        assert row.id == f"{'pos' if row.label == 0 else 'neg'}{start + 50}"
    chosen = prepare(inputs, tmp_path / "out", genome=path, length=101, split="chromosome", shares=(0.5, 0.3, 0.2))
    kept = rows_of(tmp_path / "out")
    assert kept.groupby(kept["source"].str.partition(":")[0])["split"].nunique().max() == 1
    assert chosen.n_sequences == {"train": 57, "validation": 38, "test": 19}
    with pytest.raises(InputError, match=r"test contig 'chr9' has no sequence; there are contigs chr0, chr1"):
        prepare(inputs, tmp_path / "out", genome=path, split="chromosome", test_contigs=("chr9",))


def test_contigs_of_a_table(tmp_path):
    rows = [(sequence, "ab"[i % 2], f"chr{i % 5}") for i, sequence in enumerate(random_sequences(50))]
    table = write_table(tmp_path / "t.csv", rows, "sequence,label,contig")
    found = prepare([table], tmp_path / "out", split="chromosome", test_contigs=("chr2",))
    assert found.n_sequences == {"train": 40, "test": 10} and "validation" not in load(tmp_path / "out", tmp_path)


def test_several_labels_per_sequence_are_split(tmp_path):
    rows = [(sequence, ["b", "a;b", "", "b; a ;b", "c"][i % 5]) for i, sequence in enumerate(random_sequences(50))]
    found = prepare([write_table(tmp_path / "t.csv", rows)], tmp_path / "out", task="multi_label")
    assert found.label_names == ("a", "b", "c") and found.dropped == {}
    assert sum(counts["b"] for counts in found.class_counts.values()) == 30
    dataset = load(tmp_path / "out", tmp_path)
    assert dataset["train"].features["labels"] == datasets.List(datasets.Value("float32"))
    by_id = {row["id"]: row["labels"] for part in dataset.values() for row in part}
    assert [by_id[f"t.csv:{line}"] for line in range(2, 7)] == [[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert "The classes are, in order: a, b, c." in " ".join((tmp_path / "out" / "README.md").read_text().split())


def test_conflicting_values_are_dropped(tmp_path):
    sequences = random_sequences(30)
    rows = [(sequence, i / 3) for i, sequence in enumerate(sequences)]
    rows += [(other_strand(sequences[3]), 1 + 1e-7), (sequences[4], 9)]
    found = prepare([write_table(tmp_path / "t.csv", rows)], tmp_path / "out", task="regression")
    assert found.dropped == {"conflict": 2, "duplicate": 1} and found.label_names == ()
    dataset = load(tmp_path / "out", tmp_path)
    assert dataset["train"].features["label"] == datasets.Value("float64")
    assert {row["id"]: row["label"] for row in dataset["train"]}.items() <= {
        f"t.csv:{i + 2}": i / 3 for i in range(30)
    }.items()
    assert f"t.csv:6\t{4 / 3!r}\t" in (tmp_path / "out" / "conflicts.tsv").read_text()


@pytest.mark.parametrize("labels", [[0, 1, 10], [0.0, 1.0, 10.0], ["0", "1", "10"]])
def test_parquet_tables_keep_their_labels_and_rows(tmp_path, labels):
    sequences = random_sequences(30)
    frame = pd.DataFrame({"dna": sequences, "label": [labels[i % 3] for i in range(30)]})
    frame.loc[0, "label"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    found = prepare([tmp_path / "t.parquet"], tmp_path / "out", sequence_column="dna")
    assert found.label_names == ("0", "1", "10") and found.dropped == {"no_label": 1}
    assert set(rows_of(tmp_path / "out")["source"]) == {f"t.parquet:{i}" for i in range(2, 31)}


def test_words_for_a_missing_label_are_dropped_and_counted(tmp_path):
    sequences = random_sequences(44, 50, 60)
    labels = ["None", "enhancer"] * 20 + ["NA", "na", "Unknown", "not collected"]
    table = write_table(tmp_path / "t.csv", list(zip(sequences, labels, strict=True)))
    made = prepare([table], tmp_path / "out")
    assert made.label_names == ("None", "enhancer") and made.dropped == {"no_label": 4}
    words = {"NA": 1, "na": 1, "Unknown": 1, "not collected": 1}
    assert made.missing_words == words and made.n_read == 44 == made.n_kept + 4
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["tallies"]["missing_words"] == words
    assert (
        "| without a label (NA 1, na 1, Unknown 1, not collected 1) | 4 |"
        in (tmp_path / "out" / "README.md").read_text()
    )
    kept = prepare([table], tmp_path / "out", missing=("none",), not_missing=("NA", "unknown"))
    assert kept.label_names == ("NA", "Unknown", "enhancer", "na") and kept.missing_words == {
        "None": 20,
        "not collected": 1,
    }
    frame = pd.DataFrame({"sequence": sequences, "label": labels})
    frame.to_parquet(tmp_path / "t.parquet")
    assert prepare([tmp_path / "t.parquet"], tmp_path / "out").missing_words == words
    # A label that the user gives for a whole file is a label.
    inputs = [
        f"unknown={write_fasta(tmp_path / 'a.fa', sequences[:20])}",
        f"b={write_fasta(tmp_path / 'b.fa', sequences[20:])}",
    ]
    assert prepare(inputs, tmp_path / "out").label_names == ("b", "unknown")
    only = write_table(tmp_path / "only.csv", [(sequence, "NA") for sequence in sequences])
    with pytest.raises(InputError, match=r"of 44 records none can be used \(44 no_label\)"):
        prepare([only], tmp_path / "out")


def test_long_fields_and_quoted_rows(tmp_path):
    (long,) = random_sequences(1, 200_000, 200_000)
    (tmp_path / "t.csv").write_text(f'label,note,sequence\n"a","two\nlines",{long}\nb,,ACGTT\n\nb,,ACGTTA\n')
    found = prepare([tmp_path / "t.csv"], tmp_path / "out")
    kept = rows_of(tmp_path / "out").set_index("source")["sequence"]
    assert found.n_kept == 3 and kept["t.csv:2"] == long and kept["t.csv:4"] == "ACGTT" and kept["t.csv:6"] == "ACGTTA"


def test_a_large_split_has_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(split_files, "SHARD_ROWS", 30)
    monkeypatch.setattr(split_files, "GROUP_ROWS", 25)
    rows = [(sequence, "ab"[i % 2]) for i, sequence in enumerate(random_sequences(100))]
    prepare([write_table(tmp_path / "t.csv", rows)], tmp_path / "out")
    # Without the digest of their content, which ends their names.
    names = [f"{path.stem.rpartition('-')[0]}.parquet" for path in sorted((tmp_path / "out" / "data").iterdir())]
    assert names == [
        "test-00000-of-00001.parquet",
        *(f"train-{i:05d}-of-00003.parquet" for i in range(3)),
        "validation-00000-of-00001.parquet",
    ]
    assert load(tmp_path / "out", tmp_path)["train"].num_rows == 80


def test_memory_does_not_hold_the_sequences(tmp_path):
    """A thousand bases a sequence, and far fewer bytes."""
    peaks = []
    for n in (10_000, 30_000):
        letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(n).integers(0, 4, (n, 1000), dtype=np.uint8)]
        table = tmp_path / f"{n}.csv"
        with table.open("wb") as handle:
            handle.write(b"sequence,label\n")
            handle.writelines(b"%s,%d\n" % (row.tobytes(), i % 2) for i, row in enumerate(letters))
        del letters
        arrow = pa.total_allocated_bytes()
        tracemalloc.start()
        most_arrow = 0

        def watch(*_):
            nonlocal most_arrow
            most_arrow = max(most_arrow, pa.total_allocated_bytes() - arrow)  # noqa: B023

        prepare_sequences([table], tmp_path / f"out{n}", read_encoder=None, on_progress=watch)
        peaks.append((tracemalloc.get_traced_memory()[1], most_arrow))
        tracemalloc.stop()
    assert peaks[1][0] - peaks[0][0] < 20_000 * 200
    assert max(most for _, most in peaks) < 30 << 20


@pytest.mark.parametrize(
    ("name", "content", "settings", "words"),
    [
        ("t.csv", "sequence,label\nACGT,a\nAC-T,b\n", {}, "t.csv, line 3 (t.csv:3): '-' is not an IUPAC nucleotide"),
        ("t.csv", "sequence,label\nACGT,a\nACGT\n", {}, "t.csv, line 3: 1 fields where the header has 2"),
        ("t.csv", "seq,label\nACGT,a\n", {}, "no column 'sequence' among seq, label; name it by --sequence-column"),
        ("t.csv", "sequence,label,label\nA,a,b\n", {}, "two columns 'label'"),
        ("t.csv", "sequence,label\n", {}, "holds no sequences"),
        ("t.csv", "sequence,label\nACGT,a\nACGA,a\n", {}, "all sequences have the label 'a'"),
        ("t.csv", "sequence,label\nACGT,a\nACGT,b\n", {}, "occur with conflicting labels"),
        ("t.csv", "sequence,label\nA,\n,a\n", {}, "of 2 records none can be used (1 empty, 1 no_label)"),
        ("t.csv", "sequence,label\nACGT,1\nACGA,high\n", {"task": "regression"}, "line 3: the label 'high'"),
        ("t.csv", "sequence,label\nACGT,inf\n", {"task": "regression"}, "the label 'inf' is no number"),
        ("t.csv", "sequence,label\nACGT,\n", {"task": "multi_label"}, "no sequence has a label"),
        ("t.csv", 'sequence,label\nACGT,"a\n', {}, "fix the quotes"),
        ("t.csv", "sequence,label\nACGT,a\n", {"split": "chromosome"}, "no column 'contig'"),
        ("t.csv", b"sequence,label\nACGT,\xff\n", {}, "t.csv, line 2: not UTF-8 text (byte 0xff)"),
        ("t.fa", ">a\nACGT\n", {}, "is a FASTA file and has no labels of its own; give LABEL="),
        ("t.bed", "chr1\t1\t5\n", {}, "is a file of intervals and has no labels"),
        ("t.fq", "@a\nACGT\n+\nIIII\n", {}, "is a FASTQ file"),
        ("t.gz", gzip.compress(b"sequence,label\nACGT,a\n" * 100, mtime=0)[:-12], {}, "gzip stream is cut short"),
        ("t.xlsx", b"PK\x03\x04rest", {}, "a spreadsheet or zip archive"),
        ("t.bin", b"ab\0c", {}, "is not a text file"),
        ("t.csv", b"\x89HDF\r\n\x1a\n", {}, "is an HDF5 file"),
        ("t.csv", b"<html>no table</html>", {}, "is a web page"),
        ("t.csv", " \n", {}, "is empty"),
        ("t.parquet", b"PAR1rest", {}, "is a damaged Parquet file"),
    ],
)  # fmt: skip
def test_prepare_refuses_bad_files(tmp_path, name, content, settings, words):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        prepare([tmp_path / name], tmp_path / "out", **settings)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_prepare_refuses_inputs_it_cannot_read(tmp_path, genome):
    path, _ = genome
    cases = [
        ([], None, "there are no inputs"),
        ([f"a={tmp_path}/none.fa"], None, "none.fa: there is no such file"),
        ([f"={path}"], None, "the label in front of '=' is empty"),
        ([tmp_path], None, "is a folder"),
        ([f"a={tmp_path}/pos.bed"], None, "holds intervals, and no genome was given"),
        ([f"a={path}"], path, "no input holds intervals"),
        ([f"a={tmp_path}/pos.bed"], tmp_path / "none.fa", "none.fa: there is no such file"),
    ]
    for inputs, reference, words in cases:
        with pytest.raises(InputError) as error:
            prepare(inputs, tmp_path / "out", genome=reference)
        assert words in str(error.value)
    bad = write_fasta(tmp_path / "bad.fa", ["ACGT", "ACGTNN", "AC*T"])
    with pytest.raises(InputError, match=r"bad\.fa, record 3 \(s2\): '\*' is not an IUPAC nucleotide letter"):
        prepare([f"a={bad}"], tmp_path / "out")
    with pytest.raises(InputError, match="is FASTA and names no contigs"):
        prepare([f"a={path}"], tmp_path / "out", split="chromosome")
    with pytest.raises(InputError, match="holds intervals, which name no groups"):
        prepare([f"a={tmp_path}/pos.bed"], tmp_path / "out", genome=path, split="group", group_column="g")
    with pytest.raises(CheckpointError, match="No checkpoint 'nowhere'"):
        prepare([f"a={path}"], tmp_path / "out", read_encoder="nowhere")
    assert not (tmp_path / "out").exists()


def test_what_may_be_overwritten(tmp_path):
    table = write_table(tmp_path / "t.csv", [("ACGTA", "a"), ("ACGTC", "b")])
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="has no record of what a run wrote there"):
        prepare_sequences([table], folder, read_encoder=None, overwrite=True)
    with pytest.raises(InputError, match="is a folder that is not empty"):
        prepare_sequences([table], folder, read_encoder=None)
    with pytest.raises(InputError, match="is a file"):
        prepare_sequences([table], table, read_encoder=None)
    (folder / "thesis.txt").unlink()
    prepare_sequences([table], folder, read_encoder=None)
    (folder / "thesis.txt").write_text("dear")
    (folder / "data" / "train-00007-of-00009.parquet").write_text("old")
    prepare_sequences([table], folder, read_encoder=None, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "dear" and len(rows_of(folder)) == 2
    assert json.loads((folder / "prepare.json").read_text())["tallies"]["n_kept"] == 2


@pytest.mark.parametrize("stage", ["reading", "comparing", "joining", "writing"])
def test_an_interruption_leaves_nothing(tmp_path, stage):
    table = write_table(tmp_path / "t.csv", [("ACGTA", "a"), ("ACGTC", "b")])
    seen = []

    def check():
        if seen[-1] == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_sequences(
            [table],
            tmp_path / "a" / "out",
            PreparationSettings(split="cluster"),
            read_encoder=None,
            on_progress=lambda what, *_: seen.append(what),
            check=check,
        )
    assert seen[-1] == stage and [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(split_files.SplitFiles, "close", full)
    table = write_table(tmp_path / "t.csv", [("ACGTA", "a"), ("ACGTC", "b")])
    with pytest.raises(RunError, match="No space left on device; put it right"):
        prepare_sequences([table], tmp_path / "out", read_encoder=None)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
