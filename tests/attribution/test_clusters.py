"""Distances that know no order, clusters, families, enrichment."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import fisher_exact
from sklearn.cluster import DBSCAN

from biomeformer.attribution.clusters import (
    GeneSpace,
    dbscan,
    gene_families,
    k_distances,
    knee,
    nearest_neighbours,
    pair_vectors,
)
from biomeformer.attribution.enrichment import annotation_terms, enrich
from biomeformer.attribution.pair_map import pair_map
from biomeformer.errors import InputError
from processes import Job


def distances(ways):
    return np.minimum(cdist(ways[0], ways[0]), cdist(ways[0], ways[1]))


@pytest.fixture
def ways():
    """Forty pairs around four, half of them the other way round, and ten anywhere."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 2, 6))
    first, second = (np.repeat(centres[:, side], 10, 0) + 0.05 * rng.normal(size=(40, 6)) for side in (0, 1))
    first[::2], second[::2] = second[::2].copy(), first[::2].copy()
    return pair_vectors(*(np.concatenate([x, 3 * rng.normal(size=(10, 6))]) for x in (first, second)))


def test_a_pair_has_no_order(ways):
    labels, core = dbscan(ways, 0.8, 5)
    assert [set(labels[i : i + 10]) for i in range(0, 40, 10)] == [{0}, {1}, {2}, {3}] and set(labels[40:]) == {-1}
    assert core[:40].all() and not core[40:].any()
    expected = DBSCAN(eps=0.8, min_samples=5, metric="precomputed").fit(distances(ways)).labels_
    assert len({*zip(labels.tolist(), expected.tolist(), strict=True)}) == 5
    # Without the other way round, halves are apart.
    assert len(set(dbscan(ways[:1], 0.8, 5)[0])) == 9


