"""The report of a fine-tuned sequence model: every figure legible, one file, nothing asked for elsewhere."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_curve

from biomeformer.errors import TableError
from biomeformer.reports import sequence_figures as draw
from biomeformer.reports.sequence_report import sequence_report
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import SplitPredictions, prediction_table
from browser import look, overlaps
from figure_layout import check_texts

NAMES = {
    "binary": ("inactive in every tissue that was looked at", "active <b>enhancer</b> & more of $it$"),
    "multi_class": ("a class of a long name & <more>", "promoter", "an enhancer of colon", "silencer", "none"),
    "multi_label": ("H3K27ac", "H3K4me1 <in> colon, a long name", "CTCF", "never there"),
    "regression": ("log activity of <the> reporter gene",),
}
N_FIGURES = {"binary": 7, "multi_class": 5, "multi_label": 6, "regression": 2}


@cache
def predictions(task, n=400, seed=0):
    rng = np.random.default_rng(seed)
    names = NAMES[task]
    splits = ["validation" if i % 2 else "test" for i in range(n)]
    ids = [f"s{i}" for i in range(n)]
    if task == "regression":
        truth = rng.normal(size=n)
        return prediction_table(task, names, ids, splits, truth, 0.8 * truth + 0.4 * rng.normal(size=n))
    if task == "multi_label":
        truth = (rng.random((n, len(names))) < [0.5, 0.3, 0.1, 0.0]).astype(int)
        return prediction_table(
            task, names, ids, splits, truth, 1 / (1 + np.exp(-rng.normal(size=truth.shape) - 2 * (truth - 0.5)))
        )
    truth = rng.choice(len(names), n, p=[0.6, 0.4] if task == "binary" else [0.3, 0.3, 0.2, 0.1, 0.1])
    scores = rng.normal(size=(n, len(names)))
    scores[np.arange(n), truth] += 1.5
    return prediction_table(task, names, ids, splits, truth, np.exp(scores) / np.exp(scores).sum(1, keepdims=True))


def arrays(task, n=400):
    return SplitPredictions.from_table(predictions(task, n), task, NAMES[task])


@cache
def evaluation(task, n=400):
    return SequenceEvaluation.from_predictions(
        predictions(task, n),
        task,
        NAMES[task],
        model="a <model> of enhancers",
        base_model="zhihan1996/DNABERT-2-117M",
        settings={"epochs": 3, "learning rate": 3e-5, "data": "some <file>.tsv"},
        n_bootstraps=50,
    )


def training():
    epochs = np.arange(1, 6)
    return pd.DataFrame({"epoch": epochs, "training_loss": 1 / epochs, "validation_loss": 0.3 + 1 / epochs})


@pytest.fixture(scope="module", params=NAMES)
def report(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / f"{request.param}.html"
    losses = training() if request.param == "binary" else None
    return sequence_report(evaluation(request.param), predictions(request.param), path, training=losses)


def figures(task, n=400):
    found, table = evaluation(task, n), arrays(task, n)
    if task == "regression":
        return [draw.regression_figure(found, table), draw.residual_figure(found, table)]
    drawn = [draw.roc_figure, draw.precision_recall_figure, draw.calibration_figure, draw.histogram_figure]
    drawn += [] if task == "multi_class" else [draw.threshold_figure]
    drawn += [] if task == "multi_label" else [draw.confusion_figure]
    made = [one(found, table) for one in drawn]
    return [*made, draw.label_figure(found)] if task == "multi_label" else [*made, draw.training_figure(training())]


@pytest.mark.parametrize("task", NAMES)
def test_no_text_covers_another_or_leaves_the_figure(task):
    for figure in figures(task):
        check_texts(figure)


def many(task, n_labels):
    """An evaluation of many classes or labels."""
    rng = np.random.default_rng(0)
    names, n = [f"a class of a long name, number {i}" for i in range(n_labels)], 600
    predicted = rng.dirichlet(np.ones(n_labels), n)
    truth = rng.integers(0, n_labels, n) if task == "multi_class" else rng.integers(0, 2, predicted.shape)
    splits = ["validation", "test"] * (n // 2)
    table = prediction_table(task, names, [str(i) for i in range(n)], splits, truth, predicted)
    return SequenceEvaluation.from_predictions(table, task, names, n_bootstraps=2), table


@pytest.mark.parametrize(("task", "n_labels"), [("multi_class", 12), ("multi_class", 40), ("multi_label", 40)])
def test_figures_of_many_classes_show_a_few_curves(task, n_labels):
    found, predicted = many(task, n_labels)
    table = SplitPredictions.from_table(predicted, task, found.label_names)
    assert len(draw.shown_classes(found)) == draw.MAX_CURVES
    if task == "multi_label":
        drawn = [draw.threshold_figure(found, table), draw.label_figure(found)]
    else:
        drawn = [draw.roc_figure(found, table), draw.confusion_figure(found, table)]
    for figure in drawn:
        check_texts(figure)


def test_it_says_how_many_classes_are_drawn(tmp_path):
    text = sequence_report(*many("multi_class", 12), tmp_path / "r.html").read_text()
    assert text.count("The 8 most frequent of 12 are drawn.") == 2


def test_curves_of_many_sequences_are_thinned_and_stay_where_they_are():
    n = 60_000
    found, table = evaluation("binary", n), predictions("binary", n)
    truth = (table["truth"] == NAMES["binary"][1])[table["split"] == "test"].to_numpy()
    probability = table[f"probability {NAMES['binary'][1]}"][table["split"] == "test"].to_numpy()
    false_rates, true_rates, _ = roc_curve(truth, probability)
    table = arrays("binary", n)
    line = draw.roc_figure(found, table).axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), np.interp(line.get_xdata(), false_rates, true_rates), atol=2e-3)
    recalled = draw.precision_recall_figure(found, table).axes[0]
    assert recalled.lines[0].get_ydata().mean() == pytest.approx(average_precision_score(truth, probability), abs=2e-3)
    # The band, too, ends where the first positive is found.
    assert recalled.collections[0].get_paths()[0].vertices[:, 1].min() > 0.3
    for axes in draw.threshold_figure(found, table).axes:
        assert all(len(line.get_xdata()) <= draw.MAX_POINTS + 1 for line in axes.lines)
    regression = draw.regression_figure(evaluation("regression", n), arrays("regression", n))
    assert len(regression.axes[0].collections[0].get_offsets()) < 3000


def test_the_chosen_threshold_is_marked():
    found = evaluation("binary")
    axes = draw.threshold_figure(found, arrays("binary")).axes[0]
    mark = next(line for line in axes.lines if line.get_marker() == "o")
    assert mark.get_xdata()[0] == found.thresholds[0]
    assert mark.get_ydata()[0] == pytest.approx(found.validation_scores["f1"]["value"])


def test_what_it_says(report):
    text, task = report.read_text(), report.stem
    assert text.count("<figure>") == text.count("data:image/svg+xml;base64,") == N_FIGURES[task]
    assert "a &lt;model&gt; of enhancers" in text and "some &lt;file&gt;.tsv" in text and "DNABERT-2-117M" in text
    for name in ("<model>", "<b>enhancer", "<more>", "<in>", "<the>"):
        assert name not in text
    assert "test, 200 sequences" in text and "validation, 200 sequences" in text
    methods = text[text.index("<h2>Methods</h2>") :]
    assert "50 draws for test" in methods and "seed 0" in methods
    assert ("applied to the test sequences unchanged" in methods) == (task in ("binary", "multi_label"))
    assert text.index('class="numbers"') < text.index("<h2>Scores</h2>") < text.index("<figure>")
    assert ("on test</h2>" in text) == (task != "regression")
    assert "http://" not in text and "https://" not in text
    score = evaluation(task).scores["pearson" if task == "regression" else "roc_auc"]
    assert f"{score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f})" in text
    assert ("<h2>Training</h2>" in text) == (task == "binary")


def test_equal_inputs_give_equal_files(report, tmp_path):
    task = report.stem
    again = sequence_report(
        SequenceEvaluation.load(evaluation(task).save(tmp_path).parent),
        predictions(task),
        tmp_path / "again.html",
        training=training() if task == "binary" else None,
    )
    # The command at its end names the folder.
    assert again.read_text().replace(tmp_path.name, report.parent.name) == report.read_text()


@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(report, tmp_path, width):
    seen = look(report, tmp_path, width)
    assert seen.console == [] and seen.requests == []
    assert seen.width == width and seen.scroll_width <= width
    assert sum(box["tag"] == "IMG" for box in seen.boxes) == N_FIGURES[report.stem]
    assert all(box["drawn"] for box in seen.boxes)
    assert overlaps(seen.boxes) == []
    assert all(box["right"] <= width + 1 for box in seen.boxes if not box["scrolls"])
    assert all(box["right"] - box["left"] > 300 for box in seen.boxes if box["tag"] == "IMG")


def test_one_class_only(tmp_path):
    ids, splits = [*"abcd"], ["validation", "test"] * 2
    second = np.array([0.2, 0.4, 0.6, 0.8])
    table = prediction_table("binary", ["x", "y"], ids, splits, np.zeros(4, int), np.stack([1 - second, second], 1))
    found = SequenceEvaluation.from_predictions(table, "binary", ["x", "y"], n_bootstraps=5)
    text = sequence_report(found, table, tmp_path / "r.html", title="Only <x>").read_text()
    assert "there are no curves to draw" in text and "not defined" in text and text.count("<figure>") == 3
    assert "<h1>Only &lt;x&gt;</h1>" in text and "<h2>Settings</h2>" not in text


def test_losses_by_step():
    losses = pd.DataFrame({"step": np.arange(5000), "training_loss": np.linspace(1, 0, 5000)})
    losses["validation_loss"] = np.where(losses["step"] % 1000 == 0, 0.5, np.nan)
    axes = draw.training_figure(losses).axes[0]
    assert axes.get_xlabel() == "step" and len(axes.lines[0].get_xdata()) == draw.MAX_POINTS
    assert axes.lines[1].get_xdata().tolist() == [0, 1000, 2000, 3000, 4000]


def test_predictions_of_something_else(tmp_path):
    other = predictions("binary").rename(columns=lambda name: name.replace("active", "quiet"))
    with pytest.raises(TableError, match="no column 'probability inactive in every tissue"):
        sequence_report(evaluation("binary"), other, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
