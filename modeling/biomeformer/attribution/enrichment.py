"""What clusters of gene pairs have more of than the background."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, hypergeom

# Free text of one gene, or cross-references of one: no function that genes share.
NOT_TERMS = ("note", "name", "protein_id", "locus_tag", "seed_ortholog", "evalue", "score", "gene")
LETTERS = ("COG_category", "COG category")
COLUMNS = ("cluster", "kind", "term", "n_in_cluster", "n_cluster", "n_background", "n_all", "odds_ratio", "p", "q")
LEAST = 2


def terms_of(annotations: Mapping[str, str]) -> list[tuple[str, str]]:
    """Functions of a gene, as pairs of kind and term: products, EC numbers, COG categories, KEGG and so on."""
    found = []
    for kind, value in annotations.items():
        if kind in NOT_TERMS or not value or value == "-":
            continue
        if kind in LETTERS:
            found += [(kind, letter) for letter in value if letter.isalpha()]
        elif kind in ("product", "Description"):
            found.append((kind, value))
        else:
            found += [(kind, term.strip()) for term in value.replace(";", ",").split(",") if term.strip()]
    return sorted(set(found))


def enrich(
    clusters: Mapping[int, Iterable[Sequence[tuple[str, str]]]],
    background: Counter[tuple[str, str]],
    n_background: int,
) -> pd.DataFrame:
    """Fisher's exact test of each term in each cluster, one-sided, with Benjamini and Hochberg's q over all tests.

    Args:
        clusters: For each cluster the terms of its members, of which each counts once.
        background: How many of all members have a term; those of clusters are among them.
        n_background: All members.

    Returns:
        One row a cluster and term that at least two of its members have, sorted by p: `odds_ratio` (infinite where
        nobody else has it), `p`, `q`.
    """
    rows = []
    for cluster, members in clusters.items():
        counts: Counter[tuple[str, str]] = Counter()
        n = 0
        for terms in members:
            counts.update(set(terms))
            n += 1
        for (kind, term), k in counts.items():
            if k >= LEAST:
                rows.append((cluster, kind, term, k, n, background[kind, term], n_background))
    frame = pd.DataFrame(rows, columns=list(COLUMNS[:7]))
    k, n, m, every = (frame[name].to_numpy(np.int64) for name in COLUMNS[3:7])
    if len(frame):
        # The one-sided exact test is the tail of the hypergeometric distribution.
        frame["p"] = hypergeom.sf(k - 1, every, m, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            frame["odds_ratio"] = (k * (every - n - m + k)) / ((n - k) * (m - k))
        frame["q"] = false_discovery_control(frame["p"].to_numpy())
    else:
        frame[["odds_ratio", "p", "q"]] = np.empty((0, 3))
    return frame[list(COLUMNS)].sort_values(["p", "cluster", "kind", "term"], ignore_index=True)


__all__ = ["COLUMNS", "enrich", "terms_of"]
