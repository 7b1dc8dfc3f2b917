"""GenBank and GFF3 files that are cut or damaged: an error that names the place, or a remark; never fewer genes."""

from __future__ import annotations

import random
import re

import pytest

from biomeformer.errors import GenomeError, InputError
from biomeformer.genomes.reading import read_genome

GENES = ("ATGGCTAAACGTCTGTAA", "ATGTGGTTTCATGAACCCTAA", "GTGAAAGATCTGTGA")


def bases():
    return "TTTT" + "CCGGAA".join(GENES) + "GGGG" * 8


def genes_of_contig():
    """Start and end of each gene, from 1."""
    return [(start := bases().index(gene) + 1, start + len(gene) - 1) for gene in GENES]


def genbank_text(qualifiers="", length=None, contigs=("c1", "c2")):
    records = []
    for contig in contigs:
        sequence = bases().lower()
        lines = [
            f"LOCUS       {contig:<16} {length or len(sequence):>11} bp    DNA     linear   BCT 01-JAN-2020",
            "DEFINITION  made.",
            f"ACCESSION   {contig}",
            f"VERSION     {contig}",
            "FEATURES             Location/Qualifiers",
            f"     source          1..{len(sequence)}",
            '                     /organism="made"',
        ]
        for number, (start, end) in enumerate(genes_of_contig(), 1):
            lines += [
                f"     CDS             {start}..{end}",
                f'                     /locus_tag="{contig}_{number}"',
                "                     /codon_start=1",
                "                     /transl_table=11",
                '                     /product="protein"',
                *([f"                     {qualifiers}"] if qualifiers else []),
            ]
        lines.append("ORIGIN")
        for i in range(0, len(sequence), 60):
            row = " ".join(sequence[j : j + 10] for j in range(i, min(i + 60, len(sequence)), 10))
            lines.append(f"{i + 1:>9} {row}")
        records.append("\n".join([*lines, "//", ""]))
    return "".join(records)


def gff_text():
    lines = ["##gff-version 3"]
    lines += [f"##sequence-region {contig} 1 {len(bases())}" for contig in ("c1", "c2")]
    for contig in ("c1", "c2"):
        for number, (start, end) in enumerate(genes_of_contig(), 1):
            name = f"{contig}_{number}"
            fields = [contig, "x", "CDS", str(start), str(end), ".", "+", "0", f"ID={name};locus_tag={name}"]
            lines.append("\t".join(fields))
    lines += ["##FASTA", *(line for contig in ("c1", "c2") for line in (f">{contig}", bases()))]
    return "\n".join(lines) + "\n"


GENBANK_FAULTS = {
    "cut in the sequence": (lambda t: t[: t.rindex("ORIGIN") + 60], r"record 'c2': no // ends it"),
    "cut in the features": (lambda t: t[: t.rindex("/product")], r"record 'c2': no // ends it"),
    "end of a record is gone": (
        lambda t: t.replace("//\n", "", 1),
        r"record 'c1': no // ends it before the next LOCUS",
    ),
    "LOCUS of a record is gone": (
        lambda t: re.sub(r"LOCUS( +c2)", r"LOCUZ\1", t),
        r"record 2 does not begin with LOCUS",
    ),
    "a line of the sequence is gone": (
        lambda t: re.sub(r"        1 .*\n", "", t, count=1),
        r"record 'c1': it has 42 bases and its LOCUS line states 102",
    ),
    "length in LOCUS": (
        lambda t: t.replace(f" {len(bases())} bp", " 99 bp", 1),
        r"record 'c1': .* LOCUS line states 99",
    ),
    "beyond the sequence": (
        lambda t: t.replace("..22", "..2200", 1),
        r"'c1', coding sequence 'c1_1': 5 to 2200 lies bey",
    ),
    "unparsable location": (
        lambda t: t.replace("5..22", "5.,22", 1),
        r"coding sequence 'c1_1': its location cannot be r",
    ),
    "backwards": (lambda t: t.replace("5..22", "22..5", 1), r"coding sequence 'c1_1': its location cannot be read"),
    "unknown end": (lambda t: t.replace("5..22", "5..?", 1), r"coding sequence 'c1_1': its location"),
    "codon_start": (
        lambda t: t.replace("codon_start=1", "codon_start=4", 1),
        r"'c1_1': codon_start is 4; it must be 1, 2",
    ),
    "codon_start of letters": (
        lambda t: t.replace("codon_start=1", "codon_start=x", 1),
        r"codon_start is 'x', which is no",
    ),
    "transl_table": (
        lambda t: t.replace("transl_table=11", "transl_table=99", 1),
        r"'c1_1': there is no translation table",
    ),
    "another type": (lambda t: t.replace("CDS ", "CDX ", 1), r"its type is 'CDX', and only a coding sequence"),
    "a feature's line is gone": (lambda t: re.sub(r" +CDS +29.*\n", "", t), r"'c1_1': it has two values of locus_tag"),
    "FEATURES": (lambda t: t.replace("FEATURES", "FEATVRES", 1), r"record 'c1': 0 of 3 coding sequences"),
    "ORIGIN": (lambda t: t.replace("ORIGIN", "ORIGXN", 1), r"record 'c1': it is no GenBank record that can be read"),
    "letter": (lambda t: t.replace("tttt", "ttzt", 1), r"record 'c1': '[zZ]' is no nucleotide"),
    "digit in a translation": (
        lambda t: t.replace('/product="protein"', '/translation="MA7R"', 1),
        r"'c1_1': '7' in its translation is no residue",
    ),
    "part in another record": (
        lambda t: t.replace("5..22", "join(5..10,X1.1:4..9)", 1),
        r"'c1_1': a part of it lies in a",
    ),
}


