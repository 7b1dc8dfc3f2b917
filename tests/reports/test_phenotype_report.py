"""The phenotype report: every figure legible, one file, nothing asked for elsewhere; seen in a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from biomeformer.metrics.probabilities import METRICS
from biomeformer.phenotypes import FeatureTable, Study
from biomeformer.phenotypes.discriminative import discriminative_features
from biomeformer.phenotypes.evaluation import interval
from biomeformer.reports import phenotype
from biomeformer.reports import phenotype_figures as draw
from biomeformer.reports.colouring import Colouring
from biomeformer.reports.ordination import ordination_scatter
from biomeformer.reports.phenotype import lead_model, phenotype_report
from browser import look, overlaps, print_to_pdf
from figure_layout import check_texts
from report_factories import LONG, cluster_reads, depth_study, study, tables, target


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return phenotype_report(
        study(),
        path,
        tables=tables(),
        depth=depth_study(),
        cluster_reads=cluster_reads(),
        show_reads=True,
        remark="These <reads> were simulated.",
        n_permutations=19,
    )


def ordination(n_classes=2):
    one, table = target(n_classes), tables(n_classes)["vectors"]
    return ordination_scatter(one.sample_ids, table.shares, Colouring.of_target(one), "PCoA")


FIGURES = {
    "ordination": lambda n: ordination(n).figure,
    "roc": lambda n: draw.roc_figure(study(n), "forest"),
    "precision": lambda n: draw.precision_recall_figure(study(n), "forest"),
    "comparison": lambda n: draw.comparison_figure(study(n)),
    "calibration": lambda n: draw.calibration_figure(study(n), "forest"),
    "confusion": lambda n: draw.confusion_figure(study(n), "vectors", "forest"),
    "entropy": lambda n: draw.entropy_figure(tables(n)["vectors"], target(n)),
    "discriminative": lambda n: draw.discriminative_figure(
        tables(n)["species"], target(n), tables(n)["species"].names[:8], [f"{LONG} {i}" for i in range(8)]
    ),
    "depth": lambda n: draw.depth_figure(depth_study()),
    "gc": lambda n: draw.gc_figure([f"cluster {i}" for i in range(8)], [one.gc for one in cluster_reads()[:8]]),
}


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_covers_another_or_leaves_the_figure(name, n_classes):
    check_texts(FIGURES[name](n_classes))


def test_legends_name_the_area_of_the_curve_drawn_and_the_mean_over_folds():
    one = study()
    evaluated = one.evaluation("vectors", "forest")
    truth, probability = one.target.labels == 1, evaluated.probabilities[:, 1]
    for draw_figure, pooled, metric in (
        (draw.roc_figure, roc_auc_score(truth, probability), "roc_auc"),
        (draw.precision_recall_figure, average_precision_score(truth, probability), "pr_auc"),
        (draw.calibration_figure, brier_score_loss(truth, probability), "brier"),
    ):
        (legend,) = draw_figure(one, "forest").legends
        label = next(text.get_text() for text in legend.get_texts() if text.get_text().startswith("vectors"))
        assert f"pooled {pooled:.3f}" in label and f"folds' mean {evaluated.scores[metric]}" in label
    # Several classes: the area of each class's own curve.
    several = study(3)
    (legend,) = draw.roc_figure(several, "forest").legends
    expected = roc_auc_score(several.target.labels == 2, several.evaluation("vectors", "forest").probabilities[:, 2])
    assert legend.get_texts()[2].get_text() == f"c: pooled {expected:.3f}"


def test_logarithmic_axes_have_plain_numbers():
    """Within one decade minor ticks are labelled too; matplotlib's own labels would show as TeX source."""
    goal = target(2)
    values = np.random.default_rng(0).uniform(0.2, 0.6, (60, 3))
    table = FeatureTable(goal.sample_ids, ("a", "b", "c"), values)
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = draw.discriminative_figure(table, goal, ["a", "b"], ["a", "b"])
        FigureCanvasAgg(figure).draw()
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels(which="both") if tick.get_text()]
    assert len(labels) > 1 and all(float(label) > 0 for label in labels)


def test_a_model_that_learned_nothing_is_said_first(tmp_path):
    one = study(sets=("vectors",), models=("l1",))
    flat = np.full(60, 0.5)
    empty = replace(
        one.evaluations[0],
        probabilities=np.stack([flat, flat], 1),
        scores={metric: interval(np.full(4, 0.5), 0.5) for metric in METRICS},
        n_empty=4,
    )
    nothing = replace(one, evaluations=(empty,))
    page = phenotype_report(nothing, tmp_path / "r.html").read_text()
    assert page.index("learned nothing in any of 4 folds") < page.index("ROC-AUC from vectors")
    assert "0.500 (no interval)" in page and re.search(r"<td class=.\w+.>undefined</td>", page)
    record = nothing.record
    assert "learned nothing" in record["warnings"][0] and record["folds"][0]["n_empty"] == 4
    json.dumps(record, allow_nan=False)
    (tmp_path / "study").mkdir()
    nothing.write(tmp_path / "study")
    again = Study.read(tmp_path / "study")
    assert again.warnings == nothing.warnings and again.evaluations[0].zeros == ("sq", "fixed")


