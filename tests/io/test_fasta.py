"""FASTA records, beside Biopython's."""

import io

import pytest
from Bio.SeqIO.FastaIO import SimpleFastaParser
from hypothesis import given, settings
from hypothesis import strategies as st

from biomeformer.io.compression import open_bytes
from biomeformer.io.fasta import FastaError, iter_fasta

RECORDS = st.lists(st.tuples(st.text("ab|>. -1", max_size=6), st.lists(st.text("ACGTN*-", max_size=9), max_size=5)))


@settings(deadline=None)
@given(RECORDS, st.sampled_from(["\n", "\r\n", " \n"]), st.booleans(), st.booleans())
def test_records_are_those_of_biopython(records, end, is_truncated, has_blanks):
    lines = [line for name, parts in records for line in (f">{name}", *parts, *([""] if has_blanks else []))]
    text = end.join(lines) + ("" if is_truncated else end)
    expected = [(title, sequence.replace(" ", "")) for title, sequence in SimpleFastaParser(io.StringIO(text))]
    for given_lines in (io.BytesIO(text.encode()), text.encode().splitlines()):
        found = [(header.decode(), sequence.decode()) for _, header, sequence in iter_fasta(given_lines)]
        assert [(name.rstrip(), sequence) for name, sequence in expected] == found
    for line, header, _ in iter_fasta(text.encode().splitlines()):
        assert lines[line - 1].rstrip() == f">{header.decode()}".rstrip()


def test_a_real_genome_is_read_as_biopython_reads_it(shared_data):
    path = min((shared_data / "genomes").glob("*.f*a.gz"), key=lambda path: path.stat().st_size)
    with open_bytes(path) as handle:
        found = [(header.decode(), sequence.decode()) for _, header, sequence in iter_fasta(handle)]
    with open_bytes(path) as handle:
        assert found == list(SimpleFastaParser(io.TextIOWrapper(handle)))
    assert sum(len(sequence) for _, sequence in found) > 100_000


def test_text_in_front_of_the_first_header():
    assert list(iter_fasta([b"\n", b"  \n"])) == []
    with pytest.raises(FastaError, match="line 2: sequence without a header"):
        list(iter_fasta([b"\n", b"ACGT\n", b">a\n"]))
