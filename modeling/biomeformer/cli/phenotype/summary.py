"""Print the results of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import one_line, out, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...metrics.scorers import Task
    from ...phenotypes import Interval, Study


def print_study(study: Study) -> None:
    """Print the results of a study."""
    for line in study_lines(study):
        out(line)
    record(
        target=study.record["target"],
        scores=study.scores,
        comparisons=study.comparisons,
        notes=study.notes,
        warnings=study.warnings,
    )


def study_lines(study: Study) -> list[str]:
    """Return the results of a study as lines of text."""
    from ...metrics.p_values import describe_p
    from ...metrics.targets import label_metric, metric_name, shown_metrics

    target = study.target
    sizes = ", ".join(f"{one_line(name)} {text}" for name, text in target.summary.items())
    metrics = shown_metrics(target.task)
    width = max(9, *map(len, study.feature_sets))
    missing = f"; {one_line(target.describe_missing())}" if target.n_missing else ""
    lines = [f"{target.column}: {sizes}{missing}"]
    lines.append(
        f"{'features':<{width}} {'model':<9} {' '.join(f'{metric_name(metric):<20}' for metric in metrics)}".rstrip()
    )
    for evaluation in study.evaluations:
        p = (
            ""
            if evaluation.permutation_p is None
            else f"  {describe_p(evaluation.permutation_p, len(evaluation.permuted))}"
        )
        scores = " ".join(f"{evaluation.scores[metric]!s:<20}" for metric in metrics).rstrip()
        lines.append(f"{evaluation.features:<{width}} {evaluation.model:<9} {scores}{p}")
    if target.kind == "multilabel":
        for evaluation in study.evaluations:
            areas = (f"{one_line(name)} {evaluation.scores[label_metric(name)]}" for name in target.classes)
            lines.append(f"{evaluation.features}, {evaluation.model}, ROC-AUC per label: {', '.join(areas)}")
    for pair in study.comparisons:
        difference = f"{metric_name(pair.metric)} {pair.difference}"
        lines.append(f"{pair.first} - {pair.second}, {pair.model}: {difference}, {describe_p(pair.p)}")
    return lines + [f"warning: {one_line(warning)}" for warning in study.result_warnings]


def score_line(task: Task, scores: Mapping[str, Interval]) -> str:
    """Return the main score of a prediction as text; of numbers all scores."""
    from ...metrics.targets import metric_name, shown_metrics

    shown = shown_metrics(task) if task == "regression" else shown_metrics(task)[:1]
    return ", ".join(f"{metric_name(metric)} {scores[metric]}" for metric in shown)
