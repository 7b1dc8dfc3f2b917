"""The benchmark of the tasks of GUE, at tiny size on made sequences, and its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import gue, sequence_models
from benchmarks.gue_docs import render
from benchmarks.gue_tasks import PUBLISHED_MODELS, TASKS, prepare
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from biomeformer.io.nucleotides import reverse_complement

MOTIF = "TTGACGTCAA"


def write_task(folder: Path, seed: int = 0) -> Path:
    """Write a task like those of GUE: a motif in half of the sequences; train holds two sequences of test."""
    rng = np.random.default_rng(seed)
    frames = {}
    for split, n in (("train", 120), ("dev", 40), ("test", 60)):
        bases = ["".join(row) for row in rng.choice(list("ACGT"), (n, 40))]
        labels = np.arange(n) % 2
        bases = [b[:10] + MOTIF + b[20:] if label else b for b, label in zip(bases, labels, strict=True)]
        frames[split] = pd.DataFrame({"sequence": bases, "label": labels})
    tested = frames["test"]["sequence"]
    frames["train"].loc[0, "sequence"] = tested[0]
    frames["train"].loc[1, "sequence"] = reverse_complement(tested[1])
    folder.mkdir(parents=True)
    for split, frame in frames.items():
        frame.to_csv(folder / f"{split}.csv.gz", index=False)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Results of the regression and of a small network on one task, with the arguments of the run."""
    folder = tmp_path_factory.mktemp("gue")
    write_task(folder / "data" / "mouse_3")
    places = ["--folder", str(folder / "data"), "--work", str(folder / "work"), "--output", str(folder / "gue.json")]
    options = ["--tasks", "mouse_3", "--methods", gue.LOGISTIC, "CNN", "--max-train", "100"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gue, "MODELS", gue.MODELS | {"CNN": ("smoke.yaml", False)})
        gue.main([*places, *options])
        yield folder, [*places, *options], json.loads((folder / "gue.json").read_text())


def test_scores_are_those_of_scikit_learn(measured):
    folder, _, content = measured
    method = content["tasks"]["mouse_3"]["methods"]["CNN"]
    run = folder / "work" / "mouse_3" / "CNN-0"
    table = pd.read_parquet(run / "predictions.parquet")
    rows = table[table["split"] == "test"]
    truth, probability = (rows["truth"] == "1").to_numpy(), rows["probability 1"].to_numpy()
    threshold = json.loads((run / "evaluation.json").read_text())["thresholds"][0]
    assert len(rows) == 60
    assert method["roc_auc"][0] == pytest.approx(roc_auc_score(truth, probability), abs=1e-4)
    assert method["mcc"][0] == pytest.approx(matthews_corrcoef(truth, probability >= threshold), abs=1e-4)
    for metric in gue.METRICS:
        value, low, high = method[metric]
        assert low <= value <= high
    assert content["tasks"]["mouse_3"]["methods"][gue.LOGISTIC]["roc_auc"][0] > 0.8


def test_what_is_tested_is_not_trained_on(measured):
    folder, _, content = measured
    sizes = content["tasks"]["mouse_3"]["sequences"]
    assert sizes["train"] == {"published": 120, "shared": 2, "not_drawn": 18, "used": 100, "dropped": 0}
    assert sizes["test"] == {"published": 60, "shared": 0, "not_drawn": 0, "used": 60, "dropped": 0}
    splits = {
        split: set().union(
            *(pd.read_parquet(path)["sequence"] for path in (folder / "work").rglob(f"{split}*.parquet"))
        )
        for split in ("train", "test")
    }
    assert not splits["train"] & (splits["test"] | {reverse_complement(bases) for bases in splits["test"]})


def test_a_second_run_trains_nothing_and_other_settings_are_refused(measured, monkeypatch):
    folder, arguments, content = measured
    calls = []
    for name in ("fine_tuned", "logistic"):
        monkeypatch.setattr(gue, name, lambda *values: calls.append(values))
    gue.main(arguments)
    assert not calls and json.loads((folder / "gue.json").read_text()) == content
    monkeypatch.setattr(gue, "STRENGTHS", (1.0,))
    with pytest.raises(SystemExit, match="of other settings"):
        gue.main(arguments)
    config = folder / "work" / "mouse_3" / "CNN-0"
    with pytest.raises(SystemExit, match="other settings"):
        sequence_models.fine_tuned(None, folder, config, "cnn.yaml", {})


def test_only_what_is_finished_is_reported_if_asked_for(measured):
    folder, arguments, content = measured
    output = folder / "finished.json"
    gue.main([*arguments, "--seeds", "0", "--finished", "--output", str(output), "--methods", *gue.METHODS])
    methods = json.loads(output.read_text())["tasks"]["mouse_3"]["methods"]
    assert methods == content["tasks"]["mouse_3"]["methods"]
    page = render(json.loads(output.read_text()))
    assert "| not measured |" in page and "| LoRA | 0 of 0 (0, 0) |" in page


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"test\.csv: no such file"):
        prepare(tmp_path, tmp_path / "data", None, None)


def test_results_are_rendered(measured):
    page = render(measured[2])
    assert "| mouse TF 3 | " in page and "at most 100 training sequences per task" in page
    assert "frozen mean-pooled embeddings" in page and "| 100 of 120 |" in page


def test_the_page_is_current():
    results = json.loads(gue.RESULTS.read_text())
    assert gue.DOCS.read_text() == render(results), "run python benchmarks/gue.py --write-docs"
    assert list(results["tasks"]) == [task.folder for task in TASKS]
    for task in results["tasks"].values():
        assert {gue.LOGISTIC, "CNN"} <= set(task["methods"]) <= set(gue.METHODS)
        assert list(task["published_roc_auc"]) == list(PUBLISHED_MODELS)
    reached = [
        task["methods"]["fine-tuned"]["roc_auc"][0] >= task["published_roc_auc"]["DNABERT-2"]
        for task in results["tasks"].values()
    ]
    readme = (gue.DOCS.parents[1] / "README.md").read_text()
    assert f"On {sum(reached)} of {len(reached)} tasks of GUE" in readme
