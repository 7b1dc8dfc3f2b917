"""Genes from every kind of file, and one clear sentence where there are none."""

from __future__ import annotations

import gzip

import numpy as np
import pyrodigal
import pytest

from biomeformer.errors import GenomeError, InputError
from biomeformer.genomes import genome_name, read_genome
from biomeformer.genomes.genome import GENE_STATS
from biomeformer.io.nucleotides import codon_table, translate


def fasta(path, **records):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records.items()))
    return path


def pyrodigals_own(contigs, meta=False):
    finder = pyrodigal.GeneFinder(meta=meta)
    sequences = [sequence.encode() for sequence in contigs.values()]
    if not meta:
        finder.train(*sequences)
    return [
        (name, gene.begin, gene.end, gene.strand, gene.translate().removesuffix("*"))
        for name, sequence in zip(contigs, sequences, strict=True)
        for gene in finder.find_genes(sequence)
    ]


def places(genome):
    return [(gene.contig, gene.start, gene.end, gene.strand, gene.protein) for gene in genome.genes]


def test_called_genes_are_pyrodigals_own(genome_file, contigs):
    genome = read_genome(genome_file, threads=2)
    assert places(genome) == pyrodigals_own(contigs) and len(genome) > 60
    assert genome.genome_id == "strain_1.v2" and genome.method.endswith("single mode, translation table 11")
    assert dict(genome.contigs) == {name: len(bases) for name, bases in contigs.items()}
    assert genome.genes[0].gene_id == "one_1" and {gene.source for gene in genome.genes} == {"called"}
    assert genome.contig_ids.tolist() == sorted(genome.contig_ids) and set(genome.contig_ids) == {0, 1}
    joined = "".join(contigs.values())
    assert genome.gc == pytest.approx((joined.count("G") + joined.count("C")) / len(joined))
    assert list(genome.gene_stats) == list(GENE_STATS) and genome.gene_stats["n_bases"] == len(joined)
    for gene in genome.genes:
        assert "*" not in gene.protein and 1 <= gene.start < gene.end <= genome.contigs[gene.contig]


def test_fragments_are_called_in_meta_mode(tmp_path, contigs):
    short = {"one": contigs["one"][:6000]}
    genome = read_genome(fasta(tmp_path / "short.fa", **short))
    assert genome.method.endswith("meta mode") and places(genome) == pyrodigals_own(short, meta=True)
    assert genome.gene_stats["n_partial"] == sum(gene.partial for gene in genome.genes)


def test_compression_case_and_empty_contigs(tmp_path, genome_file, contigs):
    plain = read_genome(genome_file)
    text = genome_file.read_text().replace(contigs["two"], contigs["two"].lower() + "\n>three\n")
    path = tmp_path / "strain.fasta.gz"
    path.write_bytes(gzip.compress(text.encode()))
    genome = read_genome(path)
    assert places(genome) == places(plain) and genome.genome_id == "strain"
    assert genome.gene_stats["n_empty_contigs"] == 1 and genome.gene_stats["n_contigs"] == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.c.fna.gz", "b.c"),
        ("GCF_1.1_genomic.fna", "GCF_1.1_genomic"),
        ("x.gbff.xz", "x"),
        ("y", "y"),
        ("z.GFF3", "z"),
    ],
)
def test_genome_is_named_by_its_file(name, expected):
    assert genome_name(name) == expected


def genbank(path, contigs, genes, translated=True, **qualifiers):
    """A flat file of `genes` (contig, start, end, strand, protein)."""
    from Bio.Seq import Seq
    from Bio.SeqFeature import SeqFeature, SimpleLocation
    from Bio.SeqIO import write
    from Bio.SeqRecord import SeqRecord

    records = []
    for name, bases in contigs.items():
        record = SeqRecord(Seq(bases), id=name, name=name, annotations={"molecule_type": "DNA"})
        for i, (contig, start, end, strand, protein) in enumerate(genes):
            if contig == name:
                values = {"locus_tag": [f"T{i}"], "product": ["some protein"], **qualifiers}
                if translated:
                    values["translation"] = [protein]
                place = SimpleLocation(start - 1, end, strand)
                record.features.append(SeqFeature(place, type="CDS", qualifiers=values))
        records.append(record)
    write(records, path, "genbank")
    return path


