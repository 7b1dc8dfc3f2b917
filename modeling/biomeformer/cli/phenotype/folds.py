"""A study's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import one_line

if TYPE_CHECKING:
    from ...phenotypes import Study


def described(study: Study) -> list[str]:
    """A study's figures in lines to read."""
    target = study.target
    sizes = ", ".join(f"{one_line(name)} {n}" for name, n in target.sizes.items())
    missing = f"; {one_line(target.describe_missing())}" if target.n_missing else ""
    lines = [f"{target.column}: {sizes}{missing}", f"{'features':<9} {'model':<9} ROC-AUC              PR-AUC"]
    for found in study.evaluations:
        p = "" if found.permutation_p is None else f"  p = {found.permutation_p:.3g}"
        scores = f"{found.scores['roc_auc']!s:<20} {found.scores['pr_auc']}"
        lines.append(f"{found.features:<9} {found.model:<9} {scores}{p}")
    for pair in study.comparisons:
        lines.append(f"{pair.first} - {pair.second}, {pair.model}: ROC-AUC {pair.difference}, p = {pair.p:.3g}")
    return lines
