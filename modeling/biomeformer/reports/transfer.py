"""HTML report of a transfer between cohorts, or of studies left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..io.atomic import atomic_write
from ..metrics.targets import CHANCE, METRIC_NAMES, metric_name
from ..phenotypes.cohort_transfer import N_BOOTSTRAPS, LabelledCohort, Transfer
from ..sinks import html
from ..version import __version__
from . import page
from .figure import COLOURS, MARKERS, shorten
from .phenotype_figures import MODEL_NAMES


def transfer_report(
    results: Sequence[Transfer],
    cohorts: Sequence[LabelledCohort],
    path: str | Path,
    *,
    column: str | None = None,
    title: str | None = None,
) -> Path:
    """Write a self-contained HTML report.

    Args:
        results: One per model and tested cohort.
        cohorts: The tested cohorts.
        path: HTML file to write.
        column: Column whose values were left out in turn; None if the cohorts are tables.
        title: Heading.

    Returns:
        The path written.
    """
    target = cohorts[0].target
    unit = "cohort" if column is None else column
    with matplotlib.rc_context({"text.parse_math": False}):
        parts = [
            page.cards({"samples tested": f"{sum(len(one.target.labels) for one in cohorts):,}"} | _means(results)),
            *(f'<p class="note"><b>Warning.</b> {html(text)}</p>' for text in transfer_warnings(results)),
            "<h2>Scores on what was left out</h2>",
            '<div class="figures">',
            page.figure(
                transfer_figure(results),
                f"{METRIC_NAMES[results[0].main_metric]} by {unit} tested",
                "The model was trained on the others. Bars: 95 % intervals over bootstraps of the tested samples. "
                "Dotted line: chance.",
            ),
            "</div>",
            page.table(_table(results, cohorts, unit)),
            "<h2>Methods</h2>",
            f"<p>{html(_methods(results, cohorts, column))}</p>",
        ]
    path = Path(path)
    with atomic_write(path) as partial:
        heading = title or f"Predicting {target.column} across {'cohorts' if column is None else f'values of {column}'}"
        partial.write_text(page.page(heading, "\n".join(parts)), encoding="utf-8")
    return path


def transfer_warnings(results: Sequence[Transfer]) -> list[str]:
    """Say which models learned nothing and which scores are undefined."""
    warnings = [
        f"{MODEL_NAMES.get(one.model, one.model)} learned nothing for {one.tested_on} (it predicts the same for every "
        "sample); no result."
        for one in results
        if one.learned_nothing
    ]
    single = dict.fromkeys(one.tested_on for one in results if np.isnan(one.scores[results[0].main_metric].mean))
    return warnings + [
        f"{METRIC_NAMES[results[0].main_metric]} of {name} is undefined, since all its samples have the same value."
        for name in single
    ]


def transfer_figure(results: Sequence[Transfer]) -> Figure:
    """Draw the score of every model on every tested cohort with its interval."""
    tested = list(dict.fromkeys(one.tested_on for one in results))
    models = list(dict.fromkeys(one.model for one in results))
    figure = Figure(figsize=(5.2, 1.5 + 0.24 * len(tested) * (len(models) + 1)), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    for i, model in enumerate(models):
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "fmt": MARKERS[i % len(MARKERS)], "markersize": 6}
        label: str | None = MODEL_NAMES.get(model, model)
        for one in results:
            span = one.scores[results[0].main_metric]
            if one.model != model or np.isnan(span.mean):
                continue
            row = tested.index(one.tested_on) + 0.22 * (i - (len(models) - 1) / 2)
            ends = np.nan_to_num([[span.mean - span.low], [span.high - span.mean]])
            axes.errorbar(span.mean, row, xerr=ends, capsize=3 if ends.any() else 0, label=label, **style)
            label = None
    axes.axvline(CHANCE[results[0].main_metric], color="#888888", linewidth=0.9, linestyle=":")
    axes.set_yticks(range(len(tested)), [shorten(name) for name in tested])
    axes.set(ylim=(len(tested) - 0.5, -0.5), xlabel=f"{METRIC_NAMES[results[0].main_metric]} (95 % interval)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _means(results: Sequence[Transfer]) -> dict[str, str]:
    means = {}
    for model in dict.fromkeys(one.model for one in results):
        values = [one.scores[results[0].main_metric].mean for one in results if one.model == model]
        known = [value for value in values if not np.isnan(value)]
        name = f"mean {METRIC_NAMES[results[0].main_metric]}, {MODEL_NAMES.get(model, model)}"
        means[name] = f"{np.mean(known):.3f}" if known else "undefined"
    return means


def _table(results: Sequence[Transfer], cohorts: Sequence[LabelledCohort], unit: str) -> pd.DataFrame:
    target_of = {one.name: one.target for one in cohorts}
    rows = []
    for one in results:
        target = target_of[one.tested_on]
        sizes = ", ".join(f"{name} {text}" for name, text in target.summary.items())
        row = {f"{unit} tested": one.tested_on, "samples": sizes, "model": MODEL_NAMES.get(one.model, one.model)}
        rows.append(row | {metric_name(name): str(span) for name, span in one.scores.items()})
    return pd.DataFrame(rows)


def _methods(results: Sequence[Transfer], cohorts: Sequence[LabelledCohort], column: str | None) -> str:
    how = "cohort" if column is None else f"value of the column {column}"
    tested = len({one.tested_on for one in results})
    what = (
        f"Each {how} was left out in turn ({tested}), and predicted by models trained on all others."
        if tested > 1
        else f"Models were trained on {', '.join(results[0].trained_on)} and tested on {results[0].tested_on}."
    )
    return (
        f"{cohorts[0].target.column} was predicted. {what} Strengths of penalties were chosen on folds that leave "
        f"whole cohorts of the training samples out. Intervals are over {N_BOOTSTRAPS} bootstraps of the tested "
        "samples: they say how certain a score is, not how it varies between cohorts. Computed with biomeformer "
        f"{__version__}."
    )


__all__ = ["transfer_figure", "transfer_report", "transfer_warnings"]
