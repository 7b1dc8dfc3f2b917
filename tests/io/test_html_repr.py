"""Results in notebooks: `_repr_html_` of tables, studies and predictions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biomeformer
from biomeformer.genomes import Genome, GenomePrediction
from biomeformer.io import html_repr
from biomeformer.metagenomes import AbundanceTable, SampleEmbedding
from biomeformer.metagenomes.cluster_descriptions import descriptions_of
from biomeformer.phenotypes import FeatureTable, Predictions, Transfer, make_target, run_study
from biomeformer.phenotypes.evaluation import Interval

IDS = tuple(f"s{i}" for i in range(30))


@pytest.fixture(scope="module")
def table():
    counts = np.random.default_rng(0).integers(1, 50, (30, 8))
    counts[::2, 0] += 200
    index = pd.Index(IDS, name="sample_id")
    stats = pd.DataFrame({"n_reads": counts.sum(1), "n_used": counts.sum(1)}, index=index)
    metadata = pd.DataFrame({"<b>group</b>": ["case", "con\x1btrol"] * 15}, index=index)
    return AbundanceTable(IDS, counts, stats, metadata, {"model": "<script>lab</script>"})


def cells(html):
    """Cells of the table, row by row."""
    return re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", html, re.S)


def test_an_abundance_table_shows_size_columns_and_the_first_and_last_samples(table):
    html = table._repr_html_()
    assert (
        "30 samples, 8 clusters" in html and "s0" in cells(html) and "s29" in cells(html) and "s15" not in cells(html)
    )
    assert "&lt;script&gt;lab" in html and "<script>" not in html and "&lt;b&gt;group" in html
    assert "\x1b" not in html and "con\\x1btrol" in html


def test_a_study_shows_each_score_with_its_interval(table):
    target = make_target(table.metadata, "<b>group</b>", IDS)
    features = FeatureTable.from_abundance(table)
    study = run_study({"vectors": [features]}, target, models=["l1"], n_splits=3, n_repeats=1, n_jobs=1)
    html = study._repr_html_()
    assert str(study.evaluations[0].scores["roc_auc"]) in cells(html) and "3 folds x 1 repeat" in html
    assert "15" in cells(target._repr_html_()) and "30 samples, 8 features" in features._repr_html_()


def test_a_sample_shows_its_largest_clusters_first():
    html = SampleEmbedding(np.array([1, 70, 29]), {"n_reads": 120, "n_used": 100}, "p<1")._repr_html_()
    assert cells(html)[-9:] == ["1", "70", "0.7", "2", "29", "0.29", "0", "1", "0.01"]
    assert "p&lt;1, 100 of 120 reads used" in html


def test_predictions_transfers_and_descriptions_show_their_numbers():
    frame = pd.DataFrame({"case": [0.25]}, index=pd.Index(["s1"], name="sample_id"))
    assert "0.25" in cells(Predictions(frame, failed={"s2": "no reads"})._repr_html_())
    assert "1 sample, 1 could not be used" in Predictions(frame, failed={"s2": "no reads"})._repr_html_()
    moved = Transfer(("a",), "b", "l1", {"roc_auc": Interval(0.75, 0.5, 0.875)}, np.array([[0.5]]))
    assert cells(moved._repr_html_())[-4:] == ["roc_auc", "0.75", "0.5", "0.875"]
    genome = Genome("g", (), {"c": 9}, {}, "called")
    html = GenomePrediction(genome, {"soil": 0.125, "host": 0.875}, 0, 0, ("GC",))._repr_html_()
    assert cells(html)[-4:] == ["host", "0.875", "soil", "0.125"] and "unlike the training genomes in GC" in html
    model = biomeformer.load("metagenbert-mini")
    descriptions, _ = descriptions_of(model)
    assert descriptions.names[511] in cells(descriptions._repr_html_()) and "<frame" not in repr(descriptions)


def test_a_cohort_shows_its_columns():
    cohort = biomeformer.read_cohort(Path(biomeformer.__file__).parent / "example_cohort" / "cohort.csv")
    assert {"case_06", "control", "34"} <= set(cells(cohort._repr_html_())) and "12 samples" in cohort._repr_html_()


def test_of_a_long_table_only_the_ends_are_converted(monkeypatch):
    seen = []
    monkeypatch.setattr(html_repr, "terminal", lambda text: seen.append(text) or text)
    frame = pd.DataFrame({"x": [f"v{i}" for i in range(5_000)]})
    shown = cells(html_repr.html_table(frame, "5,000 rows", frame))
    assert [cell for cell in shown if cell.startswith("v")] == [
        f"v{i}" for i in (0, 1, 2, 3, 4, 4995, 4996, 4997, 4998, 4999)
    ]
    assert "..." in shown and len(seen) < 20
    for n_rows in (9, 10, 11, 12):
        shown = cells(html_repr.html_table(frame, "", frame.head(n_rows)))
        assert ("..." in shown) == (n_rows > html_repr.MAX_ROWS)