def test_tables_say_first_whether_any_feature_passes(report, tmp_path):
    page = report.read_text()
    vectors = page[page.index("<h2>Most discriminative features: vectors") :]
    n = int((discriminative_features(tables()["vectors"], target())["q"] < 0.05).sum())
    sentence = f"{n} of 30 features differ between the classes at a false discovery rate of 5% (q &lt; 0.05)."
    assert n > 0 and vectors.index(sentence) < vectors.index("<table")
    species = page[page.index("<h2>Most discriminative features: species") :]
    assert species.index("None of 20 features differs") < species.index("<table")
    # Permutations cannot give less than 1/20.
    assert re.search(r"<td class=.\w+.>&lt; 0.05</td>", page)


def test_what_it_says(report):
    page = report.read_text()
    assert page.count("<figure") == 13 and page.count("data:image/svg+xml;base64,") == 11
    assert page.count('class="drawing"') == 2 and page.count('<g class="point"') == 2 * 60
    assert "These &lt;reads&gt; were simulated." in page and "<reads>" not in page and "<more>" not in page
    for section in ("Predictive performance", "Read depth", "Ordination and diversity", "All scores", "Methods"):
        assert f"<h2>{section}</h2>" in page
    for words in ("Most discriminative features: vectors", "Most discriminative features: species", "selected by L1"):
        assert words in page
    first = re.search(r"<tr>\s*<td class=.\w+.>cluster 5</td>(.*?)</tr>", page, re.S).group(1)
    assert "1.000" in first
    assert len(re.findall(r'<code class="read">[ACGT]{150}</code>', page)) == 27
    assert "none of the reads drawn" in page
    methods = page[page.index("<h2>Methods</h2>") :]
    for setting in (
        "a &lt;model&gt;",
        "4-fold",
        "seed 7",
        "9 permutations",
        "19 permutations",
        "100 %, 50 %",
        "1/n²",
        "√N",
    ):
        assert setting in methods, setting
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_equal_studies_give_equal_files(report, tmp_path):
    again = phenotype_report(
        study(),
        tmp_path / "r.html",
        tables=tables(),
        depth=depth_study(),
        cluster_reads=cluster_reads(),
        show_reads=True,
        remark="These <reads> were simulated.",
        n_permutations=19,
    )
    assert again.read_bytes() == report.read_bytes()


@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(report, tmp_path, width):
    seen = look(report, tmp_path, width)
    assert seen.console == [] and seen.requests == []
    assert seen.width == width and seen.scroll_width <= width
    assert sum(box["tag"] in ("IMG", "SVG") for box in seen.boxes) == 13 and all(box["drawn"] for box in seen.boxes)
    assert overlaps(seen.boxes) == []
    assert all(box["right"] <= width + 1 for box in seen.boxes if not box["scrolls"])
    assert all(box["right"] - box["left"] > 300 for box in seen.boxes if box["tag"] in ("IMG", "SVG"))


def test_the_browser_would_have_found_faults(report, tmp_path):
    page = tmp_path / "bad.html"
    faults = '<img src="http://127.0.0.1:9/x.png"><h1 style="margin-top:-40px">over</h1><script>nowhere()</script>'
    page.write_text(report.read_text().replace("<h2>Predictive", f"{faults}<h2>Predictive", 1))
    seen = look(page, tmp_path / "look", 1280)
    assert any("nowhere" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x.png"]
    assert overlaps(seen.boxes) and not all(box["drawn"] for box in seen.boxes)


def test_printed_report_has_few_pages(report, tmp_path):
    pdf = print_to_pdf(report, tmp_path)
    assert pdf.startswith(b"%PDF") and 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14


def test_reads_are_printed_only_where_asked_for(tmp_path):
    options = {"tables": tables(), "cluster_reads": cluster_reads(), "n_permutations": 19}
    page = phenotype_report(study(), tmp_path / "r.html", **options).read_text()
    assert "Reads of these clusters" in page and "200 reads drawn, GC" in page
    assert not any(sequence in page for one in cluster_reads() for sequence in one.examples)


def test_of_many_samples_some_are_tested_and_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("biomeformer.reports.phenotype.MAX_TESTED_SAMPLES", 20)
    rare = np.r_[np.zeros(37, int), 1, 1, 2, np.zeros(20, int)]
    rows = phenotype.tested_rows(rare, 0)
    assert np.bincount(rare[rows]).tolist() == [19, 2, 1] and len(set(rows)) == len(rows)
    options = {"tables": {"vectors": tables()["vectors"]}, "n_permutations": 9}
    page = phenotype_report(study(sets=("vectors",)), tmp_path / "r.html", **options).read_text()
    assert "Tested on 20 of the 60 samples, drawn at random from each group" in page
    assert page.count('<g class="point"') == 60


def test_several_classes_without_tables(tmp_path):
    one = study(3, sets=("own centroids",), models=("deep_sets",))
    assert lead_model(one) == "deep_sets" and lead_model(study()) == "forest"
    page = phenotype_report(replace(one, n_permutations=0), tmp_path / "r.html").read_text()
    assert page.count("<figure") == 5 and "Ordination and diversity" not in page and "DeepSets" in page
    assert (
        "One line per class, one class against the rest." in page
        and "Feature sets compared on the same folds" not in page
    )
