"""The output folder of a training recipe: identity, lock, states, checkpoints and history of a run."""

from __future__ import annotations

import csv
import json
import logging
import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import filelock
import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn

from ..checkpoints.source import public_record
from ..errors import InputError
from ..io.atomic import atomic_directory, atomic_write, publish_directory, write_json
from ..runs.process_group import ProcessGroup
from ..runs.progress import Progress
from ..version import __version__

# Silence the notice that tied weights are saved once.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)

Item = TypeVar("Item")
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
# Version of run.json and the files beside it; version 1 had no number.
FORMAT_VERSION = 2


class TrainingRun:
    """A training run in stages of steps, which resumes where it was interrupted.

    Args:
        path: The folder.
        identity: JSON values that determine the run's results.
        accelerator: The Accelerator of the run.
        processes: The processes of the run; by default this one only.
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
        self._progress: Progress | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.processes.is_main

    def check(self) -> None:
        """Raise `RunInterrupted` if a signal was received."""
        self.processes.check()

    def open(self, overwrite: bool) -> TrainingRun:
        """Lock the folder, and start a new run or resume the one it holds; as a context manager, release the lock.

        Args:
            overwrite: Whether to delete the content of the folder.

        Raises:
            InputError: The folder holds another run, a run of an earlier version or other files, or is in use.
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
        identity = public_record(json.loads(json.dumps(self.identity)))
        if file.is_file():
            before = json.loads(file.read_text())
            if before.get("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{self.path} holds a run of another version of biomeformer, whose history and checkpoints are "
                    "laid out differently; finish it with that version, give a new folder, or --overwrite."
                )
            # Runs of earlier versions name checkpoints by their paths.
            former = public_record(before["identity"])
            changed = ", ".join(key for key in identity if former.get(key) != identity[key])
            if changed:
                raise InputError(f"{self.path} holds a run with another {changed}; give a new folder, or --overwrite.")
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        record = {"format_version": FORMAT_VERSION, "identity": identity, "process": process}
        write_json(self.path / "run.json", record)

    @contextmanager
    def showing_progress(self) -> Iterator[Progress]:
        """Show progress on the main process; nested uses share one display."""
        if self._progress is not None:
            yield self._progress
            return
        with Progress(enabled=self.is_main) as self._progress:
            try:
                yield self._progress
            finally:
                self._progress = None

    def track(self, items: Sequence[Item], task: str) -> Iterator[Item]:
        """Iterate over items and show how many are done.

        Args:
            items: The items.
            task: Name in the progress display.
        """
        with self.showing_progress() as progress:
            for n_done, item in enumerate(items):
                progress.update(task, n_done, len(items))
                yield item
            progress.update(task, len(items), len(items))

    def write_model(self, save: Callable[[Path], Any], record: dict[str, Any], name: str = "model") -> Path:
        """Write a checkpoint with `training_record.json` atomically, replacing an existing one.

        Args:
            save: Writes the checkpoint to the folder it is given.
            record: How the checkpoint was made, as JSON values; package versions are added, and paths of this machine
                become names.
            name: Name of the checkpoint's folder within the run's.

        Returns:
            The checkpoint's folder.
        """
        record = public_record(record | {"versions": versions()})
        folder = self.path / name
        with atomic_directory(folder, existing="replace") as partial:
            save(partial)
            write_json(partial / RECORD, record)
        write_json(self.path / RECORD, record)
        return folder

    def save_state(self, stage: int, step: int, position: dict[str, Any]) -> None:
        """Write weights, optimizer state and position, and delete older states; all processes call it."""
        states = self.path / "state"
        name, partial = f"{stage}-{step}", states / ".partial"
        if self.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        self.processes.barrier()
        self.accelerator.save_state(str(partial))
        self.processes.barrier()
        if self.is_main:
            write_json(partial / "position.json", {"stage": stage, "step": step, **position}, indent=None)
            publish_directory(partial, states / name, existing="replace")
            for other in states.iterdir():
                if other.name not in (name, BEST):
                    shutil.rmtree(other, ignore_errors=True)
        self.processes.barrier()

    def load_state(self, stage: int) -> dict[str, Any] | None:
        """Restore the newest state of a stage and return its position; without one clear the stage's history."""
        states = sorted((self.path / "state").glob(f"{stage}-*/position.json"), key=lambda p: p.stat().st_mtime)
        if not states:
            self._truncate(stage, 0)
            return None
        self.accelerator.load_state(str(states[-1].parent))
        position: dict[str, Any] = json.loads(states[-1].read_text())
        self._truncate(stage, position["step"])
        return position

    def delete_states(self) -> None:
        """Delete the states, which a finished run or stage does not need; all processes call it."""
        if self.is_main:
            shutil.rmtree(self.path / "state", ignore_errors=True)
        self.processes.barrier()

    def save_best(self, module: nn.Module) -> None:
        """Save the best weights so far beside the states; all processes call it."""
        if self.is_main:
            (self.path / "state").mkdir(exist_ok=True)
            with atomic_write(self.path / "state" / BEST) as partial:
                save_model(module, str(partial))
        self.processes.barrier()

    def load_best(self, module: nn.Module) -> None:
        """Load the best weights into a module."""
        load_model(module, self.path / "state" / BEST)

    def append(self, row: dict[str, Any]) -> None:
        """Append a row to the history, leaving missing columns empty; only the main process calls it."""
        file = self.path / HISTORY
        new = not file.is_file()
        with file.open("a", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, restval="", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def history(self, stage: int) -> list[dict[str, str]]:
        """Return the history rows of a stage."""
        with (self.path / HISTORY).open(newline="") as handle:
            return [row for row in csv.DictReader(handle) if int(row["stage"]) == stage]

    def _truncate(self, stage: int, step: int) -> None:
        """Drop the rows after a step, which will be written again."""
        file = self.path / HISTORY
        if self.is_main and file.is_file():
            header, *rows = file.read_text().splitlines()
            kept = [row for row in rows if tuple(map(int, row.split(",")[:2])) <= (stage, step)]
            with atomic_write(file) as partial:
                partial.write_text("\n".join([header, *kept]) + "\n")


def _holder(file: Path) -> str:
    """Describe who holds the lock, according to the run's record."""
    try:
        process = json.loads(file.read_text())["process"]
        return f"the run that process {process['pid']} on {process['host']} started"
    except (OSError, ValueError, KeyError):
        return "another run"


def versions() -> dict[str, str]:
    """Return the versions of biomeformer, torch and Python."""
    return {"biomeformer": __version__, "torch": torch.__version__, "python": platform.python_version()}


__all__ = ["COLUMNS", "RECORD", "TrainingRun", "versions"]
