"""Every kind of file that the package writes and later reads, with an example and the reader that trusts it."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from factories import (
    tiny_metagenbert,
    write_cohort,
)

from .formats import Format
from .mutations import BINARY, TENSORS, TEXT_JSON, TEXT_TABLE, Mutate


@cache
def _model() -> Any:
    return tiny_metagenbert()


def _make_run(folder: Path) -> None:
    """A finished run of three samples, one of which failed."""
    from biomeformer.metagenomes import run_cohort

    cohort = write_cohort(folder / "cohort", n_samples=3, n_reads=8)
    (folder / "cohort" / "s2.fastq.gz").write_bytes(b"@r\nACGT\n")
    run_cohort(_model(), cohort, folder / "run")


def _table(table: Any) -> Any:
    return {
        "ids": list(table.sample_ids),
        "counts": table.counts,
        "read_stats": table.read_stats.to_dict("list"),
        "metadata": table.metadata.to_dict("list"),
        "provenance": table.provenance,
    }


def _resumed(folder: Path) -> Any:
    """The table of the run, resumed: a damaged part is taken again."""
    from biomeformer.metagenomes import run_cohort

    outcome = run_cohort(_model(), folder / "cohort" / "cohort.csv", folder / "run")
    # Attempts and times differ.
    return {"table": _table(outcome.result), "failed": outcome.failed}


def _status(folder: Path) -> Any:
    from biomeformer.runs.run_folder import run_status

    status = run_status(folder / "run")
    attempts = [attempt.get("status") for attempt in status.attempts]
    return {
        "items": status.n_items,
        "failed": status.failed,
        "noun": status.noun,
        "bytes": status.bytes_done + status.bytes_left,
        "attempts": attempts,
    }


def _failed_status(folder: Path) -> Any:
    """Whether the failure is known; an unreadable reason may be lost if the sample then counts as left."""
    from biomeformer.runs.run_folder import run_status

    status = run_status(folder / "run")
    return "failed or left" if status.left == ("s2",) else status.failed


N_STEPS, STOP = 6, 4


class _Stopped(Exception):
    """A training run was interrupted."""


def _train(folder: Path, *, stop: int | None = None) -> Any:
    """Train a small model, or resume its training; stop at a step if one is given."""
    import torch
    from accelerate.state import AcceleratorState
    from torch import nn

    from biomeformer.training.accelerator import make_accelerator
    from biomeformer.training.loop import Plan, Validation, train
    from biomeformer.training.run import TrainingRun
    from biomeformer.training.schedules import linear_warmup_decay

    AcceleratorState._reset_state(True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    n_validations = 0

    def draw(step: int, micro: int, n_micro_batches: int) -> Any:
        if step == stop:
            raise _Stopped
        rng = np.random.default_rng((step, micro))
        return {"values": torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))}

    def loss(wrapped: Any, batch: Any) -> Any:
        errors = (wrapped(batch["values"])[:, 0] - batch["values"].sum(1)) ** 2
        return errors.sum(), torch.tensor(float(len(errors)))

    def validate() -> Validation:
        nonlocal n_validations
        n_validations += 1
        return Validation(score=1.0 - 0.1 * n_validations)

    plan = Plan.of_epochs(N_STEPS, 2, schedule=linear_warmup_decay(N_STEPS, 0.25), patience=9, max_grad_norm=0.5)
    with TrainingRun(folder, {"seed": 0}, make_accelerator("no", cpu=True)).open(False) as run:
        train(run, 0, model, optimizer, plan, draw, loss, validate)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return {"weights": weights, "history": (folder / "history.csv").read_text()}


def _make_training(folder: Path) -> None:
    with contextlib.suppress(_Stopped):
        _train(folder / "run", stop=STOP)


def _trained(folder: Path) -> Any:
    return _train(folder / "run")


def _kinds() -> list[Format]:
    """Return the kinds of the table of own files, each file of one as a format."""
    import own_files as table

    mutations = {".json": TEXT_JSON, ".csv": TEXT_TABLE, ".tsv": TEXT_TABLE, ".safetensors": TENSORS}
    formats = []
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in table.KINDS.items():
            if name == "training run":
                # Training is resumed from these files below.
                continue
            example = Path(folder) / name
            example.mkdir()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                kind.write(example)
            for path in kind.files(example):
                file = path.relative_to(example).as_posix()
                # Names of segments are random, and those of datasets hold a digest.
                pattern = re.sub(r"[0-9a-f]{32}|(?<=-)[0-9a-f]{16}(?=\.parquet)", "*", file)
                each = Format(f"{name}: {pattern}", pattern, mutations.get(path.suffix, BINARY), kind.write, kind.read)
                if each.name not in {other.name for other in formats}:
                    formats.append(each)
    return formats


def own_files() -> list[Format]:
    """Return the kinds of files."""

    def own(name: str, file: str, mutations: list[Mutate], make: Callable, outcome: Callable) -> Format:
        return Format(name, file, mutations, make, outcome)

    state = "run/state/0-4"
    training: dict[str, tuple[str, list[Mutate]]] = {
        "weights of a training state": (f"{state}/model.safetensors", TENSORS),
        "optimizer of a training state": (f"{state}/optimizer*", BINARY),
        "random states of a training state": (f"{state}/random_states*", BINARY),
        "record of a training state": (f"{state}/state.json", TEXT_JSON),
        "best weights of a training run": ("run/state/best/weights.safetensors", TENSORS),
        "record of the best weights": ("run/state/best/weights.json", TEXT_JSON),
        "history of a training run": ("run/history.csv", TEXT_TABLE),
        "run.json of a training run": ("run/run.json", TEXT_JSON),
        "list of files of a training run": ("run/.biomeformer.json", TEXT_JSON),
    }
    return [
        own("part of a run", "run/run/parts/s1.safetensors", TENSORS, _make_run, _resumed),
        own("run.json, when a run is resumed", "run/run/run.json", TEXT_JSON, _make_run, _resumed),
        own("run.json, for biomeformer status", "run/run/run.json", TEXT_JSON, _make_run, _status),
        own("failure of a sample", "run/run/failed/s2.json", TEXT_JSON, _make_run, _resumed),
        *(own(name, file, mutations, _make_training, _trained) for name, (file, mutations) in training.items()),
        *_kinds(),
    ]
