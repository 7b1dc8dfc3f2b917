"""A hyperparameter search: trials kept, resumed, and refused where they are damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from biomeformer.errors import InputError
from biomeformer.training.loop import Validation
from biomeformer.training.search import DATABASE, TRIALS, Search

pytest.importorskip("optuna")

PROCESSES = SimpleNamespace(on_main=lambda compute: compute(), broadcast=lambda value: value, barrier=lambda: None)


SPACE = {"learning_rate": [1e-4, 1e-1], "n_epochs": [1, 3]}


def make_search(folder: Path, n_trials: int, space=SPACE, score=None) -> Search:
    run = SimpleNamespace(path=folder, is_main=True, processes=PROCESSES)
    return Search(run, space, n_trials, ["n_epochs"], 0, score)


def train(number, values, on_epoch):
    loss = (values["learning_rate"] - 0.01) ** 2 + values["n_epochs"]
    on_epoch(1, Validation(loss=loss))
    return torch.nn.Linear(2, 1), 1, loss


def edit(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / DATABASE) as base:
        assert base.execute(statement).rowcount > 0


def test_resumed_search_equals_one_run(tmp_path):
    for name, numbers in (("whole", [5]), ("resumed", [2, 5])):
        (tmp_path / name).mkdir()
        for n_trials in numbers:
            search = make_search(tmp_path / name, n_trials)
            search.run_trials(train)
    assert search.record == make_search(tmp_path / "whole", 5).record and len(search.record) == 5


@pytest.mark.parametrize(
    "statement",
    [
        "update trial_values set value = value / 2 where trial_value_id = 1",
        "update trial_params set param_value = 0.05 where param_id = 1",
        "update trial_intermediate_values set intermediate_value = 0.0 where trial_intermediate_value_id = 2",
        "update trials set state = 'PRUNED' where number = 1",
        "update trial_user_attributes set value_json = '3' where trial_user_attribute_id = 1",
        "delete from trials where number = 2",
    ],
)
def test_changed_trial_is_refused_by_number(tmp_path, statement):
    make_search(tmp_path, 3).run_trials(train)
    edit(tmp_path, statement)
    with pytest.raises(InputError, match=rf"search\.db differs from {TRIALS} in trial \d, so it is damaged or was"):
        make_search(tmp_path, 3)


def test_trial_after_the_record_is_kept(tmp_path):
    make_search(tmp_path, 2).run_trials(train)
    before = (tmp_path / TRIALS).read_bytes()
    make_search(tmp_path, 3).run_trials(train)
    # As after a kill between the two files.
    (tmp_path / TRIALS).write_bytes(before)
    assert len(make_search(tmp_path, 3).record) == 3
    assert (tmp_path / TRIALS).read_bytes() != before


def test_damaged_record_is_refused(tmp_path):
    make_search(tmp_path, 1).run_trials(train)
    content = (tmp_path / TRIALS).read_bytes()
    (tmp_path / TRIALS).write_bytes(content.replace(b'"complete"', b'"pruned"'))
    with pytest.raises(InputError, match="does not match its checksum"):
        make_search(tmp_path, 1)


def test_a_score_is_maximized_and_recorded_by_its_name(tmp_path):
    scores = {}

    def score_trial(number, values, on_epoch):
        scores[number] = values["warmup"] + (values["schedule"] == "cosine")
        on_epoch(1, Validation(loss=1.0, score=scores[number]))
        return torch.nn.Linear(2, 1), 1, -scores[number]

    space = {"warmup": [0.0, 0.5], "schedule": ["linear", "cosine"]}
    search = make_search(tmp_path, 6, space, "pr_auc")
    search.run_trials(score_trial)
    number, values, _ = search.best()
    assert scores[number] == max(scores.values()) and set(values) == {"warmup", "schedule"}
    assert values["schedule"] == "cosine" and 0 <= values["warmup"] <= 0.5
    assert [trial["pr_auc"] for trial in search.record] == [scores[i] for i in range(6)]
    assert not any("loss" in trial for trial in search.record)
