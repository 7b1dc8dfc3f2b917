"""HTML report of a phenotype study: scores, curves, ordination, most discriminative features, methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from ..metagenomes import ClusterDescriptions, find_descriptions
from ..metagenomes.cluster_reads import ClusterReads
from ..metrics.p_values import format_p
from ..metrics.targets import CHANCE, MAIN_METRIC, metric_name
from ..phenotypes import FeatureTable, Study, compare_groups
from ..phenotypes.discriminative import discriminative_features
from ..version import __version__
from . import phenotype_figures as draw
from .blocks import (
    Block,
    Cards,
    DataTable,
    Details,
    Figures,
    Heading,
    Items,
    Note,
    Paragraph,
    Picture,
    Scatter,
    Section,
)
from .cluster_report import cluster_table
from .cohort import methods_sentence
from .colouring import Colouring
from .ordination import ordination_scatter
from .page import write_page
from .phenotype_confounders import confounder_section, importance_section
from .regression_figures import error_figure, prediction_figure
from .run_details import command_text, public_text
from .style import figure_style

N_DISCRIMINATIVE = 10
N_LISTED = 25
MAX_Q = 0.05
# The time of tests of distances grows with the third power of the samples, and their memory with the second.
MAX_TESTED_SAMPLES = 2000
TEST_NAMES = {"permanova": "PERMANOVA (centroids)", "permdisp": "PERMDISP (dispersions)", "entropy": "Shannon entropy"}
DISTANCE_NAMES = {"bray_curtis": "Bray-Curtis", "jensen_shannon": "Jensen-Shannon", "aitchison": "Aitchison", "": ""}


@dataclass(frozen=True)
class ReadsOfCluster(Block):
    """What the reads of a cluster are like, and some of them if they are to be printed."""

    template: ClassVar[str] = "cluster_reads.html.j2"
    name: str
    summary: str
    sequences: Sequence[str] = ()


def lead_model(study: Study) -> str:
    """Return the model whose curves are drawn: the random forest if the study has one, else the first model.

    The choice does not depend on the scores, which would flatter them.
    """
    return "forest" if "forest" in study.models else study.models[0]


def discriminative_clusters(table: FeatureTable, study: Study) -> list[int]:
    """Return the numbers of the most discriminative clusters, which the report shows."""
    features = discriminative_features(table, study.target)["feature"][:N_DISCRIMINATIVE]
    return [int(name.removeprefix("cluster_")) for name in features]


def phenotype_report(
    study: Study,
    path: str | Path,
    *,
    tables: dict[str, FeatureTable] | None = None,
    depth: Study | None = None,
    cluster_reads: Sequence[ClusterReads] = (),
    show_reads: bool = False,
    title: str | None = None,
    remark: str | None = None,
    n_permutations: int = 999,
) -> Path:
    """Write a self-contained HTML report of a study.

    Args:
        study: Study to report.
        path: HTML file to write.
        tables: Feature tables by name, for ordination, tests and discriminative features; without them these sections
            are left out.
        depth: The same study at several read depths.
        cluster_reads: Description of the reads of the first table's most discriminative clusters.
        show_reads: Whether to print the sequences of reads, which come from the samples.
        title: Heading.
        remark: Note at the top, for instance that reads were simulated.
        n_permutations: Permutations of the tests between groups.

    Returns:
        The path written.
    """
    tables = tables or {}
    model = lead_model(study)
    with figure_style():
        lead = [*([Note(remark)] if remark else []), *_warnings(study), _summary(study)]
        sections = [
            Section("Input", _remarks(study)),
            Section("Predictive performance", _prediction(study, model)),
            Section("Confounders", confounder_section(study)),
            Section("Importance of features", importance_section(study, model)),
            Section("Read depth", [] if depth is None else _depth(depth)),
            Section("Ordination and diversity", _samples(study, tables, n_permutations) if tables else []),
            *(
                Section(
                    f"Most discriminative features: {name}",
                    _discriminative(study, name, tables[name], cluster_reads if i == 0 else (), show_reads),
                )
                for i, name in enumerate(tables)
            ),
            Section("All scores", [DataTable(_score_table(study), "scores")]),
            Section("Methods", _methods(study, tables, depth, n_permutations)),
        ]
        return write_page(
            path,
            title or f"Predicting {study.target.column}",
            lead,
            sections,
            parameters=_parameters(study),
            next_command=_next_command(study, tables),
        )


def _summary(study: Study) -> Cards:
    model = lead_model(study)
    numbers = {"samples": f"{len(study.target.labels):,}"}
    prefix = {"classification": "class ", "multilabel": "label "}.get(study.target.kind, "")
    numbers |= {f"{prefix}{name}": text for name, text in study.target.summary.items()}
    metric = MAIN_METRIC[study.target.task]
    for name in study.feature_sets[:3]:
        evaluation = study.evaluation(name, model)
        numbers[f"{metric_name(metric)} from {name}, {draw.model_name(study, model)}"] = str(evaluation.scores[metric])
        if evaluation.permutation_p is not None:
            numbers[f"permutation p, {name}"] = format_p(evaluation.permutation_p, len(evaluation.permuted))
    return Cards(numbers)


def _parameters(study: Study) -> dict[str, object]:
    tables = {name: record.get("path", "") for name, record in study.inputs.get("tables", {}).items()}
    return {
        **({"tables": tables} if tables else {}),
        "target": study.target.column,
        "models": [draw.model_name(study, name) for name in study.models],
        "folds": study.n_splits,
        "repeats": study.n_repeats,
        "permutations": study.n_permutations,
        "seed": study.seed,
    }


def _next_command(study: Study, tables: dict[str, FeatureTable]) -> str:
    """Return the command that fits a model of abundance vectors on all samples, or tests other features elsewhere."""
    name = next(iter(tables), "")
    path = Path(study.inputs.get("tables", {}).get(name, {}).get("path") or "TABLE")
    model = tables[name].provenance.get("model") if tables else "MODEL"
    if not model:
        return command_text("phenotype", "transfer", path, "OTHER_COHORT", "--target", study.target.column)
    folder = path.parent if path.name == "abundance.parquet" else path
    return command_text(
        "phenotype", "train", folder, "--model", model, "--target", study.target.column, "--output", "phenotype-model"
    )


def _remarks(study: Study) -> list[Block]:
    """Return notes on the tables, and which samples were left out."""
    notes = list(study.notes)
    if study.target.n_missing:
        notes.append(f"{study.target.column}: left out: {study.target.describe_missing()}")
    return [Items(notes)] if notes else []


def _warnings(study: Study) -> list[Note]:
    """Return what may change the results, to be read before them."""
    return [Note(text, is_warning=True) for text in study.warnings]


def _prediction(study: Study, model: str) -> list[Block]:
    metric = MAIN_METRIC[study.target.task]
    figures = [
        Picture(
            draw.comparison_figure(study),
            "Feature sets and models",
            "Mean over test folds, 95 % intervals of the corrected resampled t-test. Dotted line: chance "
            f"({CHANCE[metric]:g}).",
        ),
        *(_regression_figures(study, model) if study.target.kind == "regression" else _class_figures(study, model)),
    ]
    blocks: list[Block] = [Figures(figures)]
    if study.comparisons:
        frame = pd.DataFrame(
            [
                {
                    "comparison": f"{comparison.first} - {comparison.second}",
                    "model": draw.model_name(study, comparison.model),
                    f"difference in {metric_name(metric)}": str(comparison.difference),
                    "p": format_p(comparison.p),
                }
                for comparison in study.comparisons
            ]
        )
        blocks += [Heading("Feature sets compared on the same folds"), DataTable(frame, "comparisons")]
    return blocks


def _regression_figures(study: Study, model: str) -> list[Picture]:
    name = draw.model_name(study, model)
    return [
        Picture(
            prediction_figure(study, model),
            f"Predictions, {name}",
            "Out-of-fold predictions of all samples, averaged over repeats. Scores of these pooled predictions with "
            "95 % bootstrap intervals over samples. Dotted line: perfect prediction.",
        ),
        Picture(
            error_figure(study, model),
            f"Errors, {name} on {study.feature_sets[0]}",
            "Predicted minus true number. A downward slope is a model that predicts near the mean.",
        ),
    ]


def _class_figures(study: Study, model: str) -> list[Picture]:
    name, task = draw.model_name(study, model), study.target.task
    lines = {
        "multi_class": "One line per class, one class against the rest.",
        "multi_label": f"One line per label, on {study.feature_sets[0]}.",
    }.get(task, "One line per feature set.")
    figures = [
        Picture(
            draw.roc_figure(study, model),
            f"ROC, {name}",
            f"Pooled out-of-fold probabilities of all samples. {lines} Bands: 95 % bootstrap intervals over samples. "
            "Pooled: area under the curve drawn. Folds' mean: as in the table of all scores.",
        ),
        Picture(
            draw.precision_recall_figure(study, model),
            f"Precision-recall, {name}",
            "As for ROC, with average precision. Dotted line: prevalence of the class in the cohort, the precision of "
            "chance.",
        ),
    ]
    if task == "multi_label":
        return figures
    return [
        *figures,
        Picture(
            draw.calibration_figure(study, model),
            f"Calibration, {name}",
            "Out-of-fold probabilities of all samples, binned, with 95 % Wilson intervals. Pooled: Brier score of "
            "these probabilities. Dotted line: perfect calibration.",
        ),
        Picture(
            draw.confusion_figure(study, study.feature_sets[0], model),
            f"Confusion matrix, {name} on {study.feature_sets[0]}",
            "Samples by true class and by class predicted out of fold; percentages are per row.",
        ),
    ]


def _depth(depth: Study) -> list[Block]:
    curve = Picture(
        draw.depth_figure(depth),
        f"{metric_name(MAIN_METRIC[depth.target.task])} by read depth",
        "Reads of a smaller fraction are a subset of those of a larger one; folds are the same at every depth.",
    )
    return [Figures([curve]), DataTable(_score_table(depth), "scores")]


def _samples(study: Study, tables: dict[str, FeatureTable], n_permutations: int) -> list[Block]:
    figures: list[Picture | Scatter] = []
    rows = []
    target = study.target.grouped()
    tested = tested_rows(target.labels, study.seed)
    groups = [target.classes[label] for label in target.labels[tested]]
    tested_ids = [target.sample_ids[row] for row in tested]
    for name, table in tables.items():
        cohort = table.take(study.target.sample_ids, name)
        colouring = Colouring.of_target(study.target)
        figures.append(ordination_scatter(study.target.sample_ids, cohort.shares, colouring, f"PCoA of {name}"))
        figures.append(
            Picture(
                draw.entropy_figure(cohort, target),
                f"Diversity of {name}",
                "Shannon entropy per sample; boxes are quartiles.",
            )
        )
        for result in compare_groups(
            cohort.take(tested_ids, name), groups, n_permutations=n_permutations, seed=study.seed
        ):
            rows.append(
                {
                    "test": f"{TEST_NAMES[result.test]} {DISTANCE_NAMES[result.distance]}".strip(),
                    "features": name,
                    "statistic": _number(result.statistic, 4),
                    "effect": _number(result.effect, 3),
                    "p": format_p(result.p, result.n_permutations),
                    "q": format_p(result.q),
                    "remark": result.note,
                }
            )
    frame = pd.DataFrame(rows)
    if not frame["remark"].any():
        frame = frame.drop(columns="remark")
    return [
        *_grouping(study),
        Figures(figures),
        Heading("Differences between classes"),
        *_sampling(len(tested), len(target.labels)),
        DataTable(frame, "tests"),
        Paragraph(
            "Effect sizes: R² (share of variance between classes) for PERMANOVA, the ratio of the largest to the "
            "smallest mean distance to the class's spatial median for PERMDISP, the range of class means in bits for "
            "entropy. A statistic that is undefined has no p value. If dispersions differ, they may explain a small p "
            "of PERMANOVA."
        ),
    ]


def tested_rows(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows of the samples that groups are compared on: all, or of many some of each group, at random.

    Args:
        labels: Group of each sample, int64 `(n_samples,)`.
        seed: Seed of the choice.
    """
    if len(labels) <= MAX_TESTED_SAMPLES:
        return np.arange(len(labels))
    rng, share = np.random.default_rng(seed), MAX_TESTED_SAMPLES / len(labels)
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    # Groups of one sample cannot be compared.
    return np.sort(np.concatenate([group[: max(round(share * len(group)), 2)] for group in rows]))


