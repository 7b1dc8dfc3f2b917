"""Sample sheets as nf-core, QIIME 2 and spreadsheets write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from read_files import fastq, write

from biomeformer.errors import CohortError, ReadFileError
from biomeformer.reads import Cohort, SampleReads, read_cohort


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        write(tmp_path, name, fastq(["ACGT"]))
    return tmp_path


def read(folder: Path, *lines: str, separator: str = ",", newline: str = "\n") -> Cohort:
    text = newline.join(line.replace(",", separator) for line in lines) + newline
    return read_cohort(write(folder, "sheet.txt", text.encode()))


def files(cohort: Cohort) -> dict[str, list[str]]:
    """The files of each sample, mates joined by a plus."""
    return {sample.sample_id: ["+".join(path.name for path in run) for run in sample.reads.files] for sample in cohort}


NF_CORE = "sample,fastq_1,fastq_2"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # nf-core: lanes are joined, and an empty fastq_2 is single reads.
        ([NF_CORE, "A,a,b", "A,c,d", "B,e,"], {"A": ["a+b", "c+d"], "B": ["e"]}),
        ([NF_CORE, "A,a,b", "B,c,", "A,d,", "B,e,f"], {"A": ["a+b", "d"], "B": ["c", "e+f"]}),
        (["sample,fastq_1", "A,a", "A,b"], {"A": ["a", "b"]}),
        # taxprofiler and mag.
        (
            ["sample,run_accession,instrument_platform,fastq_1,fastq_2,fasta", "A,r1,ILLUMINA,a,b,", "B,r2,ONT,,,c"],
            {"A": ["a+b"], "B": ["c"]},
        ),
        (["sample,group,short_reads_1,short_reads_2,long_reads", "A,0,a,b,", "B,0,c,,"], {"A": ["a+b"], "B": ["c"]}),
        # This package's own.
        (["sample_id,fastq_1,fastq_2", "A,a,b", "B,c,", "C,d;e,"], {"A": ["a+b"], "B": ["c"], "C": ["d", "e"]}),
        # QIIME 2.
        (["sample-id,absolute-filepath", "A,a", "B,b"], {"A": ["a"], "B": ["b"]}),
        (["sample-id,forward-absolute-filepath,reverse-absolute-filepath", "A,a,b"], {"A": ["a+b"]}),
        (["#SampleID,forward-absolute-filepath,reverse-absolute-filepath", "A,a,b"], {"A": ["a+b"]}),
        (["sample-id,forward-absolute-filepath,reverse-absolute-filepath", "#x,y,z", "A,a,b"], {"A": ["a+b"]}),
        (
            ["sample-id,absolute-filepath,direction", "A,b,reverse", "B,c,forward", "A,a,forward"],
            {"A": ["a+b"], "B": ["c"]},
        ),
        (["# a manifest", "sample-id,absolute-filepath,direction", "A,a,reverse"], {"A": ["a"]}),
    ],
)
@pytest.mark.parametrize("separator", [",", "\t"])
def test_sheets_of_each_dialect(folder: Path, lines: list[str], expected: dict, separator: str) -> None:
    assert files(read(folder, *lines, separator=separator)) == expected
    # As a spreadsheet saves them: with a byte-order mark, rows and columns of nothing, and other line ends.
    padded = ["\ufeff" + lines[0], *lines[1:], "," * lines[-1].count(",")]
    if not lines[0].startswith("#"):
        padded = [f"{line},," for line in padded]
    assert files(read(folder, *padded, separator=separator, newline="\r\n")) == expected


def test_metadata_of_joined_rows(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"{NF_CORE},disease,run", "A,a,b,case,r1", "B,c,,control,r2", "A,d,,case,r3"]
    cohort = read(folder, *lines)
    assert cohort.columns == ("disease",) and cohort.metadata()["disease"].tolist() == ["case", "control"]
    assert "left out as metadata, since rows of one sample differ in it (A, line 4): run" in caplog.text


def test_variables_in_paths_of_qiime2_are_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READS", str(folder))
    cohort = read(folder, "sample-id,absolute-filepath", "A,$READS/a", "B,${READS}/b")
    assert [sample.files() for sample in cohort] == [(folder / "a",), (folder / "b",)]
    assert cohort.columns == ()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([NF_CORE, "A,a,b", "A,,"], ", line 3, column fastq_1: empty; name the file of reads"),
        ([NF_CORE, "A,,b"], ", line 2, column fastq_1: empty, and fastq_2 is not"),
        ([NF_CORE, "A,a,b", "A,a,"], ", line 2: .*a is given twice for one sample"),
        ([NF_CORE, "A,a,b", ",c,d"], ", line 3, column sample: empty"),
        ([NF_CORE, "A,a,b", "A,c,x"], ", line 3, column fastq_2: there is no file .*x"),
        (["sample,fastq_1,fastq_2,fasta", "A,a,b,c"], ", line 2, column fasta: 'c' is given beside other files"),
        (["sample_id,fastq_1,fastq_2", "A,a,b", "A,c,d"], ", line 3, column sample_id: 'A' stands on line 2 already"),
        (["sample-id,absolute-filepath", "A,a", "A,b"], ", line 3, column sample-id: 'A' stands on line 2 already"),
        (["sample-id,absolute-filepath,direction", "A,a,up"], ", line 2, column direction: 'up'; it must be forward"),
        (
            ["sample-id,absolute-filepath,direction", "A,a,forward", "A,b,forward"],
            ", line 3, column direction: 'A' has a forward file on line 2 already",
        ),
        (["sample-id,forward-absolute-filepath", "A,a"], ", header: forward-absolute-filepath; a manifest of QIIME 2"),
        (["name,absolute-filepath", "A,a"], ", header: no column of ids among name, absolute-filepath"),
        (["sample-id,absolute-filepath"], " has a header and no samples"),
    ],
)
def test_malformed_sheets_are_refused_with_their_line(folder: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(CohortError) as caught:
        read(folder, *lines)
    message = str(caught.value)
    assert re.match(re.escape(str(folder / "sheet.txt")) + reason, message), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("url", "tool"),
    [
        ("https://ftp.sra.ebi.ac.uk/vol1/fastq/x_1.fastq.gz", "curl -O"),
        ("http://host/x", "curl -O"),
        ("FTP://host/x", "curl -O"),
        ("ftp.sra.ebi.ac.uk/vol1/fastq/x_1.fastq.gz", "curl -O"),
        ("s3://bucket/x", "aws s3 cp"),
        ("gs://bucket/x", "gcloud storage cp"),
    ],
)
def test_urls_are_refused_as_urls(folder: Path, url: str, tool: str) -> None:
    with pytest.raises(CohortError) as caught:
        read(folder, NF_CORE, "A,a,b", f"B,c,{url}")
    assert str(caught.value) == (
        f"{folder / 'sheet.txt'}, line 3, column fastq_2: {url} is a URL, and reads are read from files on disk alone; "
        f"download it first, e.g. with {tool}, and give the path of the file"
    )
    for make in (SampleReads.single, lambda path: SampleReads.paired("a", path)):
        with pytest.raises(ReadFileError, match=re.escape(url)):
            make(url)


def test_urls_of_files_on_disk_and_folders_called_like_hosts(folder: Path) -> None:
    with pytest.raises(CohortError, match="file:///x/a is a URL; give the path without 'file://'"):
        read(folder, NF_CORE, "A,file:///x/a,")
    (folder / "http").mkdir()
    write(folder / "http", "a", fastq(["ACGT"]))
    assert files(read(folder, NF_CORE, "A,http/a,")) == {"A": ["a"]}
