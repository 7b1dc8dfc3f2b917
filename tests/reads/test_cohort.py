"""Cohort tables: what is read, and one clear error for everything else."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from read_files import fastq, write

from biomeformer.errors import CohortError
from biomeformer.reads import Cohort, CohortSample, SampleReads, read_cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reads").mkdir()
    for name in ("a", "b", "c", "d"):
        write(tmp_path / "reads", name, fastq(["ACGT"]))
    return tmp_path


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_cohort_of_single_reads_keeps_files_and_metadata(folder: Path, separator: str, newline: str, mark: str) -> None:
    rows = [
        ["sample_id", "disease", "fastq", "age"],
        ["s1", "T2D", "reads/a; reads/b", "60"],
        ["s2", "", "reads/c", "7.0"],
    ]
    text = mark + newline.join(separator.join(row) for row in rows) + newline * 2
    cohort = read_cohort(write(folder, "cohort.txt", text.encode()))
    assert [sample.sample_id for sample in cohort] == ["s1", "s2"]
    assert cohort.samples[0].reads == SampleReads.single(folder / "reads/a", folder / "reads/b")
    assert cohort.samples[1].metadata == {"disease": "", "age": "7.0"}
    assert cohort.columns == ("disease", "age")
    assert len(cohort) == 2


def test_paired_reads_quotes_and_absolute_paths(folder: Path) -> None:
    text = f'fastq_2,fastq_1,sample_id,note\nreads/b;reads/d,{folder}/reads/a;reads/c,é 1,"x, ""y"""\n'
    cohort = read_cohort(str(write(folder, "cohort.csv", text.encode())))
    reads = SampleReads.paired([folder / "reads/a", folder / "reads/c"], [folder / "reads/b", folder / "reads/d"])
    assert cohort.samples == (CohortSample("é 1", reads, {"note": 'x, "y"'}),)
    assert cohort.path == folder / "cohort.csv"


def test_metadata_is_text_indexed_by_sample(folder: Path) -> None:
    text = "sample_id,fastq,age,code\ns1,reads/a,60,001\ns2,reads/b,,NA\n"
    table = read_cohort(write(folder, "cohort.csv", text.encode())).metadata()
    assert table.index.name == "sample_id"
    assert table.loc["s1"].tolist() == ["60", "001"]
    assert table.loc["s2"].tolist() == ["", "NA"]
    bare = Cohort(None, (CohortSample("s", SampleReads.single("x"), {}),), ()).metadata()
    assert (bare.shape, bare.index.tolist()) == ((1, 0), ["s"])