@pytest.mark.parametrize("block_bytes", [1, 3000, 1 << 20])
def test_clusters_are_scikit_learns(block_bytes):
    """Core points and their clusters are; a point at the border goes to its nearest core point."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 600, 2))
    ways = pair_vectors(first, second)
    every = distances(ways)
    expected = DBSCAN(eps=0.55, min_samples=5, metric="precomputed").fit(every)
    labels, core = dbscan(ways, 0.55, 5, block_bytes=block_bytes)
    assert np.flatnonzero(core).tolist() == expected.core_sample_indices_.tolist() and 50 < core.sum() < 550
    pairs = {*zip(labels[core].tolist(), expected.labels_[core].tolist(), strict=True)}
    assert len(pairs) == len(set(labels[core])) == len(set(expected.labels_[core])) > 2
    assert ((labels >= 0) == (expected.labels_ >= 0)).all() and (labels < 0).any()
    nearest = np.where(core, every, np.inf).argmin(1)
    border = (labels >= 0) & ~core
    assert border.any() and (labels[border] == labels[nearest[border]]).all()


def test_large_clusters_take_little_memory():
    ways = pair_vectors(*np.random.default_rng(0).normal(size=(2, 6000, 2)).astype(np.float32))
    tracemalloc.start()
    labels, _ = dbscan(ways, 50.0, 5, block_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All are neighbours of all: their distances alone would take 144 MB.
    assert (labels == 0).all() and peak < 12 << 20


def test_neighbours_are_the_nearest(ways):
    numbers, found = nearest_neighbours(ways, 7)
    every = distances(ways)
    np.fill_diagonal(every, -1)
    assert (numbers[:, 0] == np.arange(50)).all()
    np.testing.assert_allclose(found[:, 1:], np.sort(every, 1)[:, 1:7], atol=2e-3)
    assert all(len(set(row)) == 7 for row in numbers.tolist())
    np.testing.assert_allclose(k_distances(ways, 6), np.sort(found[:, 6]))
    assert nearest_neighbours(ways[:, :3], 9)[0].shape == (3, 3)


def test_sizes_give_clusters_their_numbers():
    points = np.repeat(np.array([[0.0], [5.0], [9.0]], np.float32), (3, 9, 6), 0)[None]
    labels, _ = dbscan(np.ascontiguousarray(points), 0.5, 2)
    assert labels.tolist() == [2] * 3 + [0] * 9 + [1] * 6


def test_knee_lies_where_the_distances_start_to_rise():
    curve = np.concatenate([np.linspace(0.1, 0.2, 80), np.linspace(0.25, 3, 20)])
    assert 0.18 < knee(curve) < 0.3
    assert knee(np.array([1.0, 1.0, 1.0])) == 1.0 and knee(np.array([0.5])) == 0.5


def test_families_do_not_chain():
    points = np.array([[0.0], [0.9], [1.8], [0.05], [10.0], [1.75]], np.float32)
    # The third is near the second, but not near the first, which stands for both.
    assert gene_families(points, 1.0).tolist() == [0, 0, 1, 0, 2, 1]
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(5000, 3)).astype(np.float32)
    found = gene_families(cloud, 0.5)
    assert np.bincount(found).tolist() == sorted(np.bincount(found), reverse=True)
    first = {label: cloud[np.flatnonzero(found == label)[0]] for label in set(found.tolist())}
    assert max(np.linalg.norm(cloud[i] - first[found[i]]) for i in range(5000)) <= 0.5 + 1e-5
    heads = np.stack(list(first.values()))
    apart = cdist(heads, heads) + 9 * np.eye(len(heads))
    assert apart.min() > 0.5 - 1e-5


def test_gene_space_is_the_main_directions():
    rng = np.random.default_rng(0)
    vectors = 100 + rng.normal(size=(300, 8)) * np.arange(8, 0, -1)
    whole, parted = GeneSpace.fit([vectors], 3), GeneSpace.fit(np.array_split(vectors, 4), 3)
    np.testing.assert_allclose(whole.project(vectors), parted.project(vectors), atol=1e-4)
    centred = vectors - vectors.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert whole.explained_variance == pytest.approx(values[:3].sum() / values.sum(), abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole.project(vectors), axis=1), 1, atol=1e-5)
    everything = GeneSpace.fit([vectors], 8).project(vectors)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(everything @ everything.T, units @ units.T, atol=1e-4)
    with pytest.raises(InputError, match="no gene"):
        GeneSpace.fit([])


@pytest.mark.parametrize(("eps", "min_samples"), [(0.0, 5), (-1.0, 5), (1.0, 0)])
def test_dbscan_refuses_bad_settings(ways, eps, min_samples):
    with pytest.raises(InputError, match="give a distance above 0"):
        dbscan(ways, eps, min_samples)


def test_enrichment_is_fishers():
    rng = np.random.default_rng(0)
    terms = [("COG_category", letter) for letter in "ABCDE"]
    genes = [[term for term in terms if rng.random() < 0.2] for _ in range(400)]
    clusters = {0: [*genes[:20], *([terms[0]] for _ in range(15))], 1: genes[30:60]}
    every = [*genes, *([terms[0]] for _ in range(15))]
    found = enrich(clusters, Counter(term for gene in every for term in gene), len(every))
    assert found.iloc[0][["cluster", "term"]].tolist() == [0, "A"] and found["p"].iloc[0] < 1e-3
    for row in found.itertuples():
        rest = row.n_background - row.n_in_cluster
        cells = [[row.n_in_cluster, row.n_cluster - row.n_in_cluster], [rest, row.n_all - row.n_cluster - rest]]
        odds, p = fisher_exact(cells, alternative="greater")
        assert row.p == pytest.approx(p) and row.odds_ratio == pytest.approx(odds)
    assert (found["q"] >= found["p"]).all() and all(a <= b for a, b in pairwise(found["q"]))
    assert enrich({}, Counter(), 5).empty and list(enrich({}, Counter(), 5).columns) == list(found.columns)


def test_terms_are_read_from_annotation_columns():
    found = annotation_terms(
        {"product": "kinase; type 1", "COG_category": "KL", "EC_number": "1.1.1.1; 2.-", "KEGG_ko": "-", "note": "x",
         "GOs": "GO:1,GO:2"}
    )  # fmt: skip
    assert found == [("COG_category", "K"), ("COG_category", "L"), ("EC_number", "1.1.1.1"), ("EC_number", "2.-"),
                     ("GOs", "GO:1"), ("GOs", "GO:2"), ("product", "kinase; type 1")]  # fmt: skip


def map_pairs(ways) -> int:
    """As on a machine of three cores, of which this process is to use one."""
    os.environ["NUMBA_NUM_THREADS"] = "3"
    torch.set_num_threads(1)
    assert np.isfinite(pair_map(ways, 0)).all()
    return torch.get_num_threads()


def test_mapping_pairs_leaves_torch_its_number_of_threads(ways, tmp_path):
    job = Job(tmp_path, 1, map_pairs, ways)
    assert job.wait() == [1], job.text()
