"""Formats of intervals are told by their content, and others are named as what they are."""

from __future__ import annotations

import pytest

from biomeformer.errors import InputError
from biomeformer.sequences.intervals import read_intervals
from biomeformer.sequences.labelled import open_input

PEAK = "chr1\t100\t300\tp\t50\t.\t8.5\t20.1\t18\t30"
ENSEMBL = "1\t100\t300\tp\t50\t.\t8.5\t20.1\t18\t30"


def read(tmp_path, *lines):
    path = tmp_path / "a.bed"
    path.write_text("\n".join(lines) + "\n")
    return read_intervals(open_input(f"x={path}"))


@pytest.mark.parametrize(
    "lines",
    [
        [PEAK, PEAK],
        ["track type=narrowPeak", PEAK],
        [ENSEMBL, "1\t150\t350\tp\t50\t+\t1\t5\t4\t-1"],
        # IDR and tools that append columns of their own.
        [f"{PEAK}\t4.1\t3.2\tgene"],
        # bedtools intersect -wo of narrowPeak with narrowPeak, and with BED3.
        [f"{PEAK}\t{PEAK}\t200"],
        [f"{ENSEMBL}\t1\t120\t150\t30", f"{ENSEMBL}\t.\t-1\t-1\t0"],
    ],
)
def test_narrow_peak_is_told_by_its_columns(tmp_path, lines):
    assert read(tmp_path, *lines).summit.tolist()[0] == 130


BED6 = "{c}\t100\t300\tp\t50\t."


@pytest.mark.parametrize("contig", ["chr1", "1"])
@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (BED6 + "\t{c}\t90\t150\t50", "p"),
        (BED6 + "\t{c}\t310\t350\t11", "p"),
        (BED6 + "\t{c}\t90\t150\tq\t7\t-\t50", "p"),
        ("{c}\t100\t300\t{c}\t90\t150\tq\t5\t+\t50", ""),
        ("{c}\t100\t300\t{c}\t90\t150", ""),
        ("{c}\t100\t300\tp\t{c}\t90\t150\tq\t0\t.\t50", "p"),
    ],
)
def test_a_second_interval_of_bedtools_is_not_read(tmp_path, caplog, contig, columns, name):
    lines = [columns.format(c=contig), columns.format(c=contig).replace("p", "q")]
    found = read(tmp_path, *lines)
    assert found.summit.tolist() == [200, 200] and found.strand.tolist() == [1, 1] and found.name(0) == name
    assert "are a second interval, as bedtools writes it" in caplog.text
    assert "the windows lie around the middles of the intervals" in caplog.text


def test_left_outer_joins_are_read(tmp_path):
    lines = [BED6.format(c="chr1") + "\tchr1\t90\t150", BED6.format(c="chr2") + "\t.\t-1\t-1"]
    assert read(tmp_path, *lines).summit.tolist() == [200, 200]


@pytest.mark.parametrize(
    "line",
    [
        "chr1\t100\t300\tp\t50\t+\t100\t300\t0\t1\t200,\t0,",
        "1\t100\t300\tp\t50\t+\t100\t300\t255,0,0\t2\t50,50\t0,150",
        # gappedPeak, broadPeak, bedGraph.
        "chr1\t100\t300\tp\t50\t+\t100\t300\t0\t1\t200,\t0,\t5.1\t3.2\t2",
        "chr1\t100\t300\tp\t50\t.\t8.5\t20.1\t18",
        "chr1\t100\t300\t0.5",
    ],
)
def test_other_kinds_of_bed_have_no_summits(tmp_path, caplog, line):
    assert read(tmp_path, line, line).summit.tolist() == [200, 200] and not caplog.text


def test_ten_columns_of_another_kind_are_said(tmp_path, caplog):
    assert read(tmp_path, BED6.format(c="chr1") + "\tgene\t5\t6\t30").summit.tolist() == [200]
    assert "10 columns, but not narrowPeak (line 1: column 7 is 'gene'); the windows lie around the mid" in caplog.text
    assert read(tmp_path, BED6.format(c="chr1") + "\t4\t5\t6\tgene").summit.tolist() == [200]
    assert "column 10 is 'gene'" in caplog.text


def test_a_file_of_two_kinds_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.bed, line 2: column 7 is 'gene', which narrowPeak does not have, while"):
        read(tmp_path, PEAK, BED6.format(c="chr1") + "\tgene\t5\t6\t30")


