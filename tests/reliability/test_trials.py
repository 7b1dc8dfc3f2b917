"""Damaged files: each is refused with one sentence, read as it was, or read as an independent reader reads it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from biomeformer.errors import InputError

from . import mutations, trials
from .formats import Format, equal

N_TRIALS, SEED = 305, 20
ALL = [*mutations.TEXT_TABLE, *mutations.TEXT_JSON, *mutations.TEXT_YAML, *mutations.TENSORS, *mutations.BINARY]


def test_damaged_files_are_refused_or_read_rightly(tmp_path):
    done = list(trials.run_trials(trials.plan(N_TRIALS), SEED, tmp_path))
    faults = [str(trial) for trial in done if trial.is_fault]
    assert not faults, "\n".join(faults)
    assert len(done) == N_TRIALS and {trial.format for trial in done} == set(trials.formats())
    # Mutations that change nothing would make the trials worthless.
    assert sum(trial.verdict == "refused" for trial in done) > N_TRIALS / 3
    assert sum(trial.verdict == "changed" for trial in done) > N_TRIALS / 20


@pytest.mark.parametrize("mutate", {each.__name__: each for each in ALL}.values(), ids=lambda each: each.__name__)
def test_a_mutation_is_the_same_with_the_same_seed(mutate):
    content = b'{"a": 1,\n"b": [2, "x"],\n"__metadata__": {}}\n'
    if mutate in mutations.SAFETENSORS:
        content = len(content).to_bytes(8, "little") + content + bytes(8)
    results = [[mutate(content, np.random.default_rng(seed)) for seed in range(20)] for _ in range(2)]
    assert results[0] == results[1] and any(result != content for result in results[0])


def read_number(folder: Path) -> int:
    """Read a file carelessly in every way that a trial tells apart."""
    text = (folder / "file").read_bytes()
    if text == b"3\n":
        return 3
    if text.startswith(b"refuse"):
        raise InputError("the file says so; write another.")
    if text.startswith(b"empty"):
        raise InputError("")
    if text.startswith(b"raw"):
        raise KeyError("raw")
    return len(text)


def reference(folder: Path) -> int:
    text = (folder / "file").read_text()
    return 4 if text == "four" else int(text)


@pytest.mark.parametrize(
    ("content", "verdict", "of_own"),
    [
        (b"3\n", "same", "same"),
        (b"refuse", "refused", "refused"),
        (b"empty", "unclear error", "unclear error"),
        (b"raw", "raw exception", "raw exception"),
        (b"four", "changed", "silently wrong"),
        (b"7", "silently wrong", "silently wrong"),
        (b"no number", "silently wrong", "silently wrong"),
    ],
)
def test_a_trial_is_judged(tmp_path, monkeypatch, content, verdict, of_own):
    def make(folder: Path) -> None:
        (folder / "file").write_bytes(b"3\n")

    input_format = Format("input", "file", [lambda before, rng: content], make, read_number, reference)
    own_format = dataclasses.replace(input_format, name="own", reference=None)
    monkeypatch.setattr(trials, "formats", lambda: {"input": input_format, "own": own_format})
    for name, expected in (("input", verdict), ("own", of_own)):
        trial = trials.run_trial(name, 0, 0, tmp_path)
        assert trial.verdict == expected, trial
        assert trial.is_fault == (expected not in ("same", "refused", "changed"))


def test_results_are_compared_by_value():
    nan = float("nan")
    assert equal({"a": [nan, np.array([1.0, nan])]}, {"a": (nan, np.array([1.0, nan]))})
    assert not equal(np.array([1, 2]), np.array([1, 3])) and not equal(np.zeros(2), np.zeros((2, 1)))
    assert not equal(np.zeros(2, np.float32), np.zeros(2)) and not equal("1", 1) and not equal({"a": 1}, {"b": 1})
    assert equal(1, 1.0) and not equal([1], [1, 2]) and not equal(None, 0)
