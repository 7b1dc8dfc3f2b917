"""Test clusters of gene pairs for enriched functions and classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom

# Annotations that are specific to one gene (free text, cross-references, scores), and no function that genes share.
NOT_TERMS = ("note", "name", "protein_id", "locus_tag", "seed_ortholog", "evalue", "score", "gene")
# Annotations of which every letter is a term: "KL" is the categories K and L.
LETTERS = ("COG_category", "COG category")
# Annotations that are one term as a whole, commas and semicolons included.
PHRASES = ("product", "Description")
COLUMNS = ("cluster", "kind", "term", "n_in_cluster", "n_cluster", "n_background", "n_all", "odds_ratio", "p", "q")
# A term of a single member of a cluster is nothing that its members share.
MIN_MEMBERS = 2


def annotation_terms(annotations: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a gene's functional terms as pairs of kind and term: products, EC numbers, COG categories, KEGG and so on.

    Args:
        annotations: As in `Gene.annotations`.

    Returns:
        Different terms in alphabetical order.
    """
    terms = set[tuple[str, str]]()
    for kind, value in annotations.items():
        if kind in NOT_TERMS or not value or value == "-":
            continue
        if kind in LETTERS:
            terms.update((kind, letter) for letter in value if letter.isalpha())
        elif kind in PHRASES:
            terms.add((kind, value))
        else:
            terms.update((kind, term.strip()) for term in value.replace(";", ",").split(",") if term.strip())
    return sorted(terms)


def enrich(
    clusters: Mapping[int, Iterable[Sequence[tuple[str, str]]]],
    background: Counter[tuple[str, str]],
    n_background: int,
) -> pd.DataFrame:
    """Test each term in each cluster with Fisher's exact test, one-sided, and correct for the number of tests.

    Args:
        clusters: For each cluster the terms of each of its members; a term counts once per member.
        background: Number of members with each term, over the whole background, which includes the clusters' members.
        n_background: Number of members of the background.

    Returns:
        One row per cluster and term that at least two of the cluster's members have, with `COLUMNS`, sorted by p:
        `odds_ratio` is infinite where no member outside the cluster has the term, and `q` is Benjamini and Hochberg's
        over all rows.
    """
    rows = []
    for cluster, members in clusters.items():
        counts: Counter[tuple[str, str]] = Counter()
        n_members = 0
        for terms in members:
            counts.update(set(terms))
            n_members += 1
        for (kind, term), count in counts.items():
            if count >= MIN_MEMBERS:
                rows.append((cluster, kind, term, count, n_members, background[kind, term], n_background))
    frame = pd.DataFrame(rows, columns=list(COLUMNS[:7]))
    # The usual letters of the hypergeometric distribution: k of n drawn are among the m marked of N.
    k, n, m, N = (frame[name].to_numpy(np.int64) for name in COLUMNS[3:7])
    if len(frame):
        # The one-sided exact test is the tail of the hypergeometric distribution.
        frame["p"] = hypergeom.sf(k - 1, N, m, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            frame["odds_ratio"] = (k * (N - n - m + k)) / ((n - k) * (m - k))
        frame["q"] = false_discovery_control(frame["p"].to_numpy())
    else:
        frame[["odds_ratio", "p", "q"]] = np.empty((0, 3))
    return frame[list(COLUMNS)].sort_values(["p", "cluster", "kind", "term"], ignore_index=True)


__all__ = ["COLUMNS", "annotation_terms", "enrich"]
