"""Windows: arithmetic at the base, both strands, and the ends of contigs."""

from __future__ import annotations

import gzip

import pytest

from biomeformer.errors import InputError
from biomeformer.sequences.intervals import read_intervals
from biomeformer.sequences.labelled import open_input
from biomeformer.sequences.reference import stream_contigs
from biomeformer.sequences.settings import PreparationSettings
from biomeformer.sequences.windows import CANONICAL, read_windows, window

GENOME = {"chr1": "ACGTTGCAAC", "chr2": "TTTGGGCCCAAA", "tiny": "ACG"}


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(
        "".join(f">{name} more words\n{bases[:4]}\n{bases[4:].lower()}\n" for name, bases in GENOME.items())
    )
    return path


def windows_of(tmp_path, genome, lines, name="a.bed", **settings):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    file = read_intervals(open_input(f"x={tmp_path / name}"))
    batches = list(read_windows([file], genome, PreparationSettings(**settings)))
    found = [
        (source, sequence.decode())
        for batch in batches
        for source, sequence in zip(batch.sources, batch.sequences, strict=True)
    ]
    return found, sum((batch.dropped for batch in batches), start=type(batches[0].dropped)())


@pytest.mark.parametrize(
    ("length", "strand", "expected"),
    [
        (4, "+", ("chr1:3-7:+", "TTGC")),
        (5, "+", ("chr1:3-8:+", "TTGCA")),
        (4, "-", ("chr1:3-7:-", "GCAA")),
        (5, "-", ("chr1:3-8:-", "TGCAA")),
        (1, ".", ("chr1:5-6:+", "G")),
    ],
)
def test_bases_around_a_summit(tmp_path, genome, length, strand, expected):
    found, dropped = windows_of(tmp_path, genome, [f"chr1\t5\t6\tpeak\t0\t{strand}"], length=length)
    assert found == [expected] and not dropped


@pytest.mark.parametrize(
    ("summit", "edges", "expected"),
    [
        (1, "drop", "past_contig_end"),
        (2, "drop", (0, 4)),
        (8, "drop", (6, 10)),
        (9, "drop", "past_contig_end"),
        (1, "shift", (0, 4)),
        (9, "shift", (6, 10)),
        (0, "clip", (0, 2)),
        (9, "clip", (7, 10)),
    ],
)
def test_ends_of_a_contig(summit, edges, expected):
    assert window(summit, 4, 10, edges) == expected


def test_contigs_shorter_than_the_window():
    assert window(1, 4, 3, "shift") == "contig_shorter_than_window"
    assert window(1, 4, 3, "drop") == "past_contig_end"
    assert window(1, 4, 3, "clip") == (0, 3)
    assert window(1, 3, 3, "drop") == (0, 3)


@pytest.mark.parametrize(
    ("summit", "length", "expected"),
    [
        (5, 4, "TTGC"),
        (0, 4, "NACN"),
        (9, 4, "AACN"),
        (1, 5, "ACGTN"),
        (0, 14, "NNNACGTTGCNNNN"),
        (4, 16, "NNNACGTTGCAACNNN"),
    ],
)
def test_padded_windows_have_full_length_with_n_on_both_sides_alike(tmp_path, genome, summit, length, expected):
    line = f"chr1\t{summit}\t{summit + 1}"
    ((source, sequence),), dropped = windows_of(tmp_path, genome, [line], length=length, edges="pad")
    assert sequence == expected and len(sequence) == length and not dropped
    start, end = map(int, source.split(":")[1].split("-"))
    assert GENOME["chr1"][start:end] == sequence.strip("N")


def test_a_padded_window_of_the_reverse_strand_is_the_reverse_complement(tmp_path, genome):
    ((_, sequence),), _ = windows_of(tmp_path, genome, ["chr1\t1\t2\tp\t0\t-"], length=5, edges="pad")
    assert sequence == "NACGT"


def test_intervals_on_other_contigs_are_dropped_if_asked(tmp_path, genome):
    lines = ["chr1\t5\t6", "tiny\t1\t2", "tiny\t0\t1", "chr2\t5\t6"]
    found, dropped = windows_of(tmp_path, genome, lines, length=4, canonical_contigs=True)
    assert [source.split(":")[0] for source, _ in found] == ["chr1", "chr2"]
    assert dropped == {"other_contig": 2}


@pytest.mark.parametrize("prefix", ["", "chr"])
def test_canonical_contigs_are_the_assembled_chromosomes(prefix):
    for name in ("1", "22", "X", "Y", "M"):
        assert CANONICAL.fullmatch(prefix + name), name
    for name in ("0", "Un_GL000220v1", "6_apd_hap1", "17_random", "EBV", "100"):
        assert not CANONICAL.fullmatch(prefix + name), name


