"""Figures of a fine-tuned sequence model: curves, thresholds, calibration, confusion, residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics.curves import MAX_POINTS, CurveKind, calibration_curve, curve_with_band, threshold_curve
from ..sequences.evaluation import SequenceEvaluation
from ..sequences.prediction_table import SplitPredictions
from .style import (
    COLOURS,
    DOTTED,
    MARKERS,
    MAX_VECTOR_POINTS,
    SEQUENTIAL,
    SIZE,
    class_ticks,
    group_style,
    make_figure,
    outside_legend,
    shorten,
    use_plain_numbers,
)

MAX_CURVES = len(COLOURS)
MAX_CELLS_NAMED = 25
MAX_LABELS_SHOWN = 25
N_BINS = 10
EDGES = np.linspace(0, 1, 41)
MARK: dict[str, Any] = {"marker": "o", "color": "#222222", "markersize": 6, "markeredgecolor": "white", "zorder": 4}


def shown_classes(evaluation: SequenceEvaluation, split: str = "test") -> list[int]:
    """Return the classes or labels to draw curves of: the most frequent of those that some but not all sequences have.

    For a binary task, the second class only.
    """
    n, sizes = evaluation.n_sequences[split], list(evaluation.n_by_class[split].values())
    candidates = [1] if evaluation.task == "binary" else range(len(sizes))
    possible = [i for i in candidates if 0 < sizes[i] < n]
    return sorted(sorted(possible, key=lambda i: -sizes[i])[:MAX_CURVES])


def _draw_curves(
    evaluation: SequenceEvaluation,
    predictions: SplitPredictions,
    kind: CurveKind,
    metric: str,
    labels: tuple[str, str],
) -> Figure:
    classes = shown_classes(evaluation)
    figure, axes = make_figure((5.2, 4.6 + 0.2 * (len(classes) - 1)))
    axes.spines[["top", "right"]].set_visible(True)
    for i, label in enumerate(classes):
        curve = curve_with_band(kind, *predictions.column("test", label), seed=evaluation.seed)
        name = evaluation.label_names[label]
        if evaluation.task == "binary":
            span = evaluation.scores[metric]
            score = f"{span['value']:.3f} ({span['low']:.3f}-{span['high']:.3f})"
        else:
            score = f"{evaluation.per_class[name][metric]:.3f}"
        axes.plot(curve.x, curve.y, color=COLOURS[i], linewidth=1.8, label=f"{shorten(name)}: {score}")
        axes.fill_between(curve.x, curve.low, curve.high, color=COLOURS[i], alpha=0.15, linewidth=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=labels[0], ylabel=labels[1], aspect="equal")
    outside_legend(axes)
    return figure


def roc_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw ROC curves of the test split with bootstrap bands, one per class against the rest or per label."""
    figure = _draw_curves(evaluation, predictions, "roc", "roc_auc", ("false positive rate", "true positive rate"))
    figure.axes[0].plot([0, 1], [0, 1], **DOTTED)
    if evaluation.task == "binary":
        negative, positive = (evaluation.per_class[name]["recall"] for name in evaluation.label_names)
        figure.axes[0].plot(1 - negative, positive, **MARK)
    return figure


def precision_recall_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw precision-recall curves of the test split with bootstrap bands; dotted lines show the prevalence."""
    figure = _draw_curves(evaluation, predictions, "precision_recall", "pr_auc", ("recall", "precision"))
    if evaluation.task == "binary":
        figure.axes[0].plot(evaluation.scores["recall"]["value"], evaluation.scores["precision"]["value"], **MARK)
    sizes = list(evaluation.n_by_class["test"].values())
    for i, label in enumerate(shown_classes(evaluation)):
        colour = {"color": COLOURS[i]} if evaluation.task != "binary" else {}
        figure.axes[0].axhline(sizes[label] / evaluation.n_sequences["test"], **(DOTTED | colour))
    return figure


def threshold_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw precision, recall and F1 of the validation split against the threshold, with the chosen one marked.

    For several labels, F1 only.
    """
    classes = shown_classes(evaluation, "validation")
    binary = evaluation.task == "binary"
    figure, axes = make_figure((5.2, 4.0 if binary else 4.2 + 0.2 * len(classes)))
    for i, label in enumerate(classes):
        curve = threshold_curve(*predictions.column("validation", label))
        threshold = evaluation.thresholds[0 if binary else label]
        if binary:
            for line, name, colour in ((curve.precision, "precision", 0), (curve.recall, "recall", 1)):
                axes.plot(curve.thresholds, line, color=COLOURS[colour], linewidth=1.4, label=name)
            axes.plot(curve.thresholds, curve.f1, color=COLOURS[2], linewidth=2, label="F1")
            axes.axvline(threshold, **(DOTTED | {"label": f"chosen: {threshold:.3f}"}))
            axes.plot(threshold, curve.best_f1, "o", color=COLOURS[2], markersize=7, markeredgecolor="white")
        else:
            name = f"{shorten(evaluation.label_names[label])}: {threshold:.3f}"
            axes.plot(curve.thresholds, curve.f1, color=COLOURS[i], linewidth=1.6, label=name)
            style: dict[str, Any] = group_style(i) | {"markersize": 7}
            axes.plot(threshold, curve.best_f1, markeredgecolor="white", **style)
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.03),
        xlabel="threshold",
        ylabel="score on validation split" if binary else "F1",
    )
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, n_columns=2)
    return figure


