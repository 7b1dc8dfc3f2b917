"""What Prokka, Bakta, PGAP, Prodigal, BV-BRC and RefSeq write by default is read, with the genes that it describes."""

from __future__ import annotations

import gzip
import io

import pytest

from biomeformer.errors import GenomeError, InputError
from biomeformer.genomes import read_genome
from biomeformer.genomes.catalog import GenomeCatalog, read_catalog
from factories import reverse_complement

FORWARD = "ATGGCTAAACGTCTGTGGGAAGATCCGACTTAA"
REVERSE = "ATGTTTGAACGTGGTCTGAAAGACTGCCACTGA"
SMALL = "ATGAAAGATCTGTGGTGA"
LINEAR = "CCCCCC" + FORWARD + "GGGGGG" + reverse_complement(REVERSE) + "TTTCCC" + SMALL + "CCGGCC"
PROTEINS = {"f": "MAKRLWEDPT", "r": "MFERGLKDCH", "s": "MKDLW"}
START = {"f": 7, "r": 46, "s": 85}
SIZE = {"f": 33, "r": 33, "s": 18}
SIGN = {"f": "+", "r": "-", "s": "+"}


def rotated(name, inside=10):
    """The circular contig that begins within a gene, and the start and end of each gene on it, as in GFF3."""
    shift = START[name] + inside - 1
    spans = {}
    for gene, start in START.items():
        start = (start - 1 - shift) % len(LINEAR) + 1
        spans[gene] = start, start + SIZE[gene] - 1
    return LINEAR[shift:] + LINEAR[:shift], spans


def gff_line(contig, start, end, strand, attributes, kind="CDS", phase="0"):
    return "\t".join([contig, "made", kind, str(start), str(end), ".", strand, phase, attributes]) + "\n"


def region(attributes="ID=c;Is_circular=true", contig="c"):
    return gff_line(contig, 1, len(LINEAR), "+", attributes, "region", ".")


def coding_lines(spans=None, contig="c", extra=""):
    spans = spans or {name: (start, start + SIZE[name] - 1) for name, start in START.items()}
    return [gff_line(contig, *span, SIGN[name], f"ID={name};locus_tag={name}{extra}") for name, span in spans.items()]


def write_gff(path, lines, bases=LINEAR, header="c", marker="##FASTA\n"):
    sequence = f"{marker}>{header}\n{bases}\n" if bases else ""
    path.write_text("##gff-version 3\n" + "".join(lines) + sequence)
    return path


def proteins(genome):
    return {gene.gene_id: gene.protein for gene in genome.genes}


def write_genbank(path, features, bases=LINEAR, locus=None, qualifiers=("transl_table=11",)):
    rows = [locus or f"LOCUS       c                {len(bases):>11} bp    DNA     circular BCT 01-JAN-2020"]
    rows += ["DEFINITION  made.", "ACCESSION   c", "VERSION     c", "FEATURES             Location/Qualifiers"]
    for name, location in features:
        rows += [f"     CDS             {location}", f'                     /locus_tag="{name}"']
        rows += [f"                     /{qualifier}" for qualifier in qualifiers]
    rows.append("ORIGIN")
    for i in range(0, len(bases), 60):
        row = " ".join(bases[j : j + 10].lower() for j in range(i, min(i + 60, len(bases)), 10))
        rows.append(f"{i + 1:>9} {row}")
    path.write_text("\n".join([*rows, "//", ""]))
    return path


