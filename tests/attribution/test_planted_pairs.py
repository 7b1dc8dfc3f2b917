"""A pair of genes that is known to count is found."""

from __future__ import annotations

import json
import re

import numpy as np
from benchmarks.planted_pairs import WANTED, Design, judge, train

from biomeformer.reports.network_report import TRUST
from processes import ROOT


def test_the_planted_pair_is_found():
    """The class depends on two genes together; ablation says so, and what comes together does not."""
    design = Design(n_genomes=1000, n_families=12, n_genes=12, num_hidden_layers=1)
    model, outside, accuracy, _ = train(design, seed=0)
    assert accuracy >= WANTED
    found = judge(model, outside, 20, seed=0)
    for method in ("ablation", "ablation, screened"):
        assert found[method]["precision at 1"] >= 0.9 and found[method]["rank over genomes"] == 1
    assert found["random pairs"]["precision at 1"] <= 0.2 and found["co-occurrence"]["rank over genomes"] > 1


def test_the_report_gives_the_figures_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "planted_pairs.json").read_text())
    learnt = [row["methods"] for row in measured["results"] if row["methods"]]
    for name, method in (
        ("by ablation", "ablation, screened"),
        ("by rollout", "rollout"),
        ("by attention and", "attention"),
        ("by attention x gradient", "attention_gradient"),
    ):
        share = np.mean([row[method]["precision at 1"] for row in learnt])
        assert re.search(rf"{share:.0%} (of genomes )?{name}".replace("%", " %"), TRUST)
    assert f"{len(learnt)} models" in TRUST
