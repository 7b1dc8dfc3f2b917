"""The output folder of a training recipe: identity, lock, checkpoints and history of a run."""

from __future__ import annotations

import csv
import json
import logging
import os
import platform
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn

from ..errors import InputError
from ..io.atomic import atomic_directory, atomic_write, publish_directory
from ..runs.process_group import ProcessGroup
from ..version import __version__

# Tied weights are saved once, which is no news.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)

BEST = "best.safetensors"
RECORD = "training_record.json"
HISTORY = "history.csv"
LOCK = "lock"
COLUMNS = (
    "stage",
    "step",
    "epoch",
    "learning_rate",
    "training_loss",
    "validation_loss",
    "validation_score",
)
# Of run.json and the files beside it; 1 had no number.
FORMAT_VERSION = 2


class TrainingRun:
    """A run in stages, each of steps, that resumes where it was interrupted.

    Args:
        path: The folder.
        identity: What decides the run's results, in values JSON can hold.
        accelerator: Engine of the run.
        processes: The processes of the run; this one alone by default.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        accelerator: Accelerator,
        processes: ProcessGroup | None = None,
    ) -> None:
        self.path, self.identity, self.accelerator = path, identity, accelerator
        self.processes = processes or ProcessGroup()
        self._lock = filelock.FileLock(path / LOCK)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.processes.is_main

    def check(self) -> None:
        """Raise `RunInterrupted` if a signal came."""
        self.processes.check()

    def open(self, overwrite: bool) -> TrainingRun:
        """Lock the folder, and start a run there or resume the one it holds; a context manager that ends the lock.

        Raises:
            InputError: The folder holds another run, one of an earlier version or something else, or a run is under
                way there.
        """
        if self.is_main:
            try:
                self._begin(overwrite)
            except BaseException:
                self._lock.release()
                raise
        self.processes.barrier()
        return self

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _begin(self, overwrite: bool) -> None:
        file = self.path / "run.json"
        if not overwrite and not file.is_file() and self.path.exists():
            if not self.path.is_dir() or any(entry.name != LOCK for entry in self.path.iterdir()):
                raise InputError(f"{self.path} exists and holds something else; give another folder, or --overwrite.")
        if overwrite and self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; give another folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=1)
        except filelock.Timeout:
            raise InputError(
                f"{self.path} is in use by {_holder(file)}; wait until it has ended, or give another folder."
            ) from None
        if overwrite:
            for entry in self.path.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != LOCK:
                    entry.unlink()
        identity = json.loads(json.dumps(self.identity))
        if file.is_file():
            before = json.loads(file.read_text())
            if before.get("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{self.path} holds a run of another version of biomeformer, whose history and checkpoints are "
                    "laid out differently; finish it with that version, give a new folder, or --overwrite."
                )
            changed = ", ".join(key for key in identity if before["identity"].get(key) != identity[key])
            if changed:
                raise InputError(f"{self.path} holds a run with another {changed}; give a new folder, or --overwrite.")
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        record = {"format_version": FORMAT_VERSION, "identity": identity, "process": process}
        self.write("run.json", json.dumps(record, indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the run, whole or not at all."""
        with atomic_write(self.path / name) as partial:
            partial.write_text(text)

    def write_model(self, save: Callable[[Path], Any], record: dict[str, Any], name: str = "model") -> Path:
        """Write a checkpoint with `training_record.json`, whole or not at all, in place of one that exists.

        Args:
            save: Writes it to the folder it is given.
            record: How it was made; beside it go the versions of what made it.
            name: Of the folder within the run's.
        """
        text = json.dumps(record | {"versions": versions()}, indent=1) + "\n"
        folder = self.path / name
        with atomic_directory(folder, existing="replace") as partial:
            save(partial)
            (partial / RECORD).write_text(text)
        self.write(RECORD, text)
        return folder

    def save_state(self, stage: int, step: int, position: dict[str, Any]) -> None:
        """Write weights, optimizer and position, and delete older states; all processes call it."""
        states = self.path / "state"
        name, partial = f"{stage}-{step}", states / ".partial"
        if self.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        self.processes.barrier()
        self.accelerator.save_state(str(partial))
        self.processes.barrier()
        if self.is_main:
            (partial / "position.json").write_text(json.dumps({"stage": stage, "step": step, **position}))
            publish_directory(partial, states / name, existing="replace")
            for other in states.iterdir():
                if other.name not in (name, BEST):
                    shutil.rmtree(other, ignore_errors=True)
        self.processes.barrier()

    def load_state(self, stage: int) -> dict[str, Any] | None:
        """Restore the newest state of a stage, and return its position; without one forget the stage's history."""
        states = sorted((self.path / "state").glob(f"{stage}-*/position.json"), key=lambda p: p.stat().st_mtime)
        if not states:
            self._truncate(stage, 0)
            return None
        self.accelerator.load_state(str(states[-1].parent))
        position: dict[str, Any] = json.loads(states[-1].read_text())
        self._truncate(stage, position["step"])
        return position

    def delete_states(self) -> None:
        """Delete what a finished run, or stage, does not need."""
        if self.is_main:
            shutil.rmtree(self.path / "state", ignore_errors=True)
        self.processes.barrier()

    def save_best(self, module: nn.Module) -> None:
        """Keep the best weights so far beside the states; all processes call it."""
        if self.is_main:
            (self.path / "state").mkdir(exist_ok=True)
            with atomic_write(self.path / "state" / BEST) as partial:
                save_model(module, str(partial))
        self.processes.barrier()

    def load_best(self, module: nn.Module) -> None:
        """Give a module the best weights."""
        load_model(module, self.path / "state" / BEST)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row to the history; columns that are not given stay empty. The main process alone calls it."""
        file = self.path / HISTORY
        new = not file.is_file()
        with file.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, restval="", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def history(self, stage: int) -> list[dict[str, str]]:
        """Return the rows of a stage."""
        with (self.path / HISTORY).open(newline="") as handle:
            return [row for row in csv.DictReader(handle) if int(row["stage"]) == stage]

    def _truncate(self, stage: int, step: int) -> None:
        """Drop the rows after a step: they are written again."""
        file = self.path / HISTORY
        if self.is_main and file.is_file():
            header, *rows = file.read_text().splitlines()
            kept = [row for row in rows if tuple(map(int, row.split(",")[:2])) <= (stage, step)]
            self.write(HISTORY, "\n".join([header, *kept]) + "\n")


def _holder(file: Path) -> str:
    """Who has the lock, as the run's record says."""
    try:
        process = json.loads(file.read_text())["process"]
        return f"the run that process {process['pid']} on {process['host']} began"
    except (OSError, ValueError, KeyError):
        return "another run"


def versions() -> dict[str, str]:
    """Return the versions of what a run was made with."""
    return {"biomeformer": __version__, "torch": torch.__version__, "python": platform.python_version()}


__all__ = ["COLUMNS", "RECORD", "TrainingRun", "versions"]