class TestCircularContigs:
    @pytest.mark.parametrize("name", ["f", "r", "s"])
    @pytest.mark.parametrize("stated", ["region", "header", "unicycler"])
    def test_a_gff_gene_that_ends_beyond_a_circular_contig_is_wrapped(self, tmp_path, name, stated):
        bases, spans = rotated(name)
        assert spans[name][1] > len(bases)
        header = {"region": "c", "header": "c [gcode=11] [topology=circular]", "unicycler": "c circular=true"}[stated]
        lines = [*([region()] if stated == "region" else []), *coding_lines(spans)]
        genome = read_genome(write_gff(tmp_path / "a.gff", lines, bases, header))
        assert proteins(genome) == PROTEINS and genome.notes == ()
        assert [(gene.start, gene.end) for gene in genome.genes if gene.gene_id == name] == [spans[name]]

    @pytest.mark.parametrize("name", ["f", "r"])
    @pytest.mark.parametrize("is_stated", [True, False])
    def test_two_gff_lines_of_one_id_at_both_ends_of_a_contig_are_wrapped(self, tmp_path, name, is_stated):
        bases, spans = rotated(name, inside=11)
        start, end = spans.pop(name)
        attributes = f"ID={name};locus_tag={name}"
        # Phases: 11 bases of the forward gene are behind the start, so that one begins the next codon.
        phases = ("0", "1") if name == "f" else ("1", "0")
        lines = [
            *([region()] if is_stated else []),
            *coding_lines(spans),
            gff_line("c", start, len(bases), SIGN[name], attributes, phase=phases[0]),
            gff_line("c", 1, end - len(bases), SIGN[name], attributes, phase=phases[1]),
        ]
        genome = read_genome(write_gff(tmp_path / "a.gff", lines, bases))
        assert proteins(genome) == PROTEINS
        assert (genome.genes[-1].start, genome.genes[-1].end) == (start, end)
        assert genome.notes == () if is_stated else "which was read as circular" in genome.notes[0]

    def test_a_gene_beyond_a_linear_contig_is_refused_with_the_way_out(self, tmp_path):
        bases, spans = rotated("f")
        with pytest.raises(GenomeError, match=r"lies beyond contig 'c' of 108 bases .*Is_circular=true"):
            read_genome(write_gff(tmp_path / "a.gff", coding_lines(spans), bases))
        backwards = [region(), gff_line("c", spans["f"][0], 20, "+", "ID=f")]
        with pytest.raises(GenomeError, match=r"line 3: the start .* give 128 as its end; correct the line"):
            read_genome(write_gff(tmp_path / "b.gff", backwards, bases))
        twice = [region(), gff_line("c", 50, 50 + 108, "+", "ID=f")]
        with pytest.raises(GenomeError, match="more than once around the circular contig"):
            read_genome(write_gff(tmp_path / "c.gff", twice, bases))

    @pytest.mark.parametrize("name", ["f", "r", "s"])
    @pytest.mark.parametrize("form", ["outer", "inner", "span"])
    def test_genbank_joins_across_the_origin_are_biopythons_own_extraction(self, tmp_path, name, form):
        from Bio import SeqIO

        bases, spans = rotated(name)
        locations = []
        for gene, (start, end) in spans.items():
            parts = [f"{start}..{len(bases)}", f"1..{end - len(bases)}"] if end > len(bases) else [f"{start}..{end}"]
            joined = parts[0] if len(parts) == 1 else f"join({','.join(parts)})"
            if len(parts) == 2 and form == "span":
                # As Biopython reads it on circular records.
                joined = f"{start}..{end - len(bases)}"
            location = joined if SIGN[gene] == "+" else f"complement({joined})"
            if SIGN[gene] == "-" and len(parts) == 2 and form == "inner":
                location = f"join(complement({parts[1]}),complement({parts[0]}))"
            locations.append((gene, location))
        path = write_genbank(tmp_path / "a.gbk", locations, bases)
        genome = read_genome(path)
        assert proteins(genome) == PROTEINS
        assert {gene.gene_id: (gene.start, gene.end) for gene in genome.genes} == spans
        record = SeqIO.read(io.StringIO(path.read_text()), "genbank")
        own = {f.qualifiers["locus_tag"][0]: str(f.extract(record.seq).translate(11)) for f in record.features}
        assert proteins(genome) == {gene: protein.removesuffix("*") for gene, protein in own.items()}


