"""The map of pairs as a figure: every mapped pair once, the largest groups named."""

from __future__ import annotations

import numpy as np
import pandas as pd

from biomeformer.reports.attribution_figures import N_COLOURED, pair_map


def pairs(n=400):
    rng = np.random.default_rng(0)
    # Cluster 0 is the largest, of the eleventh few pairs are left; a fifth is in no cluster.
    cluster = np.where(rng.random(n) < 0.2, -1, np.minimum(rng.geometric(0.25, n) - 1, 10))
    x = rng.normal(size=n)
    x[:7] = np.nan
    return pd.DataFrame(
        {"x": x, "y": rng.normal(size=n), "cluster": cluster, "class": rng.choice(["host", "$soil$"], n)}
    )


def test_every_mapped_pair_is_drawn_once_and_the_largest_clusters_are_named():
    table = pairs()
    mapped = table[table["x"].notna()]
    axes = pair_map(table, "cluster").axes[0]
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
    assert sorted(map(tuple, drawn)) == sorted(zip(mapped["x"], mapped["y"], strict=True))
    sizes = mapped.loc[mapped["cluster"] >= 0, "cluster"].value_counts()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[1:] == [f"cluster {name} (n = {n})" for name, n in sizes.iloc[:N_COLOURED].items()]
    assert names[0] == f"others (n = {len(mapped) - sizes.iloc[:N_COLOURED].sum()})"
    colours = {tuple(points.get_facecolor()[0]) for points in axes.collections}
    assert len(colours) == N_COLOURED + 1


def test_classes_are_named_as_they_are():
    axes = pair_map(pairs(), "class").axes[0]
    assert {text.get_text().split(" (")[0] for text in axes.get_legend().get_texts()} == {"class host", "class $soil$"}
