"""The one table reader, beside the csv module and pandas, on generated tables and on the layouts of real tools."""

import bz2
import csv
import gzip
import io
import logging
import lzma
import re

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biomeformer.errors import CohortError, TableError
from biomeformer.io.tables import MISSING_VALUES, TableFormat, TableReader, is_missing, missing_words, read_table
from biomeformer.sinks import from_spreadsheet

PLAIN = TableFormat()
BIOLOGICAL = TableFormat(comments=True, row_names=True, unique_columns=False)


def table(tmp_path, text, format=PLAIN, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, format)


# Fields as spreadsheets and R write them, odd ones too, without the blanks around them that the reader takes off.
ODD = list("ab1,;\t\"'#\n\r -.\u00e9\u4e2d\u2028\x85\x0c\u00a0\U0001f9a0")
FIELDS = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8", exclude_characters="\0")), max_size=8)
FIELDS = FIELDS.map(str.strip)
OTHER_FILES = ("@", ">", "<", "PK", "BAM", "CRAM", "PAR")
NAMES = st.lists(
    FIELDS.filter(lambda text: text and not text.startswith(OTHER_FILES)), min_size=2, max_size=6, unique=True
)


@st.composite
def written_tables(draw):
    """Names, rows, and the bytes that the csv module makes of them."""
    names = draw(NAMES)
    rows = draw(st.lists(st.lists(FIELDS, min_size=len(names), max_size=len(names)).filter(any), max_size=12))
    separator, ends = draw(st.sampled_from(",\t")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    if quoting == csv.QUOTE_MINIMAL:
        # The module leaves these two bare, a tab in a header that commas part, and a carriage return in front of none.
        names = [re.sub(r"[\t\r]", "-", name) for name in names]
        rows = [[value.replace("\r", "-") for value in row] for row in rows]
    # A header stands on one line here, and quotes in it are doubled, which the rule for separators looks through.
    names = [re.sub(r"[\r\n]", "-", name) + f" {i}" for i, name in enumerate(names)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=ends).writerows([names, *rows])
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    compress = draw(st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]))
    return names, rows, compress(mark + text.getvalue().encode())


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written_tables())
def test_what_the_csv_module_writes_is_read_back(tmp_path, written):
    names, rows, content = written
    read = table(tmp_path, content, name="t.any")
    # An apostrophe before a formula marks it as text, as spreadsheets and this package write it.
    names, rows = map(from_spreadsheet, names), [list(map(from_spreadsheet, row)) for row in rows]
    assert list(read.columns) == list(names) and read.rows == rows
    assert read.lines == sorted(read.lines) and all(line > 1 for line in read.lines)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("index", [True, False])
def test_what_pandas_writes_is_read_back_at_size(tmp_path, separator, index):
    """With its unnamed index, and numbers that survive as the text they were written as."""
    import numpy as np

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.lognormal(-5, 4, (400, 800)) * (rng.random((400, 800)) < 0.3))
    frame.index = [f"s {i}" for i in range(400)]
    frame.columns = [f"k__B|s__{i} 'x', y" if separator != ";" else f"s__{i}" for i in range(800)]
    frame.to_csv(tmp_path / "t.csv", sep=separator, index=index)
    read = read_table(tmp_path / "t.csv", TableFormat(row_names=True))
    values = np.array([row[index:] for row in read.rows], float)
    assert values.shape == frame.shape and (values == frame.to_numpy()).all()
    assert list(read.columns[index:]) == list(frame.columns)
    if index:
        assert read.columns[0] == "" and read.column("") == list(frame.index)