class TestRepeatedNames:
    def test_two_coding_sequences_of_one_locus_tag_are_two_genes(self, tmp_path):
        other = gff_line("c", START["f"], START["f"] + 14, "+", "ID=alt;locus_tag=f;product=short")
        genome = read_genome(write_gff(tmp_path / "a.gff", [*coding_lines(), other]))
        assert proteins(genome) == {"f": "MAKRL", "f-2": "MAKRLWEDPT", "r": PROTEINS["r"], "s": PROTEINS["s"]}
        assert genome.notes == ("1 coding sequences have the name of an earlier one, and got a suffix such as -2",)

    def test_lines_without_an_id_that_lie_upon_each_other_are_two_genes(self, tmp_path):
        lines = [gff_line("c", 7, end, "+", "locus_tag=f") for end in (39, 21)]
        genome = read_genome(write_gff(tmp_path / "a.gff", lines))
        assert [gene.protein for gene in genome.genes] == ["MAKRL", "MAKRLWEDPT"]

    def test_parts_without_an_id_that_do_not_are_one_gene(self, tmp_path):
        # A frame shift by -1: the base at its place is read twice.
        lines = [gff_line("c", 7, 18, "+", "Parent=g"), gff_line("c", 18, 39, "+", "Parent=g")]
        genome = read_genome(write_gff(tmp_path / "a.gff", lines))
        bases = LINEAR[6:18] + LINEAR[17:39]
        from Bio.Seq import Seq

        assert [gene.protein for gene in genome.genes] == [str(Seq(bases[:33]).translate(11))]

    def test_paralogues_with_one_protein_id_are_suffixed_and_annotated_alike(self, tmp_path):
        bases = LINEAR + LINEAR
        lines = [gff_line("c", 7 + i, 39 + i, "+", "protein_id=WP_1.1") for i in (0, 108)]
        path = write_gff(tmp_path / "a.gff", lines, bases)
        table = tmp_path / "t.tsv"
        table.write_text("query\tCOG\nWP_1.1\tK\n")
        genome = read_genome(path, annotations=table)
        assert proteins(genome) == {"WP_1.1": PROTEINS["f"], "WP_1.1-2": PROTEINS["f"]}
        assert [gene.annotations["COG"] for gene in genome.genes] == ["K", "K"]

    def test_genbank_features_of_one_locus_tag_are_suffixed(self, tmp_path):
        features = [("f", "7..39"), ("f", "join(7..15,16..21)"), ("f-2", "complement(46..78)")]
        genome = read_genome(write_genbank(tmp_path / "a.gbk", features))
        assert proteins(genome) == {"f": "MAKRL", "f-3": "MAKRLWEDPT", "f-2": PROTEINS["r"]}


@pytest.mark.parametrize(
    ("strand", "attributes", "protein", "is_partial"),
    [
        ("+", "partial=00", "MKW", False),
        ("+", "partial=false", "MKW", False),
        ("+", "partial=10", "VKW", True),
        ("+", "partial=01", "MKW", True),
        ("-", "partial=01", "VKW", True),
        ("-", "partial=10", "MKW", True),
        ("+", "partial=true", "VKW", True),
        ("+", "partial=true;start_range=.,5", "VKW", True),
        ("+", "partial=true;end_range=16,.", "MKW", True),
        ("+", "partial=11", "VKW", True),
    ],
)
def test_what_partial_says_and_not_that_it_is_there_makes_a_gene_partial(
    tmp_path, strand, attributes, protein, is_partial
):
    gene = "GTGAAATGGTGA"
    bases = "CCCC" + (gene if strand == "+" else reverse_complement(gene)) + "CCCC"
    genome = read_genome(write_gff(tmp_path / "a.gff", [gff_line("c", 5, 16, strand, f"ID=1_1;{attributes}")], bases))
    assert [(gene.protein, gene.partial) for gene in genome.genes] == [(protein, is_partial)]
    assert genome.gene_stats["n_partial"] == is_partial


