"""A study's figures and progress."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..console import note, one_line

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


class Folds:
    """Progress over folds, in a terminal."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None
        self._what = ""

    def __enter__(self) -> Folds:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, what: str, n_done: int, n_all: int) -> None:
        """Take note of a fold."""
        if self._bars is None:
            if n_done == n_all:
                note(f"{what}: {n_all} folds")
            return
        if what != self._what:
            self._what, self._task = what, self._bars.add_task(what, total=n_all)
        self._bars.update(self._task, completed=n_done)
