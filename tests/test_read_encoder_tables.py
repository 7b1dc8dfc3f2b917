"""The tables of read encoders in the documentation are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LABELS = {
    "true species abundances": "truth",
    "the cohort's own 4,096": "metagenbert-mini, K 4096",
    "the cohort's own 2,048": "metagenbert-mini, K 2048",
    "the cohort's own 512": "metagenbert-mini",
    "the cohort's own 512 (`--fit-centroids 512`)": "metagenbert-mini",
    "the checkpoint's 512, refined by 5 iterations": "metagenbert-mini, shipped centroids, 5 iterations",
    "the checkpoint's 512, refined (`--refine-centroids 5`)": "metagenbert-mini, shipped centroids, 5 iterations",
    "the checkpoint's 512 as they are": "metagenbert-mini, shipped centroids",
    "4-mers, 512 centroids of reads of the same genomes": "4-mers, centroids of the same genomes",
    "4-mers, the cohort's own 512": "4-mers",
    "untrained encoder, the cohort's own 512": "untrained",
}


@pytest.mark.parametrize(
    ("header", "cohort", "results", "n_rows"),
    [
        ("features", "cirrhosis", "quality", 7),
        ("features, ibd", "ibd", "quality", 7),
        ("features, 40,000 reads a sample", "cirrhosis", "depth", 9),
    ],
)
def test_scores_by_centroids_are_those_measured(header, cohort, results, n_rows):
    measured = json.loads((ROOT / f"benchmarks/results/read_encoder_{results}.json").read_text())["cohorts"]
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    table = text.split(f"| {header} | seen genera: AUC |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]
    assert len(rows) == n_rows
    for label, *cells in rows:
        for genera, auc, gap in (("seen", *cells[:2]), ("unseen", *cells[2:])):
            mean = measured[f"{cohort}, {genera}"]["mean"][LABELS[label]]
            assert float(re.match(r"[0-9.]+", auc)[0]) == pytest.approx(mean["forest"], abs=0.00051)
            assert float(gap) == pytest.approx(mean["gap_closed"], abs=0.0051)