@pytest.mark.parametrize(
    "header",
    [
        "chrom\tchromStart\tchromEnd\tname",
        "#chrom\tstart\tend\tnum\tlist",
        "Chr\tStart\tEnd",
        "chrom\tstart\tend\tnum\tlist\ta.bed\tb.bed",
        "chromosome start stop",
    ],
)
def test_a_header_line_is_not_an_interval(tmp_path, caplog, header):
    found = read(tmp_path, header, "chr1\t100\t300\tp", "chr2\t0\t10\tq")
    assert found.summit.tolist() == [200, 5] and found.line.tolist() == [2, 3]
    assert header.startswith("#") or "starts count from 0, ends are not included" in caplog.text


def test_a_contig_called_track_is_read(tmp_path):
    assert read(tmp_path, "track name=x", "browser position chr1:1-9", "track7\t1\t3").contigs == ("track7",)


def test_a_table_of_sequences_with_positions_is_a_table(tmp_path):
    (tmp_path / "a.tsv").write_text("chrom\tstart\tend\tbases\tlabel\nchr1\t1\t13\tACGTACGTACGT\ta\n")
    assert open_input(tmp_path / "a.tsv").kind == "table"


VCF_ROW = "chr1\t100\t12345\tA\tG\t50\tPASS\t."
GFF_ROW = 'chr1\tHAVANA\tgene\t100\t200\t.\t+\t.\tgene_id "g"'
MACS_HEADER = "chr\tstart\tend\tlength\tabs_summit\tpileup\t-log10(pvalue)\tfold_enrichment\t-log10(qvalue)\tname"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n{VCF_ROW}\n", "is a VCF file of variants, whose positions"),
        (f"#CHROM\tPOS\tID\tREF\tALT\n{VCF_ROW}\n", "is a VCF file"),
        (f"{VCF_ROW}\n", "is a VCF file"),
        (f"##gff-version 3\n{GFF_ROW}\n", "is a GFF or GTF file, whose positions count from 1; give BED, e.g. from"),
        (f"#!genome-build x\n{GFF_ROW}\n", "is a GFF or GTF file"),
        (f"# This file is generated by MACS version 2.2\n\n{MACS_HEADER}\nchr1\t1\t9\n", "is a table of peaks of MACS"),
        (f"{MACS_HEADER}\nchr1\t1\t9\t8\t5\n", "is a table of peaks of MACS (.xls)"),
        ("# HOMER Peaks\n#PeakID\tchr\tstart\tend\tstrand\nchr1-1\tchr1\t1\t9\t+\n", "peaks of HOMER; give BED"),
        ("PeakID (cmd=annotatePeaks.pl)\tChr\tStart\tEnd\nx\tchr1\t1\t9\n", "peaks of HOMER"),
        ("GeneID\tChr\tStart\tEnd\tStrand\ng\tchr1\t1\t9\t+\n", "in SAF, whose positions count from 1"),
        ("seqnames\tstart\tend\twidth\tstrand\nchr1\t1\t9\t9\t*\n", "is a table of GRanges of R, whose positions"),
        ("#bin\tchrom\tchromStart\tchromEnd\n585\tchr1\t1\t9\n", "with the column bin"),
        ("track type=wiggle_0\nfixedStep chrom=chr1 start=1 step=1\n3\n", "is a wiggle file"),
        ("chr1:100-200\nchr1:300-400\n", "is a list of regions contig:start-end, whose positions count from 1"),
        ("chr1\t1\t9\tchr2\t5\t9\tx\t0\t+\t-\n", "is a BEDPE file"),
        ("chr1,1,9\n", "is a list of intervals separated by commas"),
        ("chrom,start,end,name\nchr1,1,9,x\n", "is a list of intervals separated by commas"),
        ("@HD\tVN:1.6\n@SQ\tSN:chr1\tLN:9\nchr1\t1\t9\t+\tx\n", "an interval_list of Picard, whose positions count"),
        (b"\xeb\xf2\x89\x87\4\0", "is a bigBed file; convert it with bigBedToBed"),
        (b"\x26\xfc\x8f\x88\4\0", "is a bigWig file"),
    ],
)
def test_other_formats_are_named_as_what_they_are(tmp_path, content, words):
    (tmp_path / "a.bed").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        open_input(f"x={tmp_path / 'a.bed'}")
    assert words in str(error.value) and "\n" not in str(error.value)