def gff(path, contigs, genes, embedded=True, extra=""):
    lines = ["##gff-version 3"]
    for i, (contig, start, end, strand, _) in enumerate(genes):
        sign = "+" if strand > 0 else "-"
        values = f"ID=T{i};locus_tag=T{i};product=some%20protein{extra}"
        lines.append("\t".join([contig, "x", "CDS", str(start), str(end), ".", sign, "0", values]))
    if embedded:
        lines += ["##FASTA", *(f">{name}\n{bases}" for name, bases in contigs.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def whole(contigs):
    """Genes that are whole, as they would be annotated."""
    from biomeformer.genomes.calling import call_genes

    genes, _ = call_genes(contigs)
    return [(g.contig, g.start, g.end, g.strand, g.protein.removesuffix("*")) for g in genes if not g.partial]


def test_genbank_gff_and_fasta_give_the_same_proteins(tmp_path, contigs, whole):
    given = read_genome(genbank(tmp_path / "a.gbk", contigs, whole))
    translated = read_genome(genbank(tmp_path / "b.gbk", contigs, whole, translated=False))
    feature = read_genome(gff(tmp_path / "c.gff3", contigs, whole))
    beside = read_genome(
        gff(tmp_path / "d.gff", contigs, whole, embedded=False), fasta=fasta(tmp_path / "d.fna", **contigs)
    )
    for genome in (given, translated, feature, beside):
        assert places(genome) == whole and genome.method == "annotated"
        assert genome.genes[3].gene_id == "T3" and genome.genes[3].annotations["product"] == "some protein"


def test_a_genbank_record_without_genes_is_called(tmp_path, contigs, whole):
    genome = read_genome(genbank(tmp_path / "a.gbk", contigs, []))
    assert "pyrodigal" in genome.method and len(genome) >= len(whole)


def test_other_codes_starts_and_phases(tmp_path):
    gene = "GTGTGAAAATGGTAA"
    assert translate(gene, 11, has_start=True) == "M*KW*" and translate(gene, 4, has_start=True) == "MWKW*"
    assert translate(gene, 11, has_start=False)[0] == "V" and translate("ATGNNNGC", 11, has_start=True) == "MX"
    with pytest.raises(InputError, match="no translation table 7"):
        codon_table(7)
    contigs = {"c": "AA" + gene + "ACGT" * 10}
    genes = [("c", 3, 17, 1, "")]
    with pytest.raises(GenomeError, match="no gene was found"):
        read_genome(gff(tmp_path / "a.gff", contigs, genes))
    genome = read_genome(gff(tmp_path / "b.gff", contigs, genes, extra=";transl_table=4"))
    assert genome.genes[0].protein == "MWKW"
    assert read_genome(gff(tmp_path / "c.gff", contigs, genes), translation_table=4).genes[0].protein == "MWKW"
    coded = genbank(tmp_path / "d.gbk", contigs, genes, translated=False, transl_table=["4"])
    assert read_genome(coded).genes[0].protein == "MWKW"


def test_a_coding_sequence_in_two_parts(tmp_path):
    text = (
        "##gff-version 3\nc\tx\tCDS\t3\t8\t.\t+\t0\tID=g\nc\tx\tCDS\t11\t16\t.\t+\t0\tID=g\n##FASTA\n"
        ">c\nTTATGGCTTTAAATAAGGGG\n"
    )
    path = tmp_path / "a.gff"
    path.write_text(text)
    genome = read_genome(path)
    assert [gene.protein for gene in genome.genes] == ["MAK"] and (genome.genes[0].start, genome.genes[0].end) == (
        3,
        16,
    )


def test_what_is_left_out_is_tallied(tmp_path, contigs, whole):
    path = gff(tmp_path / "a.gff", contigs, whole[:5])
    text = path.read_text()
    one, two = text.splitlines()[1:3]
    short = two.replace(f"\t{whole[1][2]}\t", f"\t{whole[1][1] + 1}\t")
    text = text.replace(one, one + ";pseudo=true").replace(two, short)
    path.write_text(text)
    genome = read_genome(path)
    assert genome.gene_stats["n_pseudo"] == 1 and genome.gene_stats["n_no_protein"] == 1 and len(genome) == 3
    proteins = fasta(tmp_path / "p.faa", a="MKV*", b="MK*V", c="mkxj", d="MKUOBZ")
    genome = read_genome(proteins)
    assert [gene.protein for gene in genome.genes] == ["MKV", "MKXX", "MKUOBZ"]
    assert genome.gene_stats["n_internal_stop"] == 1 and genome.gene_stats["n_ambiguous_residues"] == 2
    assert genome.method == "proteins given" and np.isnan(genome.gc)


def test_prodigals_proteins_bring_their_places(tmp_path):
    path = tmp_path / "p.faa"
    headers = ("k1_2_1 # 3 # 98 # 1 # ID=1_1;partial=10;", "k1_2_2 # 120 # 200 # -1 # ID=1_2;partial=00;")
    path.write_text(f">{headers[0]}\nMKV*\n>{headers[1]}\nMR\n")
    first, second = read_genome(path).genes
    assert (first.contig, first.start, first.end, first.strand, first.partial) == ("k1_2", 3, 98, 1, True)
    assert (second.contig, second.strand, second.partial) == ("k1_2", -1, False)


def test_annotations_are_joined_by_gene(tmp_path, contigs, whole):
    path = gff(tmp_path / "a.gff", contigs, whole[:3])
    table = tmp_path / "a.emapper.annotations"
    table.write_text("## emapper\n#query\tCOG_category\tDescription\nT1\tK\tregulator\nT2\t-\tother\n## 2 queries\n")
    genes = read_genome(path, annotations=table).genes
    assert genes[1].annotations["COG_category"] == "K" and genes[1].annotations["product"] == "some protein"
    assert "COG_category" not in genes[0].annotations and "COG_category" not in genes[2].annotations
    table.write_text("#query\tCOG\nX9\tK\n")
    with pytest.raises(GenomeError, match=r"names none of the genome's 3 genes \(it has 'X9', the genome 'T0'\)"):
        read_genome(path, annotations=table)


def test_annotations_of_several_rows_a_gene_are_joined(tmp_path, contigs, whole):
    """As InterProScan and dbCAN write them; the comments are those of eggNOG-mapper 1 and 2."""
    path = gff(tmp_path / "a.gff", contigs, whole[:3])
    table = tmp_path / "a.tsv"
    table.write_text('# emapper\n# call\n#query\tpfam\tnote\nT1\tPF2\t"x\nT1\tPF1\t-\nT1\tPF2\ty\n# 1 gene\n')
    found = read_genome(path, annotations=table).genes[1].annotations
    assert (found["pfam"], found["note"]) == ("PF2; PF1", '"x; y')


BAD = {
    "empty.fna": (b"", "is empty"),
    "blank.fna": (b"\n \n", "is empty"),
    "reads.fq": (b"@r\nACGT\n+\nIIII\n", "holds reads in FASTQ"),
    "none.fna": (b"hello\n", "neither FASTA, GenBank nor GFF3"),
    "protein.fna": (b">p\nMKVLEEP\n", "'L' is no nucleotide, this looks like a protein"),
    "digits.fna": (b">p\nACGT1\n", "'1' is no nucleotide"),
    "latin.fna": (b">p\nACG\xe9T\n", "line 2: byte 0xe9 is no UTF-8 text"),
    "twice.fna": (b">a\nACGT\n>a\nACGT\n", "line 3: the record 'a' stands on line 1 already"),
    "unnamed.fna": (b">\nACGT\n", "line 1: the record has no name"),
    "hollow.fna": (b">a\n>b\n", "all 2 records are empty"),
    "noise.fna": (b">a\n" + b"N" * 500 + b"\n", "no gene was found in 500 bases"),
    "noise2.fna": (b">a\n" + b"N" * 50000 + b"\n", "no gene"),
    "dna.faa": (b">a\nACGTACGT\n", "nucleotides, not proteins"),
    "odd.faa": (b">a\nMK7\n", "'7' is no residue"),
    "cut.fna.gz": (gzip.compress(b">a\nACGTACGTACGT\n" * 50)[:-12], "gzip"),
    "bad.gbk": (b"LOCUS       x\nORIGIN\n", "GenBank"),
    "columns.gff": (b"##gff-version 3\nc\tx\tCDS\t1\n##FASTA\n>c\nACGT\n", "line 2: 4 columns where GFF3 has 9"),
    "noseq.gff": (b"##gff-version 3\nc\tx\tCDS\t1\t3\t.\t+\t0\tID=a\n", "has no sequence"),
    "other.gff": (b"##gff-version 3\nd\tx\tCDS\t1\t3\t.\t+\t0\tID=a\n##FASTA\n>c\nACGT\n", "contig 'd' is not in"),
    "beyond.gff": (b"##gff-version 3\nc\tx\tCDS\t1\t9\t.\t+\t0\tID=a\n##FASTA\n>c\nACGT\n", "beyond contig 'c' of 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_genome_files_are_refused_in_one_sentence(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GenomeError) as caught:
        read_genome(tmp_path / name)
    sentence = str(caught.value)
    assert message in sentence and name in sentence and "\n" not in sentence and sentence[-1] in ".?", sentence


def test_missing_files_and_kinds(tmp_path):
    with pytest.raises(GenomeError, match="no such file"):
        read_genome(tmp_path / "none.fna")
    with pytest.raises(GenomeError, match="is a directory"):
        read_genome(tmp_path)
    with pytest.raises(GenomeError, match="kind is 'plasmid'"):
        read_genome(fasta(tmp_path / "a.fna", a="ACGT"), kind="plasmid")


def test_real_genomes_equal_pyrodigals_own(shared_data):
    folder = shared_data / "genomes"
    for path in sorted(folder.glob("*.fna.gz"), key=lambda path: path.stat().st_size)[:3]:
        records = gzip.decompress(path.read_bytes()).decode().split(">")[1:]
        contigs = {r.split(maxsplit=1)[0]: "".join(r.split("\n")[1:]).upper() for r in records}
        assert places(read_genome(path, threads=2)) == [
            place for place in pyrodigals_own(contigs) if "*" not in place[4]
        ]
