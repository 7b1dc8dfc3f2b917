"""Sections of a phenotype report: confounders, and importance of groups of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..metrics.p_values import format_p
from ..metrics.targets import MAIN_METRIC, METRIC_NAMES
from ..phenotypes import Study
from ..phenotypes.confounding import ALL_COLUMNS, ASSOCIATIONS, Confounder
from ..phenotypes.importance import LEAST_CORRELATION, N_REPEATS, GroupImportance
from .blocks import Block, DataTable, Figures, Paragraph, Picture
from .phenotype_figures import MODEL_NAMES
from .style import COLOURS, make_figure, shorten

N_GROUPS = 15
N_NAMED = 3


def confounder_section(study: Study) -> list[Block]:
    """Return the blocks on metadata columns that predict the target or explain the features; empty if not tested."""
    confounding = study.confounding
    if confounding is None or not (confounding.columns or confounding.left_out):
        return []
    order = {name: i for i, name in enumerate(confounding.table["column"])}
    rows = [
        _row(one, confounding.n_permutations, METRIC_NAMES[confounding.metric])
        for one in sorted(confounding.columns, key=lambda one: order[one.column])
    ]
    measures = dict.fromkeys(ASSOCIATIONS[one.measure] for one in confounding.columns if one.measure)
    left_out = "; ".join(f"{name} ({reason})" for name, reason in (confounding.left_out or {}).items())
    left_out = f" Not tested: {left_out}." if left_out else ""
    return [
        Paragraph(
            f"Metadata columns that predict {study.target.column} or explain {confounding.features}. A column that "
            f"predicts as well as the features may be what they tell of.{left_out}"
        ),
        *([DataTable(pd.DataFrame(rows), "columns")] if rows else []),
        Paragraph(
            f"{METRIC_NAMES[confounding.metric]}: a regression on the column alone, on the folds of the study. "
            f"Association: {'; '.join(measures) or 'none'}. R²: share of the variance of {confounding.features} that "
            f"the column explains (PERMANOVA on Bray-Curtis dissimilarities, {confounding.n_permutations} "
            "permutations). q: Benjamini-Hochberg over the columns."
        ),
    ]


def _row(one: Confounder, n_permutations: int, score: str) -> dict[str, str]:
    is_column = one.column != ALL_COLUMNS
    return {
        "column": one.column,
        "kind": one.kind,
        "values": str(one.n_values) if is_column else "",
        "missing": str(one.n_missing) if is_column else "",
        f"{score} alone": str(one.interval),
        "association": _number(one.association) if is_column else "",
        "p": format_p(one.p) if is_column else "",
        "q": format_p(one.q) if is_column else "",
        "R² of features": _number(one.r2) if is_column else "",
        "p of R²": format_p(one.r2_p, n_permutations) if is_column else "",
        "q of R²": format_p(one.r2_q) if is_column else "",
    }


def importance_section(study: Study, model: str) -> list[Block]:
    """Return the blocks on the importance of groups of features; empty if it was not computed."""
    if not study.importance:
        return []
    score = METRIC_NAMES[MAIN_METRIC[study.target.task]]
    blocks: list[Block] = [
        Paragraph(
            "Features that go together across samples (mean absolute Spearman correlation of at least "
            f"{LEAST_CORRELATION}, average linkage) are one group, since a feature whose copy stays in place loses "
            f"nothing when it alone is permuted. Each group was permuted {N_REPEATS} times among the held-out samples "
            "of each fold of one repeat. All groups are in importance.csv, with the L1 selection of each."
        )
    ]
    for name in study.feature_sets:
        groups = [one for one in study.importance if (one.features, one.model) == (name, model)][:N_GROUPS]
        if not groups:
            continue
        drawn = Picture(
            importance_figure(groups, score),
            f"Importance of {name}, {MODEL_NAMES.get(model, model)}",
            f"Mean drop of the {score} over test folds when the features of a group are permuted together, with 95 % "
            "intervals.",
        )
        rows = [
            {
                "group": str(one.group),
                "features": _members(one),
                f"drop of {score}": _span(one),
                **({} if one.selected is None else {"selected by L1 (folds)": f"{one.selected:.0%}"}),
            }
            for one in groups
        ]
        blocks += [Figures([drawn]), DataTable(pd.DataFrame(rows), "groups")]
    return blocks


def importance_figure(groups: list[GroupImportance], score: str) -> Figure:
    """Draw the importance of groups with intervals, the most important on top."""
    figure, axes = make_figure((5.2, 1.2 + 0.3 * len(groups)))
    for row, one in enumerate(groups):
        if one.importance is None:
            continue
        ends = [[0.0], [0.0]]
        if one.low is not None and one.high is not None:
            ends = [[one.importance - one.low], [one.high - one.importance]]
        axes.errorbar(one.importance, row, xerr=ends, fmt="o", color=COLOURS[0], capsize=3 if np.any(ends) else 0)
    axes.axvline(0, color="#888888", linewidth=0.9, linestyle=":")
    names = [shorten(one.members[0], 26) + (f" +{len(one.members) - 1}" if one.members[1:] else "") for one in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.set(ylim=(len(groups) - 0.5, -0.5), xlabel=f"drop of {score} when permuted")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure


def _members(one: GroupImportance) -> str:
    names = ", ".join(shorten(name, 40) for name in one.members[:N_NAMED])
    return names + (f" and {len(one.members) - N_NAMED} more" if len(one.members) > N_NAMED else "")


def _span(one: GroupImportance) -> str:
    if one.importance is None:
        return "undefined"
    if one.low is None or one.high is None:
        return f"{one.importance:.3f} (no interval)"
    return f"{one.importance:.3f} ({one.low:.3f} to {one.high:.3f})"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


__all__ = ["confounder_section", "importance_figure", "importance_section"]