def _sampling(n_tested: int, n_samples: int) -> list[Block]:
    """Say that samples were drawn for the tests."""
    if n_tested == n_samples:
        return []
    text = (
        f"Tested on {n_tested:,} of the {n_samples:,} samples, drawn at random from each group; biomeformer phenotype "
        "robustness tests all."
    )
    return [Note(text)]


def _descriptions(study: Study, name: str, table: FeatureTable) -> ClusterDescriptions | None:
    """Return what the clusters of a table are: from the folder of the table, or as shipped with the checkpoint."""
    path = study.inputs.get("tables", {}).get(name, {}).get("path")
    folder = None if path is None else Path(path) if Path(path).is_dir() else Path(path).parent
    return find_descriptions(table.provenance, folder)


def _discriminative(
    study: Study, name: str, table: FeatureTable, cluster_reads: Sequence[ClusterReads], show_reads: bool
) -> list[Block]:
    frame = discriminative_features(table, study.target)
    top = frame[:N_DISCRIMINATIVE]
    if top.empty:
        return []
    descriptions = _descriptions(study, name, table)
    names = draw.feature_labels(top, None if descriptions is None else descriptions.short_label)
    figures = [
        Picture(
            draw.discriminative_figure(table, study.target.grouped(), top["feature"].tolist(), names),
            f"Most discriminative {name}",
            f"Medians and quartiles of the features that {_found_by(study)}, over all samples.",
        )
    ]
    with_reads = [cluster for cluster in cluster_reads if cluster.n_reads]
    if with_reads:
        figures.append(
            Picture(
                draw.gc_figure(
                    [_cluster_label(reads.cluster, descriptions, short=True) for reads in with_reads],
                    [reads.gc for reads in with_reads],
                ),
                "GC content of their reads",
                "Distribution over reads drawn from all samples; the line is the mean.",
            )
        )
    listed = frame[:N_LISTED].copy()
    l1 = (evaluation for evaluation in study.evaluations if evaluation.model == "l1" and evaluation.features == name)
    chosen = next((evaluation.chosen for evaluation in l1), {})
    cells = pd.DataFrame({"feature": draw.feature_labels(listed, None if descriptions is None else descriptions.label)})
    for column in listed.columns[listed.columns.str.startswith("median: ")]:
        cells[f"{column} (%)"] = [f"{100 * value:.3g}" for value in listed[column]]
    if "rho" in listed:
        cells["Spearman's rho"] = [f"{value:.3f}" for value in listed["rho"]]
    if "auc" in listed:
        cells["univariate ROC-AUC"] = [f"{value:.3f}" for value in listed["auc"]]
    cells["p"], cells["q"] = ([format_p(value) for value in listed[column]] for column in ("p", "q"))
    if chosen:
        cells["selected by L1 (folds)"] = [f"{chosen.get(feature, 0.0):.0%}" for feature in listed["feature"]]
    blocks: list[Block] = [Paragraph(_significance(frame, study)), Figures(figures), DataTable(cells, "features")]
    if descriptions is not None:
        clusters = [int(feature.removeprefix("cluster_")) for feature in listed["feature"]]
        described = DataTable(cluster_table(descriptions, clusters), "clusters")
        blocks += [Heading("What these clusters are"), Paragraph(descriptions.summary()), described]
    if cluster_reads:
        blocks.append(Heading("Reads of these clusters"))
        blocks += [_cluster(one, descriptions, show_reads) for one in cluster_reads]
    return blocks


