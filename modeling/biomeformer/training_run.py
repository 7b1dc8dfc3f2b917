"""The output folder of a training recipe: what the run is, what it has reached, and its history."""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn

from . import __version__
from .errors import BiomeformerError, InputError, RankStopped
from .files import written_whole

BEST = "best.safetensors"
RECORD = "training_record.json"
HISTORIES = ("history.csv", "evaluation.csv")


class TrainingRun:
    """A run in stages, each of steps, that goes on where it was interrupted.

    Rows of its histories begin with the columns `stage` and `step`.

    Args:
        path: The folder.
        identity: What decides the run's results, in values JSON can hold.
        accelerator: The processes of the run.
    """

    def __init__(self, path: Path, identity: dict[str, Any], accelerator: Accelerator) -> None:
        self.path, self.identity, self.accelerator = path, identity, accelerator

    def open(self, overwrite: bool) -> None:
        """Begin or go on.

        Raises:
            InputError: The folder holds another run, or something else.
        """
        file = self.path / "run.json"
        if overwrite and self.accelerator.is_main_process:
            shutil.rmtree(self.path, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if file.is_file():
            before = json.loads(file.read_text())
            now = json.loads(json.dumps(self.identity))
            changed = ", ".join(key for key in now if before.get(key) != now[key])
            if changed:
                raise InputError(f"{self.path} holds a run with another {changed}; give a new folder, or --overwrite.")
        elif self.path.exists() and any(self.path.iterdir()):
            raise InputError(f"{self.path} exists and holds something else; give another folder, or --overwrite.")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and not file.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            self.write("run.json", json.dumps(self.identity, indent=1) + "\n")
        self.accelerator.wait_for_everyone()

    def write(self, name: str, text: str) -> None:
        """A file of the run, whole or not at all."""
        with written_whole(self.path / name) as partial:
            partial.write_text(text)

    def write_model(self, save: Callable[[Path], Any], record: dict[str, Any], name: str = "model") -> Path:
        """A checkpoint with `training_record.json`, whole or not at all, in place of one that is there.

        Args:
            save: Writes it to the folder it is given.
            record: How it was made; beside it go the versions of what made it.
            name: Of the folder within the run's.
        """
        text = json.dumps(record | {"versions": versions()}, indent=1) + "\n"
        folder, partial = self.path / name, self.path / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        save(partial)
        (partial / RECORD).write_text(text)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        self.write(RECORD, text)
        return folder

    def save_state(self, stage: int, step: int, extra: dict[str, Any]) -> None:
        """Write weights, optimiser and position, whole or not at all; older states go."""
        states = self.path / "state"
        name, partial = f"{stage}-{step}", states / ".partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (partial / "position.json").write_text(json.dumps({"stage": stage, "step": step, **extra}))
            shutil.rmtree(states / name, ignore_errors=True)
            os.replace(partial, states / name)
            for other in states.iterdir():
                if other.name not in (name, BEST):
                    shutil.rmtree(other, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def save_best(self, module: nn.Module) -> None:
        """Keep the best weights so far beside the states; all processes call it, and the main one writes."""
        if self.accelerator.is_main_process:
            (self.path / "state").mkdir(exist_ok=True)
            with written_whole(self.path / "state" / BEST) as partial:
                save_model(module, str(partial))
        self.accelerator.wait_for_everyone()

    def load_best(self, module: nn.Module) -> None:
        """Give a module the best weights."""
        load_model(module, self.path / "state" / BEST)

    def load_state(self, stage: int) -> dict[str, Any] | None:
        """Restore the newest state of a stage; gives its position."""
        found = sorted((self.path / "state").glob(f"{stage}-*/position.json"), key=lambda p: p.stat().st_mtime)
        if not found:
            return None
        self.accelerator.load_state(str(found[-1].parent))
        position: dict[str, Any] = json.loads(found[-1].read_text())
        self._truncate(stage, position["step"])
        return position

    def forget(self, stage: int) -> None:
        """Remove a stage's rows, before it begins anew."""
        self._truncate(stage, 0)

    def _truncate(self, stage: int, step: int) -> None:
        for name in HISTORIES if self.accelerator.is_main_process else ():
            file = self.path / name
            if file.is_file():
                header, *rows = file.read_text().splitlines()
                kept = [row for row in rows if tuple(map(int, row.split(",")[:2])) <= (stage, step)]
                self.write(name, "\n".join([header, *kept]) + "\n")

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to a CSV of the run; call it on the main process alone."""
        file = self.path / name
        new = not file.is_file()
        with file.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def bucketed_batches(
    rows: np.ndarray, lengths: np.ndarray, batch_size: int, n_pooled: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """An epoch's batches: rows of similar length together, so that little is padded, batches in any order.

    Args:
        rows: Numbers of what is trained on.
        lengths: Of all there is, by number.
        batch_size: Rows of a batch at most.
        n_pooled: Batches that are drawn together, and within which rows are put in order of length.
        rng: Of the draws.
    """
    order = rng.permutation(rows)
    n_batches = max(-(-len(order) // batch_size), 1)
    found = []
    for pool in np.array_split(order, max(n_batches // n_pooled, 1)):
        ordered = pool[np.argsort(lengths[pool], kind="stable")]
        found += np.array_split(ordered, max(-(-len(pool) // batch_size), 1))
    return [found[i] for i in rng.permutation(len(found))]


def share_of_peak_rate(step: int, n_steps: int, warmup: float) -> float:
    """Of the peak learning rate at a step, from 0: a linear rise over a share of the steps, then a linear fall to 0."""
    n_rising = max(round(n_steps * warmup), 1)
    return min((step + 1) / n_rising, max(n_steps - step, 0) / max(n_steps - n_rising, 1))


def versions() -> dict[str, str]:
    """Of what a run was made with."""
    return {"biomeformer": __version__, "torch": torch.__version__, "python": platform.python_version()}


def exit_code_of(work: Callable[[], None], advice: str) -> int:
    """Do a recipe's work; gives its exit code, and prints what went wrong once for all processes.

    Args:
        work: The recipe.
        advice: What to tell who interrupted it.
    """
    try:
        work()
    except BiomeformerError as error:
        # The process that stopped the others has said why.
        if os.environ.get("RANK", "0") == "0" and not isinstance(error, RankStopped):
            print(f"error: {error}{f'; {advice}' if error.exit_code >= 130 else ''}", file=sys.stderr)
        return error.exit_code
    return 0


__all__ = [
    "RECORD",
    "TrainingRun",
    "bucketed_batches",
    "exit_code_of",
    "share_of_peak_rate",
    "versions",
]
