"""The encoder of amino-acid composition: Biopython's shares, standardised; statistics; windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from Bio.SeqUtils.ProtParam import ProteinAnalysis
from transformers import EsmModel

from biomeformer.genomes.composition import AMINO_ACIDS, composition_encoder, composition_statistics
from biomeformer.genomes.proteins import ProteinEncoder, load_protein_encoder, pack_proteins


def random_proteins(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(20), n)
    return ["".join(rng.choice(list(AMINO_ACIDS), int(rng.integers(5, 400)), p=row)) for row in shares]


def shares_by_biopython(proteins: list[str]) -> np.ndarray:
    percents = [ProteinAnalysis(protein).amino_acids_percent for protein in proteins]
    return np.array([[row[letter] / 100 for letter in AMINO_ACIDS] for row in percents])


@pytest.fixture(scope="module")
def proteins() -> list[str]:
    return random_proteins(200)


def statistics(proteins: list[str]) -> tuple[np.ndarray, np.ndarray]:
    letters = np.frombuffer("".join(proteins).encode(), np.uint8)
    return composition_statistics(letters, np.cumsum([0, *map(len, proteins)]))


def test_statistics_are_those_of_the_shares(proteins):
    mean, spread = statistics(proteins)
    shares = shares_by_biopython(proteins)
    np.testing.assert_allclose(mean, shares.mean(0), atol=1e-12)
    np.testing.assert_allclose(spread, shares.std(0), atol=1e-12)


@pytest.mark.parametrize("max_residues", [1022, 50])
def test_vectors_are_standardised_shares_whatever_the_windows(proteins, max_residues, tmp_path):
    mean, spread = statistics(proteins)
    composition_encoder(mean, spread, max_residues).save_pretrained(tmp_path)
    embedded = load_protein_encoder(tmp_path).embed(proteins)
    assert embedded.n_truncated == 0
    expected = (shares_by_biopython(proteins) - mean) / spread
    np.testing.assert_allclose(embedded.vectors, expected, atol=2e-3)
    np.testing.assert_allclose(embedded.vectors.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(embedded.vectors.std(0), 1, atol=1e-3)


def test_it_is_an_esm_of_transformers(proteins):
    model = composition_encoder(*statistics(proteins), 1022)
    assert isinstance(model, EsmModel) and model.config.num_hidden_layers == 0
    ids = torch.from_numpy(pack_proteins(proteins[:1]).input_ids)[None]
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 1:-1]
    vector = ProteinEncoder(model, "composition").embed(proteins[:1]).vectors[0]
    np.testing.assert_allclose(states.mean(0).numpy(), vector, atol=1e-4)
