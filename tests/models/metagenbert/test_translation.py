"""Translation of reads, against scikit-bio's six frames."""

from itertools import pairwise, product

import numpy as np
import pytest
from skbio import DNA, GeneticCode

from biomeformer.models.metagenbert.translation import translate_longest_frame
from factories import random_sequences, reverse_complement


def translate(reads: list[str]) -> list[str]:
    sequence = np.frombuffer("".join(reads).encode(), np.uint8)
    letters, offsets = translate_longest_frame(sequence, np.cumsum([0, *map(len, reads)]))
    text = letters.tobytes().decode()
    return [text[begin:end] for begin, end in pairwise(offsets)]


def longest_by_scikit_bio(read: str, table: int) -> str:
    frames = GeneticCode.from_ncbi(table).translate_six_frames(DNA(read).transcribe())
    # The first of equally long ones, forward frames before reverse ones.
    return max((part for frame in frames for part in str(frame).split("*")), key=len, default="")


@pytest.mark.parametrize("table", [1, 11])
def test_longest_frame_equals_the_longest_of_scikit_bios_six_frames(table):
    reads = random_sequences(200, 3, 260, seed=3)
    assert translate(reads) == [longest_by_scikit_bio(read, table) for read in reads]


def test_a_gene_and_its_reverse_complement_give_the_protein():
    # Of all sense codons, so that its other frames have stop codons.
    sense = [codon for codon in map("".join, product("ACGT", repeat=3)) if codon not in ("TAA", "TAG", "TGA")]
    gene = "ATG" + "".join(np.random.default_rng(1).choice(sense, 80)) + "TAA"
    protein = str(GeneticCode.from_ncbi(11).translate(DNA(gene).transcribe())).rstrip("*")
    assert translate([gene, reverse_complement(gene)]) == [protein, protein]


def test_reads_without_a_codon_have_no_protein_and_ambiguous_codons_are_x():
    assert translate(["", "A", "AC", "ATG", "CTNATGAAA"])[:3] == ["", "", ""]
    assert translate(["ATGNAAGCG"]) == ["MXA"]
    assert translate([]) == []
