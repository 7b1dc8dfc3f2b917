"""The map of pairs as a figure: every mapped pair once, the largest groups named."""

from __future__ import annotations

import numpy as np
import pandas as pd

from biomeformer.reports.blocks import Picture
from biomeformer.reports.network_figures import pair_map, pair_map_figure
from biomeformer.reports.style import COLOURS


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
    figure = pair_map_figure(table, "cluster")
    axes = figure.axes[0]
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
    assert sorted(map(tuple, drawn)) == sorted(zip(mapped["x"], mapped["y"], strict=True))
    sizes = mapped.loc[mapped["cluster"] >= 0, "cluster"].value_counts()
    n_coloured = len(COLOURS) - 1
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(names[:-1]) == {f"cluster {name} (n = {n})" for name, n in sizes.iloc[:n_coloured].items()}
    assert names[-1] == f"none, or a smaller one (n = {len(mapped) - sizes.iloc[:n_coloured].sum()})"
    colours = {tuple(points.get_facecolor()[0]) for points in axes.collections}
    assert len(colours) == n_coloured + 1


def test_classes_are_named_as_they_are():
    figure = pair_map_figure(pairs(), "class")
    assert {text.get_text().split(" (")[0] for text in figure.legends[0].get_texts()} == {"host", "$soil$"}


def test_many_pairs_are_drawn_as_pixels_and_the_caption_says_so():
    drawn = pair_map(pairs(3000), "cluster", "title", "Caption.")
    assert isinstance(drawn, Picture) and drawn.caption == "Caption. 2,993 points, drawn as pixels."
    assert len(drawn.source()) < 400_000
