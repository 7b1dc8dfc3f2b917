"""Figures of a phenotype study: curves, comparisons, calibration, confusion, discriminative features."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics.curves import CurveKind, calibration_curve, curve_with_band
from ..metrics.diversity import shannon_entropy
from ..metrics.probabilities import METRICS
from ..metrics.targets import CHANCE, MAIN_METRIC, metric_name
from ..phenotypes import FeatureTable, Interval, Study, Target
from .style import (
    COLOURS,
    DOTTED,
    class_ticks,
    group_style,
    is_rasterized,
    make_figure,
    outside_legend,
    shorten,
    use_plain_numbers,
)

CLUSTER = re.compile(r"cluster_\d+")
MODEL_NAMES = {
    "l1": "L1 logistic",
    "lasso": "LASSO",
    "forest": "random forest",
    "boosting": "boosting",
    "deep_sets": "DeepSets",
    "genome_transformer": "transformer",
}


def model_name(study: Study, model: str) -> str:
    """Return a model's name for people."""
    if model == "l1" and study.target.kind == "regression":
        return "L1 linear (lasso)"
    return MODEL_NAMES.get(model, model)


def _ends(span: Interval) -> tuple[float, float]:
    """Return how far an interval extends below and above its mean; 0 if it is undefined."""
    if np.isnan(span.low) or np.isnan(span.high):
        return 0.0, 0.0
    return max(span.mean - span.low, 0.0), max(span.high - span.mean, 0.0)