def _grouping(study: Study) -> list[Block]:
    """Say how samples are grouped where the target has no classes."""
    if study.target.kind == "regression":
        return [Paragraph(f"For tests of groups and diversity, {study.target.column} is divided into thirds.")]
    if study.target.kind == "multilabel":
        return [Paragraph("For figures and tests of groups, samples are grouped by their combination of labels.")]
    return []


def _found_by(study: Study) -> str:
    """Say by which test features are ranked."""
    if study.target.kind == "regression":
        return "correlate most with the number (Spearman)"
    return "differ most between classes by Kruskal-Wallis test"


def _significance(frame: pd.DataFrame, study: Study) -> str:
    """Say whether any feature passes the false discovery rate."""
    n = int((frame["q"] < MAX_Q).sum())
    is_number = study.target.kind == "regression"
    verb, what = ("correlate", "with the number") if is_number else ("differ", "between the classes")
    passing = f"{f'{n:,}' if n else 'None'} of {len(frame):,} features {verb}{'s' if n < 2 else ''}"
    rest = "" if n else " The table shows those with the smallest p values, which chance alone would also give."
    return f"{passing} {what} at a false discovery rate of {MAX_Q:.0%} (q < {MAX_Q}).{rest}"


def _number(value: float, digits: int) -> str:
    return "undefined" if np.isnan(value) else f"{value:.{digits}g}"