def test_prodigals_gff_gives_the_proteins_of_prodigals_fasta(tmp_path, contigs):
    import pyrodigal

    finder = pyrodigal.GeneFinder()
    finder.train(*(bases.encode() for bases in contigs.values()))
    annotation, residues = io.StringIO(), io.StringIO()
    for name, bases in contigs.items():
        # Without its end, the last gene is partial.
        genes = finder.find_genes(bases[:-400].encode())
        genes.write_gff(annotation, name, header=name == "one", include_translation_table=True)
        genes.write_translations(residues, name)
    text = annotation.getvalue()
    sequence = "".join(f">{name}\n{bases[:-400]}\n" for name, bases in contigs.items())
    (tmp_path / "a.gff").write_text(text + "##FASTA\n" + sequence)
    (tmp_path / "a.faa").write_text(residues.getvalue())
    genome, given = read_genome(tmp_path / "a.gff"), read_genome(tmp_path / "a.faa")
    assert [(g.contig, g.start, g.protein, g.partial) for g in genome.genes] == [
        (g.contig, g.start, g.protein, g.partial) for g in given.genes
    ]
    assert genome.gene_stats["n_partial"] and {gene.protein[0] for gene in genome.genes if not gene.partial} == {"M"}
    table = tmp_path / "t.tsv"
    table.write_text(f"#query\tCOG\n{given.genes[-1].gene_id}\tK\n")
    assert read_genome(tmp_path / "a.gff", annotations=table).genes[-1].annotations["COG"] == "K"