def test_padding_of_a_spreadsheet_is_layout(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "sample_id,fastq,disease,\ns1,reads/a,case,\n,,,\n,,,\n"
    cohort = read_cohort(write(folder, "cohort.csv", text.encode()))
    assert [sample.sample_id for sample in cohort] == ["s1"] and cohort.columns == ("disease",)
    assert "2 rows of empty fields and 1 empty column without a name left out" in caplog.text


HEADER = "sample_id,fastq\n"
PAIRED = "sample_id,fastq_1,fastq_2\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", " is empty"),
        ("\n \n", " is empty"),
        ("\ufeff", " is empty"),
        (HEADER, " has a header and no samples"),
        ("sample,fastq\ns1,reads/a\n", ", header: no column sample_id among sample, fastq"),
        (
            "sample_id;fastq\ns1;reads/a\n",
            r", header: no column sample_id among sample_id;fastq; separate the columns by",
        ),
        ("sample_id,age\ns1,3\n", ", header: no column fastq, or fastq_1 and fastq_2, among sample_id, age"),
        ("sample_id,fastq,fastq_1\n", ", header: both fastq and fastq_1"),
        ("sample_id,fastq,fastq_2\n", ", header: both fastq and fastq_2"),
        ("sample_id,fastq_1\n", ", header: fastq_1 without fastq_2"),
        ("sample_id,fastq_2\n", ", header: fastq_2 without fastq_1"),
        ("sample_id,fastq,age,age\n", ", header: two columns are named 'age'"),
        ("sample_id,fastq,\n", ", header: column 3 has no name"),
        (
            HEADER + "s1,reads/a\ns2,reads/b\n\ns1,reads/c\n",
            r", line 5, column sample_id: 's1' stands on line 2 already",
        ),
        (HEADER + ",reads/a\n", ", line 2, column sample_id: empty"),
        (HEADER + ",\n", ", line 2, column sample_id: empty"),
        (HEADER + "a/b,reads/a\n", ", line 2, column sample_id: 'a/b' holds '/'"),
        (HEADER + "a\\b,reads/a\n", r", line 2, column sample_id: 'a\\\\b' holds '\\\\'"),
        (HEADER + "a\0b,reads/a\n", ", line 2"),
        (HEADER + "a\x07b,reads/a\n", ", line 2, column sample_id: .* holds"),
        (HEADER + "..,reads/a\n", r", line 2, column sample_id: '\.\.' begins with '\.'"),
        (HEADER + "x" * 201 + ",reads/a\n", ", line 2, column sample_id: 'xxxxxxxxxxxxxxxxxxxx'… is longer than 200"),
        (HEADER + "s1\n", ", line 2: 1 fields where the header has 2"),
        (HEADER + "s1,reads/a\ns2,reads/b,x\n", ", line 3: 3 fields where the header has 2"),
        (HEADER + "s1,\n", ", line 2, column fastq: empty"),
        (HEADER + "s1,reads/a;\n", ", line 2, column fastq: an empty path between the semicolons"),
        (HEADER + 's1,"reads/a\n', ", line 2: "),
        (HEADER + 's1,"reads/a"x\n', ", line 2: "),
        (HEADER + "s1,reads/x\n", r", line 2, column fastq: there is no file .*reads/x; correct"),
        (
            HEADER + "s1,reads/a;reads/x\ns2,y\ns3,z\n",
            r", line 2, column fastq: .*reads/x \(and 2 more files are missing\)",
        ),
        (HEADER + "s1,reads\n", ", line 2: .*reads is a directory"),
        (HEADER + "s1,reads/b\ns2,reads/a;reads/a\n", ", line 3: .*reads/a is given twice"),
        (PAIRED + "s1,reads/a;reads/b,reads/c\n", ", line 2: 2 files in fastq_1 and 1 in fastq_2"),
        (PAIRED + "s1,,\n", ", line 2, column fastq_1: empty; name the file of reads"),
        (PAIRED + "s1,,reads/a\n", ", line 2, column fastq_1: empty, and fastq_2 is not"),
        (PAIRED + "s1,reads/a,reads/y\n", ", line 2, column fastq_2: there is no file"),
        (PAIRED + "s1,reads/a,reads/a\n", ", line 2: .*reads/a is given twice"),
        ("@read1\nACGT\n+\nIIII\n", " is a FASTQ file, not a cohort table"),
        (">read1\nACGT\n", " is a FASTA file, not a cohort table"),
        (gzip.compress(HEADER.encode(), mtime=0), " is gzip-compressed"),
        (b"PK\x03\x04rest", " is a spreadsheet or zip archive"),
        (HEADER.encode("utf-16"), ", line 1: not UTF-8 text"),
        (HEADER.encode() + b"s1,reads/\xe9\n", ", line 2: not UTF-8 text"),
    ],
)
def test_malformed_cohort_tables_are_refused_with_their_line(folder: Path, content: str | bytes, reason: str) -> None:
    path = write(folder, "cohort.csv", content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CohortError) as caught:
        read_cohort(path)
    message = str(caught.value)
    assert re.match(re.escape(str(path)) + reason, message), message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_tables_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CohortError, match="there is no such cohort table"):
        read_cohort(tmp_path / "absent.csv")
    with pytest.raises(CohortError, match="is a directory"):
        read_cohort(tmp_path)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("biomeformer.io.compression.io.FileIO", refuse)
    with pytest.raises(CohortError, match="cannot be read: Permission denied"):
        read_cohort(tmp_path / "cohort.csv")


def test_a_line_break_inside_quotes_keeps_line_numbers(folder: Path) -> None:
    text = 'sample_id,fastq,note\ns1,reads/a,"two\nlines\u2028"\ns2,reads/b\n'
    with pytest.raises(CohortError, match=r"line 4: 2 fields"):
        read_cohort(write(folder, "cohort.csv", text.encode()))