def calibration_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw observed against predicted probabilities of the test split in ten bins, with Wilson intervals and counts.

    Binary: of the second class. Multi-class: of the most probable class being correct. Multi-label: all labels pooled.
    """
    truth, predicted = predictions.arrays["test"]
    if evaluation.task == "binary":
        outcome, probability = truth == 1, predicted[:, 1]
        event = shorten(evaluation.label_names[1])
    elif evaluation.task == "multi_class":
        outcome, probability = predicted.argmax(1) == truth, predicted.max(1)
        event = "the most probable class"
    else:
        outcome, probability = truth.ravel() == 1, predicted.ravel()
        event = "a label"
    curve = calibration_curve(outcome, probability, n_bins=N_BINS)
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], **DOTTED)
    ends = np.clip([curve.observed - curve.low, curve.high - curve.observed], 0, None)
    upper.errorbar(
        curve.predicted, curve.observed, yerr=ends, color=COLOURS[0], marker="o", capsize=2, linewidth=1.4, markersize=5
    )
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed fraction")
    lower.bar((curve.bins + 0.5) / N_BINS, curve.n, width=0.9 / N_BINS, color=COLOURS[5])
    lower.set(xlabel=f"predicted probability of {event}", ylabel="count")
    lower.locator_params(axis="y", nbins=3)
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw the confusion matrix of the test split, predicting at the threshold (binary) or the most probable class."""
    classes = evaluation.label_names
    truth, predicted = predictions.arrays["test"]
    binary = evaluation.task == "binary"
    labels = (predicted[:, 1] >= evaluation.thresholds[0]).astype(int) if binary else predicted.argmax(1)
    counts = np.bincount(truth * len(classes) + labels, minlength=len(classes) ** 2).reshape(len(classes), -1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = make_figure((5.2, 4.2 if len(classes) <= 8 else 5.2))
    axes.spines[:].set_visible(False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= 6:
        for i, j in np.ndindex(counts.shape):
            colour = "white" if shares[i, j] > 0.55 else "#222222"
            text = f"{counts[i, j]:,}\n{shares[i, j]:.0%}"
            size = 11 if len(classes) <= 3 else 7
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    else:
        figure.colorbar(image, ax=axes, label="fraction of row", shrink=0.8)
    if len(classes) <= MAX_CELLS_NAMED:
        class_ticks(axes, range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), [shorten(name, 16) for name in classes])
        axes.tick_params(labelsize=10 if len(classes) <= 12 else 6)
    return figure


def histogram_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw the distribution of predicted probabilities of the test split, by true class.

    Binary: of the second class. Multi-label: of a label, with and without it. Multi-class: of the true class, one ridge
    per class.
    """
    classes = evaluation.label_names
    truth, predicted = predictions.arrays["test"]
    if evaluation.task == "multi_class":
        shown = shown_classes(evaluation)
        return _ridges([classes[i] for i in shown], [predicted[truth == i, i] for i in shown])
    if evaluation.task == "binary":
        groups = [(shorten(name), predicted[truth == i, 1]) for i, name in enumerate(classes)]
        label = f"probability of {shorten(classes[1])}"
    else:
        groups = [("without the label", predicted[truth == 0]), ("with the label", predicted[truth == 1])]
        label = "probability of a label"
    figure, axes = make_figure((SIZE[0], SIZE[1] + 0.3))
    for i, (name, values) in enumerate(groups):
        heights = 100 * np.histogram(values, EDGES)[0] / max(len(values), 1)
        axes.stairs(heights, EDGES, color=COLOURS[i], linewidth=1.6, label=f"{name} (n = {len(values):,})")
        axes.stairs(heights, EDGES, color=COLOURS[i], fill=True, alpha=0.2)
    if evaluation.task == "binary":
        axes.axvline(evaluation.thresholds[0], **DOTTED)
    axes.set(
        xlim=(-0.01, 1.01), xlabel=label, ylabel="sequences (%)" if evaluation.task == "binary" else "predictions (%)"
    )
    outside_legend(axes)
    return figure


def _ridges(names: list[str], probabilities: list[np.ndarray]) -> Figure:
    figure, axes = make_figure((SIZE[0], 1.2 + 0.5 * len(names)))
    for row, values in enumerate(probabilities):
        heights = np.histogram(values, EDGES)[0].astype(float)
        heights *= 0.85 / heights.max()
        axes.stairs(row - heights, EDGES, baseline=row, fill=True, color=COLOURS[row], alpha=0.8)
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set(xlim=(-0.01, 1.01), ylim=(len(names) - 0.7, -1.0), xlabel="probability of the true class")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure


def label_figure(evaluation: SequenceEvaluation) -> Figure:
    """Draw scores per label of the test split, the label with the highest ROC-AUC first."""
    scores = {name: values for name, values in evaluation.per_class.items() if not np.isnan(values["roc_auc"])}
    names = sorted(scores, key=lambda name: -scores[name]["roc_auc"])
    if len(names) > MAX_LABELS_SHOWN:
        half = MAX_LABELS_SHOWN // 2
        names = names[: MAX_LABELS_SHOWN - half] + names[-half:]
    figure, axes = make_figure((5.2, 1.6 + 0.3 * len(names)))
    for i, (metric, name) in enumerate((("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC"), ("f1", "F1"))):
        values = [scores[label][metric] for label in names]
        axes.plot(values, range(len(names)), MARKERS[i], color=COLOURS[i], markersize=6, label=name)
    axes.set_yticks(range(len(names)), [shorten(name, 18) for name in names])
    axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="score")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, n_columns=3)
    return figure


def _many_points(figure: Figure, axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Draw points, or hexagons with counts if there are many."""
    if len(x) <= MAX_VECTOR_POINTS:
        axes.scatter(x, y, s=14, color=COLOURS[0], alpha=0.5, linewidth=0)
        return
    hexagons = axes.hexbin(x, y, gridsize=45, bins="log", cmap=SEQUENTIAL, mincnt=1, linewidths=0.1)
    bar = figure.colorbar(hexagons, ax=axes, label="sequences", shrink=0.8)
    use_plain_numbers(bar.ax.yaxis)


def regression_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw predicted against true values of the test split."""
    truth, predicted = predictions.arrays["test"]
    figure, axes = make_figure((5.2, 4.4))
    _many_points(figure, axes, truth, predicted)
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(ends, ends, **(DOTTED | {"zorder": 3}))
    name = shorten(evaluation.label_names[0])
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    axes.locator_params(nbins=6)
    return figure


def residual_figure(evaluation: SequenceEvaluation, predictions: SplitPredictions) -> Figure:
    """Draw residuals (predicted minus true) of the test split against predicted values."""
    truth, predicted = predictions.arrays["test"]
    figure, axes = make_figure((5.2, 4.4))
    _many_points(figure, axes, predicted, predicted - truth)
    axes.axhline(0, **(DOTTED | {"zorder": 3}))
    axes.set(xlabel=f"predicted {shorten(evaluation.label_names[0])}", ylabel="predicted - true")
    axes.locator_params(nbins=6)
    return figure


def training_figure(training: pd.DataFrame) -> Figure:
    """Draw the losses against epochs, or against steps if there is no column `epoch`; missing columns are left out."""
    x = "epoch" if "epoch" in training else "step"
    figure, axes = make_figure()
    shown = [name for name in ("training_loss", "validation_loss") if name in training]
    for i, name in enumerate(shown):
        rows = training[[x, name]].dropna()
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_POINTS)).astype(int))
        values = rows.to_numpy(float)[kept]
        marker = MARKERS[i] if len(values) <= 40 else None
        axes.plot(*values.T, color=COLOURS[i], marker=marker, markersize=4, label=name.removesuffix("_loss"))
    axes.set(xlabel=x, ylabel="loss")
    axes.locator_params(axis="x", integer=True, nbins=8)
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, n_columns=2)
    return figure


__all__ = [
    "calibration_figure",
    "confusion_figure",
    "histogram_figure",
    "label_figure",
    "precision_recall_figure",
    "regression_figure",
    "residual_figure",
    "roc_figure",
    "shown_classes",
    "threshold_figure",
    "training_figure",
]