@pytest.mark.parametrize("fault", GENBANK_FAULTS)
def test_a_damaged_genbank_file_is_an_error_with_record_and_feature(tmp_path, fault):
    damage, message = GENBANK_FAULTS[fault]
    (tmp_path / "a.gbk").write_text(damage(genbank_text()))
    with pytest.raises(GenomeError, match=message) as raised:
        read_genome(tmp_path / "a.gbk")
    assert "a.gbk" in str(raised.value) and "\n" not in str(raised.value)


def test_oddities_that_lose_nothing_are_remarked_on(tmp_path):
    path = tmp_path / "a.gbk"
    path.write_text(genbank_text())
    whole = read_genome(path)
    assert len(whole) == 6 and whole.notes == ()
    path.write_text(genbank_text().replace("/organism=", "/organism= ").replace("1-JAN-20", "1/JAN/20"))
    odd = read_genome(path)
    assert odd.genes == whole.genes
    assert "Biopython: White space after equals in qualifier (2 times)" in odd.notes


GFF_FAULTS = {
    "shorter sequence": (lambda t: t[:-20], r"line 3: contig 'c2' has 102 bases there and 83 in"),
    "no such sequence": (
        lambda t: t.replace("region c2", "region c3"),
        r"line 3: contig 'c3' has 102 bases there and 0 in",
    ),
    "strand": (lambda t: t.replace("\t+\t", "\t.\t", 1), r"line 4: the strand of a coding sequence is '.'"),
    "phase": (lambda t: t.replace("\t+\t0", "\t+\t3", 1), r"line 4: the phase is 3; it must be"),
    "transl_table": (
        lambda t: t.replace("ID=c1_1", "transl_table=99;ID=c1_1"),
        r"line 4: there is no translation table 99",
    ),
    "ID of another": (lambda t: t.replace("ID=c1_2", "ID=c1_1"), r"line 5: the ID 'c1_1' is that of line 4 too"),
}


@pytest.mark.parametrize("fault", GFF_FAULTS)
def test_a_damaged_gff_file_is_an_error_with_its_line(tmp_path, fault):
    damage, message = GFF_FAULTS[fault]
    (tmp_path / "a.gff").write_text(damage(gff_text()))
    with pytest.raises(GenomeError, match=message):
        read_genome(tmp_path / "a.gff")


def test_a_translation_table_that_does_not_exist_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "a.gff").write_text(gff_text())
    with pytest.raises(InputError, match="there is no translation table 99"):
        read_genome(tmp_path / "a.gff", translation_table=99)


def mutate(text, rng):
    """Change a character, cut, repeat or remove a span, or remove a line that is not a whole gene by itself."""
    start = rng.randrange(len(text))
    end = min(start + rng.randrange(1, 12), len(text))
    kind = rng.randrange(6)
    if kind == 0:
        return text[:start] + rng.choice("ACGTacgt0123456789.,<>()/=\"'\t \nXx#%-+") + text[start + 1 :]
    if kind == 1:
        return text[:start]
    if kind == 2:
        return text[:start] + text[end:]
    if kind == 3:
        return text[:end] + text[start:]
    if kind == 4:
        return text[:start] + chr(rng.randrange(1, 256)) + text[start:]
    lines = text.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return "".join(lines)


def silently_missing(genome, n_genes):
    """How many genes are neither there, nor counted among those left out, nor remarked on."""
    stats = genome.gene_stats
    counted = len(genome) + stats["n_pseudo"] + stats["n_internal_stop"] + stats["n_no_protein"]
    return 0 if genome.notes or "pyrodigal" in genome.method else max(n_genes - counted, 0)


@pytest.mark.parametrize("suffix", ["gbk", "gff", "fna"])
def test_mutated_files_raise_our_errors_and_lose_no_gene_in_silence(tmp_path, suffix):
    text = {"gbk": genbank_text(), "gff": gff_text(), "fna": f">c1\n{bases()}\n>c2\n{bases()}\n"}[suffix]
    path, rng = tmp_path / f"a.{suffix}", random.Random(21)
    n_read = 0
    for number in range(60):
        mutated = mutate(text, rng)
        path.write_bytes(mutated.encode("latin-1", "replace"))
        try:
            genome = read_genome(path)
        except InputError as error:
            assert "\n" not in str(error), (number, mutated)
            continue
        n_read += 1
        # A record or line that is missing as a whole is one that was not annotated.
        n_genes = (
            0
            if suffix == "fna"
            else 3 * mutated.count("LOCUS")
            if suffix == "gbk"
            else len(re.findall(r"^[^#\n].*\tCDS\t", mutated, re.M))
        )
        assert not silently_missing(genome, n_genes), (number, mutated)
    assert n_read