def _cluster_label(cluster: int, descriptions: ClusterDescriptions | None, *, short: bool = False) -> str:
    if descriptions is None:
        return f"cluster {cluster}"
    return descriptions.short_label(cluster) if short else descriptions.label(cluster)


def _cluster(reads: ClusterReads, descriptions: ClusterDescriptions | None, show_reads: bool) -> ReadsOfCluster:
    name = f"C{_cluster_label(reads.cluster, descriptions)[1:]}"
    if not reads.n_reads:
        return ReadsOfCluster(name, "none of the reads drawn.")
    shortest, middle, longest = np.quantile(reads.lengths, [0, 0.5, 1]).astype(int)
    summary = (
        f"{reads.n_reads:,} reads drawn, GC {100 * reads.gc.mean():.1f} ± {100 * reads.gc.std():.1f} %, {shortest} to "
        f"{longest} bases (median {middle})."
    )
    return ReadsOfCluster(name, summary, reads.examples if show_reads else ())


def _score_table(study: Study) -> pd.DataFrame:
    rows = []
    for evaluation in study.evaluations:
        row = {"features": evaluation.features, "model": draw.model_name(study, evaluation.model)}
        row |= {metric_name(metric): str(span) for metric, span in evaluation.scores.items()}
        if evaluation.permutation_p is not None:
            row["permutation p"] = format_p(evaluation.permutation_p, len(evaluation.permuted))
        rows.append(row)
    return pd.DataFrame(rows)


