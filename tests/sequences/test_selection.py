"""Equal sequences, near-duplicates, draws and splits, on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from biomeformer.errors import InputError
from biomeformer.io.nucleotides import bad_letter, digests, fold, reverse_complement
from biomeformer.sequences.duplicates import CONFLICT, DUPLICATE, KEPT, find_duplicates
from biomeformer.sequences.near_duplicates import find_clusters, signatures
from biomeformer.sequences.settings import PreparationSettings
from biomeformer.sequences.splitting import draw_balanced, draw_keys, name_keys, split_groups, split_randomly
from biomeformer.sequences.token_lengths import token_lengths
from factories import random_sequences

SHARES = (0.8, 0.1, 0.1)


def keys_of(n, seed=0):
    return draw_keys(np.random.default_rng(seed).integers(0, 1 << 63, n, dtype=np.uint64), 0)


def changed(sequence, share, seed):
    rng, letters = np.random.default_rng(seed), list(sequence)
    for place in rng.choice(len(letters), int(share * len(letters)), replace=False):
        letters[place] = rng.choice([base for base in "ACGT" if base != letters[place]])
    return "".join(letters)


def test_letters_are_folded_complemented_and_checked():
    assert fold(b"acguNryswkmbdhv") == b"ACGTNRYSWKMBDHV"
    assert reverse_complement(b"AACGRYKMBDHVNSW") == b"WSNBDHVKMRYCGTT"
    assert bad_letter(b"ACGT") is None and bad_letter(b"AC-T") == "-" and bad_letter("AÄ".encode()) == "Ä"


def test_digests_of_both_strands():
    one = digests([b"AACG", b"CGTT", b"AACC"], both_strands=True)
    assert one.shape == (3, 2) and (one[0] == one[1]).all() and (one[0] != one[2]).any()
    two = digests([b"AACG", b"CGTT"], both_strands=False)
    assert (two[0] != two[1]).any()


def test_duplicates_and_conflicts():
    names = [b"AAAC", b"CCCA", b"GTTT", b"AAAC", b"TGGG", b"GATA"]
    found = find_duplicates(digests(names, both_strands=True), np.array([0, 1, 0, 0, 0, 2]))
    assert found.status.tolist() == [KEPT, CONFLICT, DUPLICATE, DUPLICATE, CONFLICT, KEPT]
    assert sorted(found.order.tolist()) == [0, 5] and found.n_conflicts == 1
    assert found.listed.tolist() == [1, 4] and found.listed_group.tolist() == [0, 0]


def test_values_that_agree():
    same = digests([b"AAAC"] * 2 + [b"CCCA"] * 2, both_strands=True)
    found = find_duplicates(same, np.array([1.0, 1.0 + 5e-7, 1.0, 1.1]), 1e-6)
    assert found.status.tolist() == [KEPT, DUPLICATE, CONFLICT, CONFLICT]


def test_at_most_a_thousand_conflicts_are_listed():
    pairs = digests([one.encode() for one in random_sequences(700)], both_strands=True)
    found = find_duplicates(np.concatenate([pairs, pairs]), np.repeat([0, 1], 700))
    assert found.n_conflicts == 700 and len(found.listed) == 1000 and not len(found.order)
    assert found.listed[:4].tolist() == [0, 700, 1, 701] and found.listed_group[-1] == 499


@pytest.mark.parametrize("seed", [0, 7])
def test_random_splits_hit_the_shares(seed):
    strata = np.repeat([0, 1, 2], [1003, 57, 8])
    split = split_randomly(keys_of(len(strata), seed), strata, SHARES)
    for stratum, n in enumerate([1003, 57, 8]):
        counts = np.bincount(split[strata == stratum], minlength=3)
        assert counts.sum() == n and (np.abs(counts - n * np.array(SHARES)) <= 1).all()


def test_shares_of_nothing():
    split = split_randomly(keys_of(100), np.zeros(100, int), (0.7, 0.3, 0.0))
    assert np.bincount(split, minlength=3).tolist() == [70, 30, 0]


def test_draws_do_not_depend_on_order():
    keys, strata = keys_of(500), np.arange(500) % 3
    mixed = np.random.default_rng(1).permutation(500)
    assert (split_randomly(keys, strata, SHARES)[mixed] == split_randomly(keys[mixed], strata[mixed], SHARES)).all()
    assert (draw_balanced(keys, strata)[mixed] == draw_balanced(keys[mixed], strata[mixed])).all()


def test_seeds_give_different_splits():
    numbers = np.arange(500, dtype=np.uint64)
    splits = [split_randomly(draw_keys(numbers, seed), np.zeros(500, int), SHARES) for seed in (0, 1)]
    assert (splits[0] != splits[1]).mean() > 0.2


def test_balanced_draw_takes_equally_many_of_each_class():
    strata = np.repeat([0, 1, 3], [50, 20, 5])
    assert np.bincount(strata[draw_balanced(keys_of(75), strata)]).tolist() == [5, 5, 0, 5]


def test_groups_stay_together_and_reach_the_shares():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 5000)
    strata = rng.integers(0, 2, 5000)
    split = split_groups(groups, name_keys([str(i) for i in range(200)], 0), keys_of(5000), strata, SHARES)
    assert all(len(set(split[groups == group])) == 1 for group in range(200))
    for stratum in range(2):
        found = np.bincount(split[strata == stratum], minlength=3) / (strata == stratum).sum()
        assert np.abs(found - SHARES).max() < 0.01


def test_single_sequences_fill_what_is_lacking():
    groups = np.concatenate([np.zeros(100, int), np.arange(1, 901)])
    split = split_groups(groups, keys_of(901), keys_of(1000), np.arange(1000) % 2, SHARES)
    assert len(set(split[:100])) == 1 and np.bincount(split).tolist() == [800, 100, 100]


@pytest.mark.parametrize("shares", [SHARES, (0.9, 0.0, 0.1)])
def test_three_groups_fill_all_splits(shares):
    groups = np.repeat([0, 1, 2], 50)
    split = split_groups(groups, keys_of(3), keys_of(150), np.zeros(150, int), shares)
    assert set(split) == {i for i, share in enumerate(shares) if share}


def clusters_of(tmp_path, sequences, order=None, similarity=0.3):
    sequences = [one.encode() for one in sequences]
    found = signatures(sequences, digests(sequences, both_strands=True))
    (tmp_path / "signatures").write_bytes(found.tobytes())
    order = np.arange(len(sequences)) if order is None else order
    return find_clusters(tmp_path / "signatures", order, similarity)


def test_signatures_estimate_the_jaccard_index():
    base = random_sequences(1, 2000, 2000)[0]
    for overlap in (0.9, 0.5, 0.2):
        shift = int(1000 * (1 - overlap))
        one, two = base[:1000].encode(), reverse_complement(base[shift : shift + 1000].encode())
        found = signatures([one, two], digests([one, two], both_strands=True))
        shared = (1000 - shift - 11) / (1000 + shift - 11)
        assert (found[0] == found[1]).mean() == pytest.approx(shared, abs=0.13)


@pytest.mark.parametrize(("similarity", "share"), [(0.3, 0.02), (0.7, 0.004)])
def test_families_are_found(tmp_path, similarity, share):
    sequences = random_sequences(300, 400, 600)
    copies = [changed(one, share, i) for i, one in enumerate(sequences)]
    copies = [reverse_complement(one.encode()).decode() if i % 2 else one for i, one in enumerate(copies)]
    found = clusters_of(tmp_path, sequences + copies, similarity=similarity)
    assert (found[:300] == np.arange(300)).all() and (found[300:] == found[:300]).all()


def test_clusters_do_not_depend_on_the_order_of_the_file(tmp_path):
    sequences = random_sequences(200, 200, 300)
    sequences += [changed(one, 0.04, i) for i, one in enumerate(sequences)]
    first = clusters_of(tmp_path, sequences)
    mixed = np.random.default_rng(3).permutation(400)
    second = clusters_of(tmp_path, [sequences[i] for i in mixed], np.argsort(mixed))
    assert (first == second).all() and len(np.unique(first)) < 300


def test_sequences_without_a_kmer_are_alone(tmp_path):
    found = clusters_of(tmp_path, ["ACGT", "ACGA", "N" * 50, "ACGTACGNACG", "A" * 100, "A" * 90])
    assert found.tolist() == [0, 1, 2, 3, 4, 4]
    assert clusters_of(tmp_path, ["ACGT"]).tolist() == [0]


def test_proposed_context_covers_nearly_all_sequences():
    found = token_lengths(np.arange(1, 101), "x", 50)
    assert found.quantiles == {"0.05": 5, "0.5": 50, "0.95": 95, "0.99": 99, "1": 100}
    assert found.proposed_context == 104 and found.cut_at_proposed == 0 and found.cut_at_max_tokens == 0.5
    found = token_lengths(np.r_[np.full(99, 8), 1000], "x", None)
    assert found.proposed_context == 8 and found.cut_at_proposed == 0.01 and found.cut_at_max_tokens is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "ranking"}, "task is 'ranking'; give classification, multi_label, regression"),
        ({"length": 0}, "length is 0"),
        ({"max_n": 2}, "max_n is 2"),
        ({"similarity": 0.1}, "similarity is 0.1"),
        ({"shares": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"shares": (0.0, 0.5, 0.5)}, "train's above 0"),
        ({"balance": True, "task": "regression"}, "balance needs classes"),
        ({"split": "group"}, "go together"),
        ({"group_column": "g"}, "go together"),
        ({"test_contigs": ("chr1",)}, "are of split 'chromosome'"),
        (
            {"split": "chromosome", "test_contigs": ("a",), "validation_contigs": ("a",)},
            "'a' is in both",
        ),
    ],
)
def test_preparation_refuses_bad_settings(settings, words):
    with pytest.raises(InputError) as error:
        PreparationSettings(**settings)
    assert words in str(error.value)
