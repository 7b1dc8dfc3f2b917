"""HTML report of a transfer between cohorts, or of studies left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics.targets import CHANCE, METRIC_NAMES, metric_name
from ..phenotypes.cohort_transfer import N_BOOTSTRAPS, LabelledCohort, Transfer
from ..version import __version__
from .blocks import Cards, DataTable, Figures, Items, Note, Paragraph, Picture, Section
from .page import write_page
from .phenotype_figures import MODEL_NAMES
from .run_details import command_text
from .style import DOTTED, figure_style, group_style, make_figure, outside_legend, shorten


def transfer_report(
    results: Sequence[Transfer],
    cohorts: Sequence[LabelledCohort],
    path: str | Path,
    *,
    column: str | None = None,
    title: str | None = None,
    trained_on: Sequence[LabelledCohort] = (),
) -> Path:
    """Write a self-contained HTML report.

    Args:
        results: One per model and tested cohort.
        cohorts: The tested cohorts; what their tables warn of is shown.
        path: HTML file to write.
        column: Column whose values were left out in turn; None if the cohorts are tables.
        title: Heading.
        trained_on: Further cohorts that were read, whose warnings are shown too.

    Returns:
        The path written.
    """
    read = [*trained_on, *cohorts]
    target = cohorts[0].target
    unit = "cohort" if column is None else column
    lead = [
        Cards({"samples tested": f"{sum(len(one.target.labels) for one in cohorts):,}"} | _means(results)),
        *(Note(text, is_warning=True) for text in (*reading_remarks(read, "warnings"), *transfer_warnings(results))),
    ]
    notes = reading_remarks(read, "notes")
    with figure_style():
        drawn = Picture(
            transfer_figure(results),
            f"{METRIC_NAMES[results[0].main_metric]} by {unit} tested",
            "The model was trained on the others. Bars: 95 % intervals over bootstraps of the tested samples. "
            "Dotted line: chance.",
        )
        sections = [
            Section(
                "Scores on what was left out", [Figures([drawn]), DataTable(_table(results, cohorts, unit), "scores")]
            ),
            Section("Methods", [Paragraph(_methods(results, cohorts, column)), *([Items(notes)] if notes else [])]),
        ]
        heading = title or f"Predicting {target.column} across {'cohorts' if column is None else f'values of {column}'}"
        models = dict.fromkeys(MODEL_NAMES.get(one.model, one.model) for one in results)
        parameters = {"target": target.column, "cohorts": [one.name for one in cohorts], "models": list(models)}
        options = ("--target", target.column, "--model", "MODEL", "--output", "my-model")
        return write_page(
            path,
            heading,
            lead,
            sections,
            parameters=parameters,
            next_command=command_text("phenotype", "train", "TABLE", *options),
        )


def reading_remarks(cohorts: Sequence[LabelledCohort], kind: Literal["notes", "warnings"]) -> list[str]:
    """Return what was said when the tables of cohorts were read, and, as notes, which samples were left out."""
    remarks = [
        f"{cohort.name}: {text}" for cohort in cohorts for block in cohort.blocks for text in getattr(block, kind)
    ]
    if kind == "notes":
        remarks += [
            f"{cohort.name}: left out: {cohort.target.describe_missing()}"
            for cohort in cohorts
            if cohort.target.n_missing
        ]
    return list(dict.fromkeys(remarks))


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
    figure, axes = make_figure((5.2, 1.5 + 0.24 * len(tested) * (len(models) + 1)))
    for i, model in enumerate(models):
        style: dict[str, Any] = group_style(i) | {"linestyle": "none", "markersize": 6}
        label: str | None = MODEL_NAMES.get(model, model)
        for one in results:
            span = one.scores[results[0].main_metric]
            if one.model != model or np.isnan(span.mean):
                continue
            row = tested.index(one.tested_on) + 0.22 * (i - (len(models) - 1) / 2)
            ends = np.nan_to_num([[span.mean - span.low], [span.high - span.mean]])
            axes.errorbar(span.mean, row, xerr=ends, capsize=3 if ends.any() else 0, label=label, **style)
            label = None
    axes.axvline(CHANCE[results[0].main_metric], **DOTTED)
    axes.set_yticks(range(len(tested)), [shorten(name) for name in tested])
    axes.set(ylim=(len(tested) - 0.5, -0.5), xlabel=f"{METRIC_NAMES[results[0].main_metric]} (95 % interval)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    outside_legend(axes, n_columns=3)
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


__all__ = ["reading_remarks", "transfer_figure", "transfer_report", "transfer_warnings"]
