"""The output folder of a training recipe: identity, lock, states, checkpoints and history of a run."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from accelerate import Accelerator
from torch import nn

from ..checkpoints.source import public_record
from ..errors import InputError, reason_of
from ..io.atomic import (
    atomic_directory,
    atomic_write,
    publish_directory,
    remove_stale_partials,
    wrap_write_errors,
    write_json,
)
from ..io.digests import FileDigest, digest_file, digest_files
from ..io.file_identity import FileIdentity, InputFile, compare_files
from ..io.locks import FolderLock
from ..io.records import DamagedFileError, MissingChecksumError, RecordType
from ..runs.output_folder import OutputFolder
from ..runs.process_group import ProcessGroup
from ..runs.progress import Progress
from ..version import versions
from .states import Position, State, newest_intact_state, write_state
from .weights import load_weights, save_weights

# Silence the notice that tied weights are saved once.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)

Item = TypeVar("Item")
BEST = "best"
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
# Version of run.json and the files beside it; version 1 had no number, and version 2 no checksums.
FORMAT_VERSION = 3
START_OVER = "restore it, give a new folder, or --overwrite"


class _RunRecord(msgspec.Struct):
    """Content of `run.json`: what determines the results, and the process that trains or trained last."""

    format_version: int
    identity: dict[str, Any]
    process: dict[str, Any]


_RECORD = RecordType(_RunRecord, START_OVER)


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
            before = _read_record(file)
            # Runs of earlier versions name checkpoints by their paths.
            former = public_record(before.identity)
            changed = ", ".join(key for key in identity if former.get(key) != identity[key])
            if changed:
                raise InputError(f"{self.path} holds a run with another {changed}; give a new folder, or --overwrite.")
        self._check_inputs()
        self._output.claim(self._files, adopt=is_old)
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        record = {"format_version": FORMAT_VERSION, "identity": identity, "process": process}
        _RECORD.write(self.path / "run.json", record)

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
        record = public_record(record | {"versions": versions("torch", "python")})
        folder = self.path / name
        with atomic_directory(folder, existing="replace", locked=True) as partial:
            save(partial)
            write_json(partial / RECORD, record)
        write_json(self.path / RECORD, record)
        return folder

    def save_state(self, stage: int, step: int, position: dict[str, Any]) -> None:
        """Write weights, optimizer state and position, and delete older states; all processes call it.

        Args:
            stage: Number of the stage.
            step: Steps done.
            position: Fields of `Position`.

        Raises:
            RunError: They cannot be written.
        """
        with wrap_write_errors(self.path):
            self._save_state(stage, step, position)

    def _save_state(self, stage: int, step: int, position: dict[str, Any]) -> None:
        states = self.path / "state"
        name, partial = f"{stage}-{step}", states / ".partial"
        if self.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        self.processes.barrier()
        self.accelerator.save_state(str(partial))
        # Each process digests what it wrote itself, which the main one may not see at once on a shared file system.
        own = digest_files(partial, [f"random_states_{self.accelerator.process_index}.pkl"])
        files: dict[str, FileDigest] = {}
        for digests in self.processes.all_gather(own):
            files |= digests
        if self.is_main:
            names = sorted(str(path.relative_to(partial)) for path in partial.rglob("*") if path.is_file())
            files |= digest_files(partial, [other for other in names if other not in files])
            history = digest_file(self.path / HISTORY) if (self.path / HISTORY).is_file() else None
            write_state(partial, stage, step, position, history, files)
            publish_directory(partial, states / name, existing="replace")
            for other in states.iterdir():
                if other.name not in (name, BEST):
                    shutil.rmtree(other, ignore_errors=True)
        self.processes.barrier()

    def load_state(self, stage: int) -> tuple[int, Position] | None:
        """Restore the newest intact state of a stage and return its step and position.

        Without a state the stage's history is cleared, and None returned. All processes call it.

        Raises:
            DamagedFileError: The state or the history is damaged.
        """
        newest = self.processes.on_main(lambda: self._newest_state(stage))
        if newest is None:
            if self.is_main:
                self._truncate(stage)
            return None
        name, values = newest
        state = msgspec.convert(values, State)
        folder = self.path / "state" / name
        try:
            self.accelerator.load_state(str(folder))
        # Verified files fail only if they are those of another model or another version of a library.
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            reason = reason_of(error)
            raise DamagedFileError(f"{folder} does not fit the model ({reason}); {START_OVER}.") from error
        if self.is_main:
            self._restore_history(state.history)
        return state.step, state.position

    def _newest_state(self, stage: int) -> tuple[str, dict[str, Any]] | None:
        newest = newest_intact_state(self.path / "state", stage)
        return None if newest is None else (newest[0].name, msgspec.to_builtins(newest[1]))

    def delete_states(self) -> None:
        """Delete the states, which a finished run or stage does not need; all processes call it."""
        if self.is_main:
            shutil.rmtree(self.path / "state", ignore_errors=True)
        self.processes.barrier()

    def save_best(self, module: nn.Module) -> None:
        """Save the best weights so far beside the states; all processes call it."""
        if self.is_main:
            (self.path / "state").mkdir(exist_ok=True)
            save_weights(module, self.path / "state" / BEST)
        self.processes.barrier()

    def load_best(self, module: nn.Module) -> None:
        """Load the best weights into a module.

        Raises:
            DamagedFileError: They are damaged.
        """
        load_weights(module, self.path / "state" / BEST)

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
        """Return the history rows of a stage.

        Raises:
            DamagedFileError: The history is damaged.
        """
        return [row for number, row in self._history_rows() if number == stage]

    def _history_rows(self) -> list[tuple[int, dict[str, str]]]:
        """Return stage and fields of each row."""
        file, rows = self.path / HISTORY, []
        try:
            with file.open(newline="", encoding="utf-8") as handle:
                reader = csv.DictReader(handle, strict=True)
                if tuple(reader.fieldnames or ()) != COLUMNS:
                    raise ValueError("other columns")
                for row in reader:
                    if None in row or None in row.values():
                        raise ValueError("a row of another length")
                    for name, value in row.items():
                        if value or name in ("stage", "step"):
                            (int if name in ("stage", "step", "epoch") else float)(value)
                    rows.append((int(row["stage"]), row))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            raise _damaged_history(file, f"has no rows of {', '.join(COLUMNS[:2])} and so on") from error
        return rows

    def _truncate(self, stage: int) -> None:
        """Drop the rows of a stage and of later ones, which will be written again."""
        file = self.path / HISTORY
        if not file.is_file():
            return
        content = file.read_bytes()
        # A process that is killed may leave part of a row.
        complete = content[: content.rfind(b"\n") + 1]
        if complete != content:
            with atomic_write(file) as partial:
                partial.write_bytes(complete)
        if not complete:
            file.unlink()
            return
        kept = [row for number, row in self._history_rows() if number < stage]
        with atomic_write(file) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

    def _restore_history(self, digest: FileDigest | None) -> None:
        """Drop the rows that were written after a state, whose record has the digest of those before."""
        file = self.path / HISTORY
        if digest is None:
            file.unlink(missing_ok=True)
            return
        if not file.is_file():
            raise _damaged_history(file, "is missing")
        if digest_file(file, digest["bytes"]) != digest:
            raise _damaged_history(file, "does not match its checksum")
        if file.stat().st_size > digest["bytes"]:
            with file.open("rb") as handle:
                content = handle.read(digest["bytes"])
            with atomic_write(file) as partial:
                partial.write_bytes(content)


def _read_record(file: Path) -> _RunRecord:
    """Read `run.json`.

    Raises:
        InputError: It is damaged, or of another version.
    """
    try:
        record = _RECORD.read(file)
    except MissingChecksumError as error:
        raise _another_version(file.parent) from error
    if record.format_version != FORMAT_VERSION:
        raise _another_version(file.parent)
    return record


def _another_version(folder: Path) -> InputError:
    return InputError(
        f"{folder} holds a run of another version of biomeformer, whose history and checkpoints are laid out "
        "differently; finish it with that version, give a new folder, or --overwrite."
    )


def _damaged_history(file: Path, problem: str) -> DamagedFileError:
    return DamagedFileError(f"{file} {problem}, so it is damaged or was edited; {START_OVER}.")


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


__all__ = ["COLUMNS", "RECORD", "TrainingRun"]