@pytest.mark.parametrize("name", ["cirrhosis", "colorectal", "ibd", "obesity", "t2d", "wt2d"])
def test_real_cohorts_are_read_as_pandas_reads_them(shared_data, name):
    for path in (f"{name}.samples.tsv", f"{name}.species_abundance.tsv.gz"):
        expected = pd.read_csv(shared_data / "cohorts" / path, sep="\t", dtype=str, keep_default_na=False)
        read = read_table(shared_data / "cohorts" / path, BIOLOGICAL).frame()
        assert len(read) > 50 and read.shape == expected.shape
        assert (read.to_numpy() == expected.to_numpy()).all() and list(read.columns) == list(expected.columns)


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        # A tab decides, whatever else the header holds.
        ("id\tweight, kg\na\t70\n", ("id", "weight, kg"), [["a", "70"]]),
        ("id\tnote; more\na\t1;2\n", ("id", "note; more"), [["a", "1;2"]]),
        ('"a\tb",c\n1,2\n', ("a\tb", "c"), [["1", "2"]]),
        ("id,note; more\na,x;y\n", ("id", "note; more"), [["a", "x;y"]]),
        # Excel where the comma is the decimal mark.
        ("id;share\na;0,5\nb;1,25\n", ("id", "share"), [["a", "0,5"], ["b", "1,25"]]),
        ('"id";"x;y"\n"a";"1;2"\n', ("id", "x;y"), [["a", "1;2"]]),
        # Semicolons that separate nothing.
        ("read;ids\na\nb\n", ("read;ids",), [["a"], ["b"]]),
        # One column, at whose letter s nothing splits.
        ("samples\nsand\nsea\n", ("samples",), [["sand"], ["sea"]]),
        ("samples\n", ("samples",), []),
        ('name,note\na,"two\nlines, ""quoted"""\nb,\n', ("name", "note"), [["a", 'two\nlines, "quoted"'], ["b", ""]]),
        (" a , b \n 1 ,\t2\n", ("a", "b"), [["1", "2"]]),
        ("\n\n a,b\n\n1,2\n\n\n", ("a", "b"), [["1", "2"]]),
        ("a,b\r1,2\r3,4\r", ("a", "b"), [["1", "2"], ["3", "4"]]),
        ("a,b\r\n1,2\r\n3,4", ("a", "b"), [["1", "2"], ["3", "4"]]),
        ("#a,b\n#1,2\n", ("#a", "b"), [["#1", "2"]]),
    ],
)  # fmt: skip
def test_every_layout_of_a_table_is_read(tmp_path, text, columns, rows):
    for mark in ("", "\ufeff"):
        read = table(tmp_path, mark + text)
        assert read.columns == columns and read.rows == rows


def test_the_ending_decides_where_the_header_has_no_separator(tmp_path):
    assert table(tmp_path, "words\na, b\n", name="t.tsv").rows == [["a, b"]]
    assert table(tmp_path, gzip.compress(b"words\na, b\n"), name="t.TXT.gz").rows == [["a, b"]]
    with pytest.raises(TableError, match="line 2: 2 fields where the header has 1"):
        table(tmp_path, "words\na, b\n", name="t.csv")
    assert table(tmp_path, "words\na\tb\n", name="t.csv").rows == [["a\tb"]]


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("#OTU ID\tS1\tS2\no1\t1\t2\n", ("OTU ID", "S1", "S2"), [["o1", "1", "2"]]),
        ("# Constructed from biom file\n#OTU ID\tS1\no1\t1\n", ("OTU ID", "S1"), [["o1", "1"]]),
        # MetaPhlAn 3 and 4, merged and of one sample.
        ("#mpa_vJan21\nclade_name\tS1\nk__B\t100\n", ("clade_name", "S1"), [["k__B", "100"]]),
        (
            "#mpa_vJan21\n#/usr/bin/metaphlan a.fq\n#SampleID\tx\n#clade_name\ttax\tshare\nk__B\t2\t100\n",
            ("clade_name", "tax", "share"),
            [["k__B", "2", "100"]],
        ),
        # mOTUs 3, and eggNOG-mapper 1 and 2 with their footers.
        ("# motus | a\n# call: b\n#taxonomy\tS1\nA [r]\t0.5\n", ("taxonomy", "S1"), [["A [r]", "0.5"]]),
        ("# emapper\n# call\n#query\tCOG\tPF\ng\tK\t-\n# 1 gene\n", ("query", "COG", "PF"), [["g", "K", "-"]]),
        ("## emapper\n##\n#query\tCOG\ng\tK\n## 1 queries\n", ("query", "COG"), [["g", "K"]]),
        # QIIME 2 metadata.
        ("#SampleID\tx\n#q2:types\tnumeric\ns1\t1\n", ("SampleID", "x"), [["s1", "1"]]),
        # R's write.table and write.csv, and pandas.
        ("S1 1\tS2\nk__B\t1\t2\nk__C\t3\t4\n", ("", "S1 1", "S2"), [["k__B", "1", "2"], ["k__C", "3", "4"]]),
        ('"","S1"\n"a",1\n', ("", "S1"), [["a", "1"]]),
        # R's write.table as it writes by default: quoted, between blanks.
        ('"S1" "S ""2"""\n"k__B, x" 1 2\n', ("", "S1", 'S "2"'), [["k__B, x", "1", "2"]]),
        # eggNOG-mapper 1, with comments above and below.
        (
            "# emapper version: 1.0.3\n# command: x\n#query_name\tKO\tCOG\ng\tK1,K2\tS\n# 1 queries\n# Time\n",
            ("query_name", "KO", "COG"),
            [["g", "K1,K2", "S"]],
        ),
        # A name that begins with the sign is a row if it is as long as one.
        ("id\tx\n#1\t2\n", ("id", "x"), [["#1", "2"]]),
        ("#only a comment\n", ("only a comment",), []),
    ],
)  # fmt: skip
def test_layouts_of_biological_tools(tmp_path, text, columns, rows):
    read = table(tmp_path, text, BIOLOGICAL, "t.tsv")
    assert read.columns == columns and read.rows == rows