def test_edges_of_a_file(tmp_path, genome):
    lines = ["tiny\t1\t2", "chr1\t0\t1", "chr1\t5\t6\tp\t0\t-", "chr2\t11\t12"]
    found, dropped = windows_of(tmp_path, genome, lines, length=4, edges="drop")
    assert [source for source, _ in found] == ["chr1:3-7:-"] and dropped == {"past_contig_end": 3}
    found, dropped = windows_of(tmp_path, genome, lines, length=4, edges="shift")
    assert found == [("chr1:0-4:+", "ACGT"), ("chr1:3-7:-", "GCAA"), ("chr2:8-12:+", "CAAA")]
    assert dropped == {"contig_shorter_than_window": 1}
    found, dropped = windows_of(tmp_path, genome, lines, length=4, edges="clip")
    assert [sequence for _, sequence in found] == ["AC", "GCAA", "AAA", "ACG"] and not dropped


def test_windows_lie_around_the_summit_of_a_narrow_peak(tmp_path, genome):
    lines = ["chr1\t2\t9\tp\t0\t.\t1\t1\t1\t3", "chr1\t2\t9\tp\t0\t.\t1\t1\t1\t-1", "chr1\t2\t9\tq\t0\t.\t1\t1\t1\t0"]
    found, _ = windows_of(tmp_path, genome, lines, name="a.narrowPeak", length=2)
    assert [source for source, _ in found] == ["chr1:4-6:+", "chr1:4-6:+", "chr1:1-3:+"]
    (tmp_path / "b.bed").write_text("chr1\t2\t9\n")
    assert read_intervals(open_input(f"x={tmp_path / 'b.bed'}")).summit.tolist() == [5]


def test_names_headers_and_blanks(tmp_path):
    (tmp_path / "a.bed.gz").write_bytes(
        gzip.compress(b"track name=x\n# c\nchr1 1 4 one\n\nchr2\t1\t4\t.\r\nchr1\t2\t2\ttwo\n")
    )
    found = read_intervals(open_input(f"x={tmp_path / 'a.bed.gz'}"))
    assert found.contigs == ("chr1", "chr2") and found.contig.tolist() == [0, 1, 0] and len(found) == 3
    assert [found.name(i) for i in range(3)] == ["one", "", "two"] and found.line.tolist() == [3, 5, 6]
    assert found.summit.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chr1\t5", "2 columns"),
        ("chr1\t5\tx", "'x' is no position"),
        ("chr1\t-1\t5", "'-1' is no position"),
        ("chr1\t9\t5", "ends at 5, before its start 9"),
        ("chr1\t1\t5\tp\t0\tforward", "the strand is 'forward'"),
        ("chr9\t1\t5", "contig 'chr9' is not in"),
        ("1\t1\t5", "it calls this one 'chr1'"),
        ("chr1\t20\t25", "past the end of contig 'chr1' (10 bases)"),
    ],
)
def test_intervals_that_cannot_be_cut_are_refused_with_their_line(tmp_path, genome, line, words):
    with pytest.raises(InputError) as error:
        windows_of(tmp_path, genome, ["chr1\t1\t2", line])
    assert words in str(error.value) and "a.bed, line 2:" in str(error.value)


@pytest.mark.parametrize("last", ["7", "-2", "x", "0.5"])
def test_summits_outside_their_peak_are_refused(tmp_path, genome, last):
    with pytest.raises(InputError, match="column 10 of narrowPeak is"):
        windows_of(tmp_path, genome, ["chr1\t2\t9\tp\t0\t.\t1\t1\t1\t3", f"chr1\t2\t9\tp\t0\t.\t1\t1\t1\t{last}"])


def test_only_wanted_contigs_are_read(tmp_path, genome):
    found = list(stream_contigs(genome, {"chr1"}))
    assert [(name, bytes(bases)) for name, bases in found] == [("chr1", GENOME["chr1"].encode())]
    found = list(stream_contigs(genome, {"tiny", "chr1"}))
    assert [name for name, _ in found] == ["chr1", "chr2", "tiny"] and found[1][1] is None
    assert bytes(found[2][1]) == b"ACG"


def test_headers_may_be_any_text_behind_a_byte_order_mark(tmp_path):
    path = tmp_path / "g.fa"
    for encoding in ("utf-8-sig", "latin-1"):
        path.write_bytes(">chr1 isolé µ\nACGT\n>chr2 é\nGG\n".encode(encoding))
        contigs = {name: bytes(bases) for name, bases in stream_contigs(path, {"chr1", "chr2"})}
        assert contigs == {"chr1": b"ACGT", "chr2": b"GG"}


@pytest.mark.parametrize("block", range(1, 40))
def test_contigs_over_borders_of_blocks(genome, monkeypatch, block):
    monkeypatch.setattr("biomeformer.sequences.reference.BLOCK_BYTES", block)
    found = {name: bytes(bases).decode() for name, bases in stream_contigs(genome, GENOME)}
    assert found == GENOME


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ACGT\n", "is not FASTA: it begins with"),
        ("", "has no FASTA record"),
        (">\nACGT\n", "a record has no name"),
        (">chr1\nACGT\n>chr1\nACGT\n>chr2\nA\n", "has two contigs 'chr1'"),
        (">chr1\nAC-T\n>chr2\nA\n", "contig 'chr1': '-' is not an IUPAC nucleotide letter"),
    ],
)
def test_damaged_references_are_refused(tmp_path, text, words):
    path = tmp_path / "g.fa"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        list(stream_contigs(path, {"chr1", "chr2"}))
    assert words in str(error.value) and str(path) in str(error.value)