class TestSequenceApart:
    @pytest.mark.parametrize("suffix", [".fna", ".fa", ".fasta.gz"])
    def test_the_fasta_of_the_same_name_is_read_and_said(self, tmp_path, suffix):
        path = write_gff(tmp_path / "a.b.gff", coding_lines(), bases="")
        content = f">c\n{LINEAR}\n".encode()
        (tmp_path / f"a.b{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        genome = read_genome(path)
        assert proteins(genome) == PROTEINS
        assert genome.notes == (f"its contigs were read from a.b{suffix} beside it",)
        (entry,) = GenomeCatalog.from_files([path])
        assert entry.own_files() == (path, tmp_path / f"a.b{suffix}")
        (tmp_path / "t.csv").write_text("genome_id,gff\ng,a.b.gff\n")
        (row,) = read_catalog(tmp_path / "t.csv")
        assert row.own_files() == entry.own_files() and proteins(row.read()) == PROTEINS

    @pytest.mark.parametrize("column", ["gff", "file"])
    def test_a_catalog_names_the_fasta_in_its_column(self, tmp_path, column):
        write_gff(tmp_path / "a.gff", coding_lines(), bases="")
        (tmp_path / "contigs.fa").write_text(f">c\n{LINEAR}\n")
        (tmp_path / "t.csv").write_text(f"genome_id,{column},fasta\ng,a.gff,contigs.fa\n")
        (row,) = read_catalog(tmp_path / "t.csv")
        assert proteins(row.read()) == PROTEINS and row.own_files() == (tmp_path / "a.gff", tmp_path / "contigs.fa")

    def test_several_are_refused_and_none_too(self, tmp_path):
        path = write_gff(tmp_path / "a.gff", coding_lines(), bases="")
        with pytest.raises(GenomeError, match=r"no sequence .*the option --fasta, the column fasta"):
            read_genome(path)
        for suffix in (".fna", ".fa"):
            (tmp_path / f"a{suffix}").write_text(f">c\n{LINEAR}\n")
        with pytest.raises(GenomeError, match=r"beside it are a.fna, a.fa; say which with the option --fasta"):
            read_genome(path)
        assert proteins(read_genome(path, fasta=tmp_path / "a.fa")) == PROTEINS
        with pytest.raises(InputError, match=r"both called 'a'; rename one. If one is the sequence of the other, give"):
            GenomeCatalog.from_files([path, tmp_path / "a.fna"])

    def test_the_sequence_in_the_file_goes_before_that_beside_it(self, tmp_path):
        path = write_gff(tmp_path / "a.gff", coding_lines())
        (tmp_path / "a.fna").write_text(">other\nACGT\n")
        assert proteins(read_genome(path)) == PROTEINS and read_genome(path).notes == ()
        (entry,) = GenomeCatalog.from_files([path])
        assert entry.own_files() == (path,)

    @pytest.mark.parametrize(
        ("annotated", "given"),
        [
            ("accn|NZ_1", "NZ_1"),
            ("NZ_1", "accn|NZ_1"),
            ("NZ_1.1", "gi|123|ref|NZ_1.1| some strain"),
            ("gnl|X|c_1", "c_1"),
        ],
    )
    def test_prefixes_of_databases_do_not_part_annotation_and_sequence(self, tmp_path, annotated, given):
        lines = [f"##sequence-region {annotated} 1 {len(LINEAR)}\n", *coding_lines(contig=annotated)]
        path = write_gff(tmp_path / "a.gff", lines, header=given)
        assert proteins(read_genome(path)) == PROTEINS

    def test_a_name_that_fits_two_contigs_is_refused(self, tmp_path):
        path = write_gff(tmp_path / "a.gff", coding_lines(contig="c"), header=f"accn|c\n{LINEAR}\n>lcl|c")
        with pytest.raises(GenomeError, match="contig 'c' is not in"):
            read_genome(path)

    @pytest.mark.parametrize("marker", ["", "###\n", "## FASTA\n", "##fasta\n"])
    def test_a_header_implies_the_fasta_part(self, tmp_path, marker):
        assert proteins(read_genome(write_gff(tmp_path / "a.gff", coding_lines(), marker=marker))) == PROTEINS

    def test_an_error_in_the_fasta_part_has_the_line_of_the_file(self, tmp_path):
        path = write_gff(tmp_path / "a.gff", coding_lines(), bases=f"{LINEAR}\n>d\nACG7")
        with pytest.raises(GenomeError, match=r"record 'd' \(line 8\): '7' is no nucleotide"):
            read_genome(path)

    def test_gtf_is_named(self, tmp_path):
        path = write_gff(tmp_path / "a.gtf", [gff_line("c", 7, 39, "+", 'gene_id "f"; transcript_id "t";')])
        with pytest.raises(GenomeError, match="line 2: this is GTF, not GFF3"):
            read_genome(path)


class TestText:
    @pytest.mark.parametrize("kind", ["gff", "gbk", "fna", "faa"])
    @pytest.mark.parametrize("change", ["bom", "crlf", "cr"])
    def test_byte_order_marks_and_line_ends(self, tmp_path, contigs, kind, change):
        path = tmp_path / f"a.{kind}"
        if kind == "gff":
            write_gff(path, coding_lines())
        elif kind == "gbk":
            write_genbank(path, [("f", "7..39")])
        else:
            path.write_text(f">c\n{contigs['one'][:6000]}\n" if kind == "fna" else ">p\nMKVLE\n")
        whole = read_genome(path)
        content = path.read_bytes()
        ends = {"crlf": b"\r\n", "cr": b"\r", "bom": b"\n"}[change]
        path.write_bytes((b"\xef\xbb\xbf" if change == "bom" else b"") + content.replace(b"\n", ends))
        assert read_genome(path).genes == whole.genes

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_a_fasta_headers_description_is_no_sequence(self, tmp_path, contigs, encoding):
        for name, record in (("a.fna", f">c isolé µ\n{contigs['one'][:6000]}\n"), ("a.faa", ">p isolé µ\nMKVLE\n")):
            (tmp_path / name).write_bytes(record.encode(encoding))
            plain = tmp_path / f"plain_{name}"
            plain.write_text(record.replace(" isolé µ", ""))
            assert read_genome(tmp_path / name).genes == read_genome(plain).genes

    def test_names_and_sequences_that_are_no_utf8_are_refused_with_their_line(self, tmp_path):
        path = tmp_path / "a.fna"
        for content in (b">isol\xe9 x\nACGT\n", b">i x\xe9\nAC\xe9GT\n"):
            path.write_bytes(content)
            with pytest.raises(GenomeError, match=r"line [12]: byte 0xe9 is no UTF-8 text; save .*iconv"):
                read_genome(path)
        path.write_bytes(">c\nACéGT\n".encode())
        with pytest.raises(GenomeError, match="'é' is no nucleotide"):
            read_genome(path)
        path.write_bytes(">c\nACGT\n".encode("utf-16"))
        with pytest.raises(GenomeError, match="UTF-16; save it as plain text in UTF-8"):
            read_genome(path)

    def test_separators_of_unicode_in_a_product_do_not_part_a_line(self, tmp_path):
        path = write_gff(tmp_path / "a.gff", coding_lines(extra=";product=β\u2028lactamase\x0b\u0085x"))
        assert read_genome(path).genes[0].annotations["product"] == "β\u2028lactamase\x0b\u0085x"


class TestLocusLines:
    NAME = "NODE_1_length_108_cov_27.667845"

    @pytest.mark.parametrize(
        "rest",
        [
            "108 bp   DNA linear\n26-NOV-2024",
            "108 bp    DNA     circular BCT 26-NOV-2024",
            "108 bp    DNA     linear       26-NOV-2024",
            "108 bp   DNA",
            " 108 bp   DNA linear\n            26-NOV-2024",
        ],
    )
    def test_name_and_length_in_one_word_are_taken_apart(self, tmp_path, rest):
        features = [(name, f"{start}..{start + SIZE[name] - 1}") for name, start in START.items() if name != "r"]
        path = write_genbank(tmp_path / "a.gbk", features, locus=f"LOCUS       {self.NAME}{rest}")
        path.write_text(path.read_text().replace("VERSION     c", "VERSION").replace("ACCESSION   c", "ACCESSION"))
        genome = read_genome(path)
        assert proteins(genome) == {name: PROTEINS[name] for name in "fs"}
        assert dict(genome.contigs) == {self.NAME: 108}

    def test_a_word_that_does_not_end_with_the_length_is_refused_with_advice(self, tmp_path):
        path = write_genbank(tmp_path / "a.gbk", [("f", "7..39")], locus=f"LOCUS       {self.NAME}109 bp DNA linear")
        with pytest.raises(GenomeError, match=r"does not end with the 108 bases .*rename the contigs .*\.gff"):
            read_genome(path)
        path = write_genbank(tmp_path / "b.gbk", [("f", "7..39")], locus="LOCUS       one two three four")
        with pytest.raises(GenomeError, match=r"LOCUS line layout.*; rename the contigs .*the \.gff"):
            read_genome(path)


class TestGeneticCode:
    GENES = ("ATGTGAAAATGGTAA", "ATGAAATGGAAATAA")

    def lines(self, n_with_stop, n, extra=""):
        bases, lines = "CC", []
        for i in range(n):
            gene = self.GENES[0 if i < n_with_stop else 1]
            lines.append(gff_line("c", len(bases) + 1, len(bases) + len(gene), "+", f"ID=g{i}{extra}"))
            bases += gene + "CC"
        return lines, bases

    def test_more_than_five_percent_of_genes_with_a_stop_inside_is_a_warning(self, tmp_path):
        genome = read_genome(write_gff(tmp_path / "a.gff", *self.lines(2, 39)))
        assert len(genome) == 37 and len(genome.notes) == 1
        assert genome.notes[0].startswith("2 of 39 genes (5%) have a stop inside")
        assert "give --translation-table 4" in genome.notes[0]
        assert read_genome(write_gff(tmp_path / "b.gff", *self.lines(2, 40))).notes == ()
        right = read_genome(tmp_path / "a.gff", translation_table=4)
        assert len(right) == 39 and right.notes == () and right.genes[0].protein == "MWKW"

    def test_where_all_are_left_out_the_error_names_the_code(self, tmp_path):
        with pytest.raises(GenomeError, match=r"3 of 3 genes \(100%\) have a stop inside; .*--translation-table 4"):
            read_genome(write_gff(tmp_path / "a.gff", *self.lines(3, 3)))

    def test_proteins_are_told_to_be_translated_again(self, tmp_path):
        (tmp_path / "a.faa").write_text(">a\nM*KW\n>b\nMKWE\n")
        (note,) = read_genome(tmp_path / "a.faa").notes
        assert note.startswith("1 of 2 genes (50%)") and "table 4" in note and "--translation-table" not in note

    def test_genbank_genes_without_a_translation_are_counted_too(self, tmp_path):
        bases = "CC" + self.GENES[0] + "CC"
        path = write_genbank(tmp_path / "a.gbk", [("g", "3..17"), ("h", "join(3..5,9..17)")], bases, qualifiers=())
        assert "1 of 2 genes" in read_genome(path).notes[0]
        assert [gene.protein for gene in read_genome(path, translation_table=4).genes] == ["MWKW", "MKW"]


class TestAnnotationTables:
    def annotations(self, tmp_path, text, name="t.tsv"):
        (tmp_path / name).write_text(text)
        genome = read_genome(write_gff(tmp_path / "a.gff", coding_lines()), annotations=tmp_path / name)
        return {gene.gene_id: dict(gene.annotations) for gene in genome.genes}

    @pytest.mark.parametrize(
        "text",
        [
            "# emapper version: 1.0.3\n# command: x -i y\n#query_name\tKEGG\nf\tK1\nr\tK2\n# 2 queries\n# time: 5\n",
            "## emapper 2.1\n##\n#query\tKEGG\nf\tK1\nr\tK2\n## 2 queries scanned\n",
            "#query\tKEGG\nf\tK1\nr\tK2\n",
            "# a comment\n\n# another\ngene\tKEGG\nf\tK1\nr\tK2\n",
            "\ufeff# a\n#query\tKEGG\r\nf\tK1\r\nr\tK2\r\n",
        ],
    )
    def test_comments_above_the_header(self, tmp_path, text):
        assert self.annotations(tmp_path, text) == {"f": {"KEGG": "K1"}, "r": {"KEGG": "K2"}, "s": {}}

    def test_several_rows_of_a_gene_are_joined_in_their_order(self, tmp_path):
        text = "gene\tpfam\tgo\nf\tPF1\t-\nr\tPF9\tGO:1\nf\tPF0\tGO:2\nf\tPF1\t\n"
        assert self.annotations(tmp_path, text)["f"] == {"pfam": "PF1; PF0", "go": "GO:2"}

    def test_genes_of_a_table_that_the_genome_lacks_are_counted(self, tmp_path):
        (tmp_path / "t.tsv").write_text("gene\tpfam\nf\tPF1\nother\tPF2\nr\tPF3\n")
        genome = read_genome(write_gff(tmp_path / "a.gff", coding_lines()), annotations=tmp_path / "t.tsv")
        assert genome.notes == ("1 of the 3 genes in t.tsv are not among the genome's",)

    @pytest.mark.parametrize(
        "text",
        [
            "f\td41d8cd98f00b204e9800998ecf8427e\t120\tPfam\tPF1\tx\t1\t9\t1e-5\tT\t01-01-2024\t-\t-\t-\t-\n",
            "f\tPF1\nr\tPF2\n",
            "other\t98.5\tPF1\nr\t97.1\tPF2\n",
            "# comment\nf\tPF1\nr\tPF2\n",
        ],
    )
    def test_a_table_without_a_header_is_refused(self, tmp_path, text):
        with pytest.raises(GenomeError, match=r"t.tsv has no header: .*write the names of the columns into a line"):
            self.annotations(tmp_path, text)

    def test_columns_of_one_name_and_other_separators_are_refused(self, tmp_path):
        with pytest.raises(GenomeError, match="two columns are named 'a'"):
            self.annotations(tmp_path, "gene\ta\ta\nf\t1\t2\n")
        with pytest.raises(GenomeError, match=r"the header has one column"):
            self.annotations(tmp_path, "# target name  accession\nf  PF1\n")