def test_quotes_may_mean_nothing_in_tables_of_tabs(tmp_path):
    text = "gene\tproduct\ng1\t5'-3' \"exonuclease\ng2\t\"half\n"
    read = table(tmp_path, text, TableFormat(tab_quotes=False))
    assert read.column("product") == ["5'-3' \"exonuclease", '"half']
    with pytest.raises(TableError, match=r"line 3: .*; fix the quotes of this row"):
        table(tmp_path, text)


def test_padding_of_spreadsheets_is_left_out_and_said(tmp_path, caplog):
    text = "id,x,,\na,1,,\n,,,\nb,,,\n,,,\n\n"
    with caplog.at_level(logging.WARNING):
        read = table(tmp_path, text)
    assert read.columns == ("id", "x") and read.rows == [["a", "1"], ["b", ""]] and read.lines == [2, 4]
    assert read.first_blank == 3
    assert caplog.messages == [f"{tmp_path}/t.csv: 2 rows of empty fields and 2 empty columns without a name left out"]
    caplog.clear()
    assert table(tmp_path, "id,x\na,1,\nb,2,\n").rows == [["a", "1"], ["b", "2"]]
    assert caplog.messages == [f"{tmp_path}/t.csv: 1 empty column without a name left out"]
    caplog.clear()
    assert table(tmp_path, "id\na\n\nb\n").rows == [["a"], ["b"]]
    assert caplog.messages == [f"{tmp_path}/t.csv: 1 row of empty fields left out"]
    caplog.clear()
    table(tmp_path, "id,x\na,1\n\n\n")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty; give a CSV"),
        ("\ufeff\n \n", " is empty"),
        ("a,b,a\n1,2,3\n", ", header: two columns are named 'a'"),
        ("a,b\n1,2\n\n3\n", ", line 4: 1 fields where the header has 2"),
        ('a,b\n"1\n2",3\n4,5,6\n', ", line 4: 3 fields where the header has 2"),
        ("a,b\n" + "1,2\n" * 500 + "3\n", ", line 502: 1 fields"),
        ("a,b,\n" + "1,2,\n" * 500 + "1,2,x\n", ", line 502: the value 'x' is in column 3, which has no name"),
        ("a,,b\n1,2,3\n", ", header: column 2 has no name"),
        (",b\n1,2\n", ", header: column 1 has no name"),
        ("a,\n", ", header: column 2 has no name"),
        ("a;b\n1;2\n3\n", ", line 2: 1 fields|, line 2: 2 fields|, line 3"),
        ('a,b\n1,"2\n3,4\n', ", line 2: .*; fix the quotes"),
        ('a,b\n1,"2"3\n', ", line 2: .*; fix the quotes"),
        (b"a,b\n1,\xe9\n", r", line 2: not UTF-8 text \(byte 0xe9\)"),
        (b"a,b\r1,2\r3,\xff\r", r", line 3: not UTF-8 text \(byte 0xff\)"),
        ("a,b\n1,2\n".encode("utf-16"), ", line 1: not UTF-8 text but UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-be"), ", line 1: a NUL byte"),
        (b"a,b\n1,2\n3,\0\n", ", line 3: a NUL byte"),
        (b"@r\nA\n+\nI\n", " is a FASTQ file, not a table"),
        (b">r\nA\n", " is a FASTA file, not a table"),
        (b"[Header]\nIEMFileVersion,4\n", " is the sample sheet of an Illumina sequencer "),
        (b"@SampleID:S1\n@Version:0.9.1\n", " is a profile in the format of CAMI, not a table"),
        (b"PK\x03\x04", " is a spreadsheet or zip archive"),
        (b"<!DOCTYPE html>", " is a web page"),
        (gzip.compress(gzip.compress(b"a,b\n", mtime=0), mtime=0), " is gzip-compressed twice"),
        (gzip.compress(b"a,b\n" * 1000, mtime=0)[:-9], ": the gzip stream is cut short"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_its_line(tmp_path, content, message):
    if content == "a;b\n1;2\n3\n":
        # Inconsistent semicolons: one column, whose rows are read as they are.
        assert table(tmp_path, content).columns == ("a;b",)
        return
    with pytest.raises(TableError) as raised:
        table(tmp_path, content)
    text = str(raised.value)
    assert re.match(re.escape(f"{tmp_path}/t.csv") + message, text), text
    assert "\n" not in text


def test_files_that_cannot_be_opened(tmp_path):
    named = TableFormat("catalog", "give a catalog", CohortError, compressed=False)
    with pytest.raises(CohortError, match=r"none\.csv: there is no such catalog; check the path"):
        read_table(tmp_path / "none.csv", named)
    with pytest.raises(CohortError, match="is a directory; give a catalog"):
        read_table(tmp_path, named)
    with pytest.raises(CohortError, match="is gzip-compressed, not a text table; give a catalog"):
        table(tmp_path, gzip.compress(b"a,b\n1,2\n"), named)


def test_a_small_file_cannot_become_a_huge_table(tmp_path):
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(TableError, match="more than 1 MB once decompressed"):
        table(tmp_path, bomb, TableFormat(max_bytes=1_000_000))
    assert len(table(tmp_path, gzip.compress(b"a,b\n1,2\n"), TableFormat(max_bytes=8))) == 1


def test_rows_are_streamed(tmp_path):
    """A reader holds the rows that it looks ahead at, and no more."""
    import resource

    (tmp_path / "t.csv").write_bytes(b"id,seq\n" + b"".join(b"%d,%s\n" % (i, b"ACGT" * 250) for i in range(150_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TableReader(tmp_path / "t.csv") as reader:
        n = sum(len(values[1]) for _, values in reader)
    assert n == 150_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_columns_are_required_and_unique_where_asked(tmp_path):
    read = table(tmp_path, "id,x\na,1\n\nb,2\na,3\n")
    read.require(["x"])
    with pytest.raises(TableError, match=r"t\.csv, header: no column y among id, x; give a CSV"):
        read.require(["x", "y"])
    with pytest.raises(TableError, match=r"t\.csv, line 5, column id: 'a' stands on line 2 already; once each"):
        read.require_unique("id", "once each")
    assert read.where(1).endswith("t.csv, line 4") and len(read) == 3
    assert list(read.records())[1] == (4, {"id": "b", "x": "2"})
    assert read.frame("id")["x"].tolist() == ["1", "2", "3"]


def test_missing_values_are_recognised_in_any_case():
    assert [
        word for word in ("", " ", "NA", "na", "NaN", "N/A", "#N/A", "Null", "UNKNOWN") if not is_missing(word)
    ] == []
    assert not any(map(is_missing, ("None", "none", "0", "-", "no", "N", "nano")))
    assert all(word == word.lower() for word in MISSING_VALUES)
    assert is_missing("Missing: control sample") and is_missing("Not Collected") and is_missing("#DIV/0!")
    assert is_missing("None", missing_words(["none"])) and not is_missing("NA", missing_words(except_for=["na"]))
    assert not is_missing("missing: lost", missing_words(except_for=["missing"]))
