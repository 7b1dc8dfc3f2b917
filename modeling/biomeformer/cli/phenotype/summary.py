"""Print the results of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...metrics.p_values import describe_p
from ..console import one_line

if TYPE_CHECKING:
    from ...phenotypes import Study


def study_lines(study: Study) -> list[str]:
    """Return the results of a study as lines of text."""
    target = study.target
    sizes = ", ".join(f"{one_line(name)} {n}" for name, n in target.sizes.items())
    missing = f"; {one_line(target.describe_missing())}" if target.n_missing else ""
    lines = [f"{target.column}: {sizes}{missing}", f"{'features':<9} {'model':<9} ROC-AUC              PR-AUC"]
    for evaluation in study.evaluations:
        p = (
            ""
            if evaluation.permutation_p is None
            else f"  {describe_p(evaluation.permutation_p, len(evaluation.permuted))}"
        )
        scores = f"{evaluation.scores['roc_auc']!s:<20} {evaluation.scores['pr_auc']}"
        lines.append(f"{evaluation.features:<9} {evaluation.model:<9} {scores}{p}")
    for pair in study.comparisons:
        lines.append(f"{pair.first} - {pair.second}, {pair.model}: ROC-AUC {pair.difference}, {describe_p(pair.p)}")
    return lines + [f"warning: {one_line(warning)}" for warning in study.result_warnings]