def _methods(study: Study, tables: dict[str, FeatureTable], depth: Study | None, n_permutations: int) -> list[Block]:
    sentences = [methods_sentence(table.provenance, len(table)) for table in tables.values() if table.provenance][:1]
    sentences.append(study.methods)
    if depth is not None:
        fractions = ", ".join(depth.feature_sets)
        sentences.append(
            f"Read depth: vectors were recomputed from {fractions} of each sample's reads, selected by hash, and "
            f"evaluated on {depth.n_repeats} x {depth.n_splits} folds, the same at every depth."
        )
    if tables:
        compared = "Classes" if study.target.kind == "classification" else "Groups of samples"
        by_feature = "Spearman correlation" if study.target.kind == "regression" else "Kruskal-Wallis tests"
        sentences.append(
            f"{compared} were compared by PERMANOVA and PERMDISP on Bray-Curtis, Jensen-Shannon and Aitchison "
            f"distances ({n_permutations} permutations; all principal coordinates, imaginary ones subtracted, "
            "distances to spatial medians, as in R's vegan), by Kruskal-Wallis tests of Shannon entropy, and "
            f"feature by feature by {by_feature}, each with Benjamini-Hochberg correction."
        )
    sentences.append(f"Computed with biomeformer {__version__}.")
    sources = {f"features: {name}": public_text(source) for name, source in study.sources.items()}
    return [Paragraph(" ".join(sentences)), Details(sources)]


__all__ = ["discriminative_clusters", "lead_model", "phenotype_report"]
