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

import msgspec
import torch
from accelerate import Accelerator
from safetensors.torch import load_model, save_model
from torch import nn

from ..checkpoints.source import public_record
from ..errors import InputError
from ..io.atomic import (
    atomic_directory,
    atomic_write,
    publish_directory,
    remove_stale_partials,
    wrap_write_errors,
    write_json,
)
from ..io.file_identity import FileIdentity, InputFile, compare_files
from ..io.locks import FolderLock
from ..io.records import RecordType
from ..runs.output_folder import OutputFolder
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
INPUTS = "inputs.json"
WRITER = "training"
# What every run writes.
FILES = ("run.json", INPUTS, HISTORY, RECORD, "state", "model", "folds")
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
        inputs: Files that the run reads, whose content is part of its identity once `record_inputs` was called.
        files: Names of files and folders in `path` that the recipe writes beside those of every run; `overwrite`
            deletes them.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        accelerator: Accelerator,
        processes: ProcessGroup | None = None,
        *,
        inputs: Sequence[Path] = (),
        files: Sequence[str] = (),
    ) -> None:
        self.path, self.identity, self.accelerator = path, identity, accelerator
        self.processes = processes or ProcessGroup()
        self.inputs = inputs
        self._output = OutputFolder(path, WRITER, {LOCK})
        self._files = [*FILES, *files]
        self._lock = FolderLock(path, path / LOCK, keep=True)
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
            overwrite: Whether to delete the run that the folder holds; files that no run wrote stay.

        Raises:
            InputError: The folder holds another run, a run of other inputs or of an earlier version, or other files, or
                is in use.
            RunError: It cannot be written to.
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
        if overwrite or not file.is_file():
            self._output.check(overwrite=overwrite)
        with wrap_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            is_old = file.is_file() and self._output.ownership() is None
            if overwrite:
                self._output.claim(self._files)
                self._output.delete()
            for folder in (self.path, self.path / "state"):
                remove_stale_partials(folder, exclusive=True)
            # All processes write to it, so its name has no process.
            shutil.rmtree(self.path / "state" / ".partial", ignore_errors=True)
        identity = public_record(json.loads(json.dumps(self.identity)))
        if file.is_file():
            before = json.loads(file.read_text())
            if before.get("format_version") != FORMAT_VERSION:
                raise InputError(
                    f"{self.path} holds a run of another version of biomeformer, whose history and checkpoints are "
                    "laid out differently; finish it with that version, or give a new folder."
                )
            # Runs of earlier versions name checkpoints by their paths.
            former = public_record(before["identity"])
            changed = ", ".join(key for key in identity if former.get(key) != identity[key])
            if changed:
                raise InputError(f"{self.path} holds a run with another {changed}; give a new folder, or --overwrite.")
        self._check_inputs()
        self._output.claim(self._files, adopt=is_old)
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        record = {"format_version": FORMAT_VERSION, "identity": identity, "process": process}
        write_json(self.path / "run.json", record)

    def _check_inputs(self) -> None:
        """Refuse a run whose input files had another content."""
        before = self._recorded_inputs()
        if before is None:
            return
        files = [InputFile.from_path(path) for path in self.inputs]
        comparison = compare_files(before, files, self.check)
        if comparison == "changed":
            raise InputError(
                f"{self.path} holds a run with {_difference(before, files)}; give a new folder, or --overwrite."
            )
        if comparison == "same content":
            # So that the files need not be read the next time.
            self._write_inputs([file.identify() for file in files])

    def record_inputs(self, inputs: Callable[[], Sequence[FileIdentity]] | None = None) -> None:
        """Record what the input files are, unless that is recorded; only the main process calls it.

        Args:
            inputs: Returns what they were when they were read; by default they are read now, unless this process has
                read them.
        """
        if self._recorded_inputs() is None:
            files = (InputFile.from_path(path) for path in self.inputs)
            self._write_inputs(inputs() if inputs else [file.identify(self.check) for file in files])

    def _recorded_inputs(self) -> list[FileIdentity] | None:
        try:
            return [FileIdentity(*record) for record in INPUTS_RECORD.read(self.path / INPUTS).files]
        except FileNotFoundError:
            return None

    def _write_inputs(self, inputs: Sequence[FileIdentity]) -> None:
        with wrap_write_errors(self.path):
            INPUTS_RECORD.write(self.path / INPUTS, {"files": [identity.record for identity in inputs]})

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
        with atomic_directory(folder, existing="replace", locked=True) as partial:
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


class _Inputs(msgspec.Struct):
    """Content of `inputs.json`: name, size, time of modification and digest of each file."""

    files: list[tuple[str, int, int, str]]


INPUTS_RECORD = RecordType(_Inputs, "give a new folder, or --overwrite")


def _difference(before: Sequence[FileIdentity], files: Sequence[InputFile]) -> str:
    """Describe how input files differ from what they were."""
    if len(before) != len(files):
        return f"{len(before):,} input files, and now there are {len(files):,}"
    for recorded, file in zip(before, files, strict=True):
        if recorded.size != file.size or recorded.digest != file.identify().digest:
            return f"another content of {file.path}"
    return "other input files"


def versions() -> dict[str, str]:
    """Return the versions of biomeformer, torch and Python."""
    return {"biomeformer": __version__, "torch": torch.__version__, "python": platform.python_version()}


__all__ = ["COLUMNS", "RECORD", "TrainingRun", "versions"]
