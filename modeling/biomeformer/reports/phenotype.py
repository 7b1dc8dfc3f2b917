"""A study of a phenotype as one HTML file: how well it is predicted, from what, and what tells the classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from ..io.atomic import atomic_write
from ..metagenomes.cluster_reads import ClusterReads
from ..phenotypes import FeatureTable, Study, compare_groups
from ..phenotypes.discriminative import discriminative_features
from ..version import __version__
from . import page
from . import phenotype_figures as draw
from .html import methods_sentence

N_TELLING = 10
N_LISTED = 25
METRIC_NAMES = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
TEST_NAMES = {"permanova": "PERMANOVA (centres)", "permdisp": "PERMDISP (spreads)", "entropy": "Shannon entropy"}
DISTANCE_NAMES = {"bray_curtis": "Bray-Curtis", "jensen_shannon": "Jensen-Shannon", "aitchison": "Aitchison", "": ""}


def lead_model(study: Study) -> str:
    """The model whose curves are drawn: the random forest where there is one, whatever its score, else the first."""
    return "forest" if "forest" in study.models else study.models[0]


def telling_clusters(table: FeatureTable, study: Study) -> list[int]:
    """Numbers of the clusters that the report shows."""
    features = discriminative_features(table, study.target)["feature"][:N_TELLING]
    return [int(name.removeprefix("cluster_")) for name in features]


def phenotype_report(
    study: Study,
    path: str | Path,
    *,
    tables: dict[str, FeatureTable] | None = None,
    depth: Study | None = None,
    cluster_reads: Sequence[ClusterReads] = (),
    title: str | None = None,
    remark: str | None = None,
    n_permutations: int = 999,
) -> Path:
    """Write a self-contained HTML report of a study.

    Args:
        study: What was evaluated.
        path: HTML file to write.
        tables: The features by name, for ordination, tests and what tells classes apart; without them these are left
            out.
        depth: The same at several read depths.
        cluster_reads: What the reads of the first table's most telling clusters look like.
        title: Heading.
        remark: Shown at the top: for instance that reads were simulated.
        n_permutations: Of the tests between groups.

    Returns:
        The path written.
    """
    tables = tables or {}
    # Names are text: a $ in one does not begin a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        parts = [
            f'<p class="note">{escape(remark)}</p>' if remark else "",
            _summary(study),
            _prediction(study),
            _depth(depth) if depth is not None else "",
            _samples(study, tables, n_permutations) if tables else "",
            *(_telling(study, name, tables[name], cluster_reads if i == 0 else ()) for i, name in enumerate(tables)),
            f"<h2>All scores</h2>{page.table(_score_table(study))}",
            f"<h2>Methods</h2>{_methods(study, tables, depth, n_permutations)}",
        ]
    path = Path(path)
    with atomic_write(path) as partial:
        partial.write_text(page.page(title or f"Predicting {study.target.column}", "\n".join(parts)), encoding="utf-8")
    return path


def _summary(study: Study) -> str:
    model = lead_model(study)
    numbers = {"samples": f"{len(study.target.labels):,}"}
    numbers |= {f"are {name}": f"{n:,}" for name, n in study.target.sizes.items()}
    for name in study.feature_sets[:3]:
        found = study.evaluation(name, model)
        numbers[f"ROC-AUC from {name}, {draw.MODEL_NAMES.get(model, model)}"] = str(found.scores["roc_auc"])
        if found.permutation_p is not None:
            numbers[f"p against permuted labels, {name}"] = f"{found.permutation_p:.3g}"
    return page.cards(numbers)


def _prediction(study: Study) -> str:
    model = lead_model(study)
    name = draw.MODEL_NAMES.get(model, model)
    several = len(study.target.classes) > 2
    lines = "One line a class against all others." if several else "One line a feature set."
    shown = [
        page.figure(
            draw.comparison_figure(study),
            "Feature sets and models",
            "Mean over test folds with 95 % intervals of the corrected resampled t-test; 0.5 is chance.",
        ),
        page.figure(
            draw.roc_figure(study, model),
            f"ROC, {name}",
            f"Out-of-fold probabilities of all samples together. {lines} Bands: 95 % over bootstraps of the samples.",
        ),
        page.figure(
            draw.precision_recall_figure(study, model),
            f"Precision and recall, {name}",
            "As for ROC. A dotted line is the share of the class in the cohort, which chance reaches.",
        ),
        page.figure(
            draw.calibration_figure(study, model),
            f"Calibration, {name}",
            "Samples in groups of similar predicted probability; bars are 95 % Wilson intervals. On the dotted line, "
            "probabilities mean what they say.",
        ),
        page.figure(
            draw.confusion_figure(study, study.feature_sets[0], model),
            f"Confusion, {name} on {study.feature_sets[0]}",
            "Samples by class and by the class predicted out of fold; shares are of each row.",
        ),
    ]
    compared = ""
    if study.comparisons:
        frame = pd.DataFrame(
            [
                {
                    "compared": f"{one.first} - {one.second}",
                    "model": draw.MODEL_NAMES.get(one.model, one.model),
                    "difference in ROC-AUC": str(one.difference),
                    "p": f"{one.p:.3g}",
                }
                for one in study.comparisons
            ]
        )
        compared = f"<h3>Feature sets compared on the same folds</h3>{page.table(frame)}"
    return f'<h2>How well it is predicted</h2><div class="figures">{"".join(shown)}</div>{compared}'


def _depth(depth: Study) -> str:
    drawn = page.figure(
        draw.depth_figure(depth),
        "ROC-AUC by read depth",
        "The reads of a smaller share are among those of a larger one; folds are the same at every depth.",
    )
    return f'<h2>From fewer reads</h2><div class="figures">{drawn}</div>{page.table(_score_table(depth))}'


def _samples(study: Study, tables: dict[str, FeatureTable], n_permutations: int) -> str:
    shown, rows = [], []
    groups = [study.target.classes[label] for label in study.target.labels]
    for name, table in tables.items():
        mine = table.take(study.target.sample_ids, name)
        shown.append(
            page.figure(
                draw.ordination_figure(mine, study.target),
                f"Samples by {name}",
                "Principal coordinates of Bray-Curtis dissimilarities; close samples are alike.",
            )
        )
        shown.append(
            page.figure(
                draw.entropy_figure(mine, study.target),
                f"Diversity by {name}",
                "Shannon entropy of each sample; boxes are quartiles.",
            )
        )
        for one in compare_groups(mine, groups, n_permutations=n_permutations, seed=study.seed):
            rows.append(
                {
                    "test": f"{TEST_NAMES[one.test]} {DISTANCE_NAMES[one.distance]}".strip(),
                    "features": name,
                    "statistic": f"{one.statistic:.4g}",
                    "effect": f"{one.effect:.3g}",
                    "p": f"{one.p:.3g}",
                    "q": f"{one.q:.3g}",
                }
            )
    tests = page.table(pd.DataFrame(rows))
    return (
        f'<h2>How the samples lie</h2><div class="figures">{"".join(shown)}</div>'
        f"<h3>Do the classes differ as wholes?</h3>{tests}<p>Effect: of PERMANOVA the share of variance between "
        "classes (R²), of PERMDISP the largest over the smallest spread, of entropy the range of class means in bits. "
        "Where spreads differ, a small p of PERMANOVA may be theirs.</p>"
    )


def _telling(study: Study, name: str, table: FeatureTable, cluster_reads: Sequence[ClusterReads]) -> str:
    frame = discriminative_features(table, study.target)
    top = frame[:N_TELLING]
    if top.empty:
        return ""
    names = draw.telling_names(top)
    shown = [
        page.figure(
            draw.telling_figure(table, study.target, top["feature"].tolist(), names),
            f"Most telling of {name}",
            "Medians and quartiles of those that differ most between classes, one by one (Kruskal-Wallis), over all "
            "samples.",
        )
    ]
    seen = [one for one in cluster_reads if one.n_reads]
    if seen:
        shown.append(
            page.figure(
                draw.gc_figure([f"cluster {one.cluster}" for one in seen], [one.gc for one in seen]),
                "GC content of their reads",
                "Of reads drawn from all samples; a line is their mean.",
            )
        )
    listed = frame[:N_LISTED].copy()
    chosen = next((one.chosen for one in study.evaluations if one.model == "l1" and one.features == name), {})
    cells = pd.DataFrame({"feature": draw.telling_names(listed)})
    for column in listed.columns[listed.columns.str.startswith("median: ")]:
        cells[f"{column} (%)"] = [f"{100 * value:.3g}" for value in listed[column]]
    if "auc" in listed:
        cells["AUC alone"] = [f"{value:.3f}" for value in listed["auc"]]
    cells["p"], cells["q"] = ([f"{value:.2g}" for value in listed[column]] for column in ("p", "q"))
    if chosen:
        cells["chosen by L1 in folds"] = [f"{chosen.get(feature, 0.0):.0%}" for feature in listed["feature"]]
    reads = "".join(_cluster(one) for one in cluster_reads)
    heading = f"<h3>What the reads of these clusters look like</h3>{reads}" if reads else ""
    return (
        f'<h2>What tells the classes apart: {escape(name)}</h2><div class="figures">{"".join(shown)}</div>'
        f"{page.table(cells)}{heading}"
    )


def _cluster(one: ClusterReads) -> str:
    if not one.n_reads:
        return f'<div class="cluster"><b>Cluster {one.cluster}</b>: none among the reads drawn.</div>'
    shortest, middle, longest = np.quantile(one.lengths, [0, 0.5, 1]).astype(int)
    examples = "".join(f'<code class="read">{escape(sequence)}</code>' for sequence in one.examples)
    return (
        f'<div class="cluster"><b>Cluster {one.cluster}</b>: {one.n_reads:,} reads drawn, GC '
        f"{100 * one.gc.mean():.1f} ± {100 * one.gc.std():.1f} %, {shortest} to {longest} bases (median {middle}). "
        f"Nearest to the centroid:{examples}</div>"
    )


def _score_table(study: Study) -> pd.DataFrame:
    rows = []
    for one in study.evaluations:
        row = {"features": one.features, "model": draw.MODEL_NAMES.get(one.model, one.model)}
        row |= {METRIC_NAMES[metric]: str(span) for metric, span in one.scores.items()}
        if one.permutation_p is not None:
            row["p, permuted"] = f"{one.permutation_p:.3g}"
        rows.append(row)
    return pd.DataFrame(rows)


def _methods(study: Study, tables: dict[str, FeatureTable], depth: Study | None, n_permutations: int) -> str:
    sentences = [methods_sentence(one.provenance, len(one)) for one in tables.values() if one.provenance][:1]
    sentences.append(study.methods)
    if depth is not None:
        shares = ", ".join(depth.feature_sets)
        sentences.append(
            f"Read depth: vectors were made anew from {shares} of each sample's reads, chosen by hash, and evaluated "
            f"on {depth.n_repeats} x {depth.n_splits} folds, the same at every depth."
        )
    if tables:
        sentences.append(
            "Classes were compared as wholes by PERMANOVA and PERMDISP on Bray-Curtis, Jensen-Shannon and Aitchison "
            f"distances ({n_permutations} permutations, scikit-bio) by the Kruskal-Wallis test of Shannon entropies, "
            "and feature by feature by the Kruskal-Wallis test, each with Benjamini and Hochberg's control."
        )
    sentences.append(f"All with biomeformer {__version__}.")
    sources = page.pairs({f"features: {name}": where for name, where in study.sources.items()})
    return f"<p>{escape(' '.join(sentences))}</p>{sources}"


__all__ = ["lead_model", "phenotype_report", "telling_clusters"]
