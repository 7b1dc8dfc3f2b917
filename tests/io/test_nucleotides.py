"""Nucleotide helpers against Biopython."""

from __future__ import annotations

import numpy as np
import pytest
from Bio.Seq import Seq

from biomeformer.io.nucleotides import bad_letter, fold, reverse_complement

LETTERS = "ACGTURYSWKMBDHVNacgturyswkmbdhvn"


@pytest.mark.parametrize("letters", ["ACGT", LETTERS.replace("U", "").replace("u", ""), LETTERS, "ACGTN-*. "])
def test_reverse_complement_is_biopythons(letters):
    rng = np.random.default_rng(len(letters))
    sequence = "".join(rng.choice(list(letters), 5000))
    expected = str(Seq(sequence).reverse_complement())
    # Biopython takes a sequence with U and without T for RNA; a mixture and DNA give T and A.
    assert reverse_complement(sequence) == expected
    assert reverse_complement(sequence.encode()) == expected.encode()


def test_reverse_complement_of_nothing_and_of_other_text():
    assert reverse_complement("") == "" and reverse_complement(b"") == b""
    with pytest.raises(UnicodeEncodeError):
        reverse_complement("ACGÉ")


def test_folded_letters_are_nucleotides():
    assert bad_letter(fold(LETTERS.encode())) is None
    assert bad_letter(fold(b"ACG-T*")) == "-"
