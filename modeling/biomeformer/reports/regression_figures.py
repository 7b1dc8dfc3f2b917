"""Figures of a regression: predicted against true numbers, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..metrics.resampling import bootstrap
from ..metrics.targets import metric_name, weighted_scorer
from ..phenotypes import Study
from .style import COLOURS, DOTTED, group_style, is_rasterized, make_figure, shorten


def prediction_figure(study: Study, model: str) -> Figure:
    """Draw out-of-fold predictions against the true numbers, one colour per feature set, with pooled scores."""
    truth = study.target.labels
    figure, axes = make_figure((5.2, 4.6 + 0.4 * (len(study.feature_sets) - 1)))
    for i, name in enumerate(study.feature_sets):
        predicted = study.evaluation(name, model).probabilities
        scores = bootstrap(weighted_scorer("regression", truth, predicted), len(truth), seed=study.seed)
        text = ", ".join(
            f"{metric_name(metric)} {score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
            for metric, score in scores.items()
            if metric != "mae"
        )
        style: dict[str, Any] = group_style(i)
        style |= {"s": 22, "alpha": 0.7, "linewidth": 0, "rasterized": is_rasterized(len(truth))}
        axes.scatter(truth, predicted[:, 0], label=f"{shorten(name)}: {text}", **style)
    values = np.concatenate(
        [truth, *(study.evaluation(name, model).probabilities[:, 0] for name in study.feature_sets)]
    )
    margin = 0.03 * float(np.ptp(values))
    limits = (float(values.min()) - margin, float(values.max()) + margin)
    axes.plot(limits, limits, **DOTTED)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel=f"true {shorten(study.target.column)}", ylabel=f"predicted {shorten(study.target.column)}")
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def error_figure(study: Study, model: str) -> Figure:
    """Draw the errors of out-of-fold predictions from the first feature set against the true numbers."""
    truth = study.target.labels
    errors = study.evaluation(study.feature_sets[0], model).probabilities[:, 0] - truth
    figure, axes = make_figure()
    style: dict[str, Any] = {"s": 22, "alpha": 0.7, "linewidth": 0, "rasterized": is_rasterized(len(truth))}
    axes.scatter(truth, errors, color=COLOURS[0], **style)
    axes.axhline(0, **DOTTED)
    axes.set(xlabel=f"true {shorten(study.target.column)}", ylabel="predicted - true")
    return figure


__all__ = ["error_figure", "prediction_figure"]