def _columns(study: Study, model: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, truth as bool `(n,)` and probability `(n,)` of each curve.

    For two classes, one curve per feature set; for more, one curve per class against the rest, and for labels one per
    label, on the first feature set.
    """
    labels = study.target.labels
    if study.target.task == "binary":
        return [(name, labels == 1, study.evaluation(name, model).probabilities[:, 1]) for name in study.feature_sets]
    first = study.evaluation(study.feature_sets[0], model).probabilities
    if study.target.kind == "multilabel":
        return [(name, labels[:, i] == 1, first[:, i]) for i, name in enumerate(study.target.classes)]
    return [(name, labels == i, first[:, i]) for i, name in enumerate(study.target.classes)]


def _draw_curves(study: Study, model: str, kind: CurveKind, metric: str, labels: tuple[str, str]) -> Figure:
    """Draw curves of pooled out-of-fold predictions; the legend names their own area and the mean over folds."""
    columns = _columns(study, model)
    figure, axes = make_figure((5.2, 4.6 + 0.2 * (len(columns) - 1)))
    axes.spines[["top", "right"]].set_visible(True)
    for i, (name, truth, probability) in enumerate(columns):
        curve = curve_with_band(kind, truth, probability, seed=study.seed)
        colour = COLOURS[i % len(COLOURS)]
        area = METRICS[metric](truth.astype(int), np.stack([1 - probability, probability], 1))
        score = f"pooled {area:.3f}"
        if study.target.task == "binary":
            score += f"; folds' mean {study.evaluation(name, model).scores[metric]}"
        axes.plot(curve.x, curve.y, color=colour, linewidth=1.8, label=f"{shorten(name)}: {score}")
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=labels[0], ylabel=labels[1], aspect="equal")
    outside_legend(axes)
    return figure


def roc_figure(study: Study, model: str) -> Figure:
    """Draw ROC curves of out-of-fold predictions with bootstrap bands."""
    labels = ("false positive rate", "true positive rate")
    figure = _draw_curves(study, model, "roc", "roc_auc", labels)
    figure.axes[0].plot([0, 1], [0, 1], **DOTTED)
    return figure


def precision_recall_figure(study: Study, model: str) -> Figure:
    """Draw precision-recall curves of out-of-fold predictions with bootstrap bands."""
    figure = _draw_curves(study, model, "precision_recall", "pr_auc", ("recall", "precision"))
    if study.target.task == "binary":
        prevalence = float((study.target.labels == 1).mean())
        figure.axes[0].axhline(prevalence, **DOTTED)
    return figure


def comparison_figure(study: Study) -> Figure:
    """Draw the main score of every feature set and model with its interval."""
    metric = MAIN_METRIC[study.target.task]
    n_rows = len(study.evaluations)
    figure, axes = make_figure((5.2, 1.3 + 0.34 * n_rows))
    names = []
    for row, (model, features) in enumerate((m, f) for m in study.models for f in study.feature_sets):
        span = study.evaluation(features, model).scores[metric]
        i = study.feature_sets.index(features)
        style: dict[str, Any] = group_style(i) | {"linestyle": "none"}
        # Without an interval there is a marker and no bar.
        below, above = _ends(span)
        axes.errorbar(span.mean, row, xerr=[[below], [above]], capsize=3 if below + above else 0, markersize=6, **style)
        names.append(f"{model_name(study, model)}, {shorten(features, 18)}")
    for border in range(len(study.feature_sets), n_rows, len(study.feature_sets)):
        axes.axhline(border - 0.5, color="#e5e5e5", linewidth=0.8)
    if metric in CHANCE:
        axes.axvline(CHANCE[metric], **DOTTED)
    axes.set_yticks(range(n_rows), names)
    axes.set(ylim=(n_rows - 0.5, -0.5), xlabel=f"{metric_name(metric)} (95 % interval)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure


def depth_figure(study: Study) -> Figure:
    """Draw the main score against the fraction of reads used, one line per model."""
    metric = MAIN_METRIC[study.target.task]
    fractions = study.inputs["read_fractions"]
    figure, axes = make_figure()
    for i, model in enumerate(study.models):
        spans = [study.evaluation(name, model).scores[metric] for name in study.feature_sets]
        # Shift models sideways, so that intervals do not overlap.
        x = np.array([fractions[name] for name in study.feature_sets]) * 1.06 ** (i - (len(study.models) - 1) / 2)
        y = np.array([span.mean for span in spans])
        ends = np.array([_ends(span) for span in spans]).T
        style: dict[str, Any] = group_style(i)
        axes.errorbar(x, y, yerr=ends, capsize=3, linewidth=1.5, label=model_name(study, model), **style)
    axes.set_xscale("log")
    ticks = [fractions[name] for name in study.feature_sets]
    axes.set_xticks(ticks, [shorten(name) for name in study.feature_sets])
    axes.minorticks_off()
    axes.axhline(CHANCE[metric], **DOTTED)
    axes.set(xlabel="fraction of reads", ylabel=f"{metric_name(metric)} (95 % interval)")
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, n_columns=3)
    return figure


def calibration_figure(study: Study, model: str, n_bins: int = 8) -> Figure:
    """Draw observed against predicted probabilities in bins of equal size, with Wilson intervals.

    For two classes, of the second class; for more, of the most probable class being correct.
    """
    figure, axes = make_figure((5.2, 4.6))
    axes.spines[["top", "right"]].set_visible(True)
    axes.plot([0, 1], [0, 1], **DOTTED)
    labels = study.target.labels
    for i, name in enumerate(study.feature_sets):
        evaluation = study.evaluation(name, model)
        if len(study.target.classes) == 2:
            predicted, truth = evaluation.probabilities[:, 1], labels == 1
        else:
            predicted, truth = evaluation.probabilities.max(1), evaluation.probabilities.argmax(1) == labels
        curve = calibration_curve(truth, predicted, n_bins=n_bins, equal_sizes=True)
        x, y = curve.predicted, curve.observed
        ends = np.array([y - curve.low, curve.high - y])
        style: dict[str, Any] = group_style(i)
        pooled = METRICS["brier"](labels, evaluation.probabilities)
        label = f"{shorten(name)}: Brier score pooled {pooled:.3f}; folds' mean {evaluation.scores['brier']}"
        axes.errorbar(x, y, yerr=np.clip(ends, 0, None), capsize=2, linewidth=1.4, markersize=5, label=label, **style)
    event = shorten(study.target.classes[1]) if len(study.target.classes) == 2 else "the most probable class"
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel=f"predicted probability of {event}", ylabel="observed fraction")
    outside_legend(axes)
    return figure


def confusion_figure(study: Study, features: str, model: str) -> Figure:
    """Draw the confusion matrix of out-of-fold predictions."""
    classes, labels = study.target.classes, study.target.labels
    predicted = study.evaluation(features, model).probabilities.argmax(1)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predicted), 1)
    shares = counts / counts.sum(1, keepdims=True)
    figure, axes = make_figure((5.2, 4.2))
    axes.spines[:].set_visible(False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    font_size = 11 if len(classes) <= 4 else 7
    for i, j in np.ndindex(counts.shape):
        text = f"{counts[i, j]}\n{shares[i, j]:.0%}" if len(classes) <= 6 else f"{counts[i, j]}"
        colour = "white" if shares[i, j] > 0.55 else "#222222"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=font_size)
    names = [shorten(name, 16) for name in classes]
    class_ticks(axes, range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def entropy_figure(table: FeatureTable, target: Target) -> Figure:
    """Draw the Shannon entropy of the samples of each class."""
    entropy = shannon_entropy(table.take(target.sample_ids).shares)
    figure, axes = make_figure()
    groups = [entropy[target.labels == i] for i in range(len(target.classes))]
    boxes = axes.boxplot(groups, widths=0.5, showfliers=False, patch_artist=True, medianprops={"color": "#222222"})
    rng = np.random.default_rng(0)
    dots: dict[str, Any] = {"s": 8, "alpha": 0.7, "linewidth": 0, "rasterized": is_rasterized(len(entropy))}
    for i, (box, values) in enumerate(zip(boxes["boxes"], groups, strict=True)):
        colour = COLOURS[i % len(COLOURS)]
        box.set(facecolor=colour, alpha=0.25, edgecolor=colour)
        axes.scatter(i + 1 + rng.uniform(-0.17, 0.17, len(values)), values, **(dots | {"color": colour}))
    class_ticks(axes, range(1, len(groups) + 1), target.classes)
    axes.set_ylabel("Shannon entropy (bits)")
    return figure


def discriminative_figure(table: FeatureTable, target: Target, features: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw the relative abundance of features by class: medians and quartiles, on a logarithmic axis."""
    shares = table.take(target.sample_ids).shares
    columns = {name: i for i, name in enumerate(table.names)}
    values = 100 * shares[:, [columns[name] for name in features]]
    floor = max(float(values[values > 0].min(initial=1.0)) / 2, 1e-5)
    figure, axes = make_figure((5.2, 1.8 + 0.42 * len(features)))
    n_classes = len(target.classes)
    for i, name in enumerate(target.classes):
        low, middle, high = np.quantile(values[target.labels == i], [0.25, 0.5, 0.75], axis=0).clip(floor)
        y = np.arange(len(features)) + (i - (n_classes - 1) / 2) * 0.6 / n_classes
        style: dict[str, Any] = group_style(i) | {"linestyle": "none"}
        axes.errorbar(middle, y, xerr=[middle - low, high - middle], markersize=5, label=shorten(name), **style)
    axes.set_xscale("log")
    use_plain_numbers(axes.xaxis)
    axes.set_yticks(range(len(features)), [shorten(name, 26) for name in names])
    axes.set(ylim=(len(features) - 0.5, -0.5), xlabel="relative abundance (%)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, "upper", 3)
    return figure


def gc_figure(names: Sequence[str], gc: Sequence[np.ndarray]) -> Figure:
    """Draw the distribution of GC content of each cluster's reads, one ridge per cluster."""
    figure, axes = make_figure((5.2, 1.2 + 0.42 * len(names)))
    edges = np.linspace(0, 100, 51)
    middles = (edges[:-1] + edges[1:]) / 2
    for row, values in enumerate(gc):
        heights = np.histogram(100 * values, bins=edges)[0].astype(float)
        if heights.max(initial=0) > 0:
            heights *= 0.85 / heights.max()
            axes.fill_between(middles, row, row - heights, color="#56B4E9", alpha=0.8, linewidth=0)
            mean = 100 * float(values.mean())
            axes.plot([mean, mean], [row, row - 0.85], color="#222222", linewidth=1.2)
    axes.set_yticks(range(len(names)), [shorten(name, 26) for name in names])
    axes.set(ylim=(len(names) - 0.6, -1.0), xlim=(10, 90), xlabel="GC content of the reads (%)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure


def feature_labels(frame: pd.DataFrame, cluster_label: Callable[[int], str] | None = None) -> list[str]:
    """Return short names of features: the lowest rank of a taxon, the number of a cluster.

    Args:
        frame: Features in the column `feature`.
        cluster_label: Returns the label of a cluster, for features that are clusters and have been described.
    """
    names = [str(name) for name in frame["feature"]]
    return [
        cluster_label(int(name.removeprefix("cluster_")))
        if cluster_label is not None and CLUSTER.fullmatch(name)
        else _feature_label(name)
        for name in names
    ]


def _feature_label(name: str) -> str:
    ranks = [rank.strip() for rank in name.replace("|", ";").split(";")]
    # A taxon without a name, such as "s__", is shown by the one above it.
    named = [rank for rank in ranks if rank.strip("_") and not rank.endswith("__")]
    if not named:
        return name
    label = named[-1].removeprefix("s__").replace("_", " ")
    return label if named[-1] == ranks[-1] else f"{label}, {ranks[-1]} unnamed"
