"""The record of a training state: its position, and the checksums of the files that Accelerate wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..io.digests import FileDigest, check_files
from ..io.records import DamagedFileError, RecordType

STATE = "state.json"
ADVICE = "delete its folder to train the stage from its start, or give --overwrite to start over"


class Position(msgspec.Struct):
    """Where a stage stands.

    Attributes:
        best_step: Step of the best validation.
        best: Its loss and score as text, which holds NaN too; None before the first validation.
        stale: Validations since then.
        seconds: Wall time.
    """

    best_step: int
    best: dict[str, str | None] | None
    stale: int
    seconds: float


class State(msgspec.Struct):
    """Content of `state.json`.

    Attributes:
        stage: Number of the stage.
        step: Steps done.
        position: Where the stage stands.
        history: Digest of the history up to here; None where there is none.
        files: Digests of the other files of the state.
    """

    stage: int
    step: int
    position: Position
    history: FileDigest | None
    files: dict[str, FileDigest]


_RECORD = RecordType(State, ADVICE)


def write_state(
    folder: Path, stage: int, step: int, position: Mapping[str, Any], history: FileDigest | None, files: Any
) -> None:
    """Write the record of a state, whose other files are complete."""
    record = {"stage": stage, "step": step, "position": dict(position), "history": history, "files": files}
    _RECORD.write(folder / STATE, record, indent=None)


def newest_intact_state(states: Path, stage: int) -> tuple[Path, State] | None:
    """Return the folder and the record of a stage's newest state that is not damaged; None if it has no state.

    Raises:
        DamagedFileError: All states of the stage are damaged.
    """
    folders = [path for path in states.glob(f"{stage}-*") if path.is_dir()]
    first_error: DamagedFileError | None = None
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return folder, _read_state(folder, stage)
        except DamagedFileError as error:
            if first_error is not None:
                continue
            first_error = error
    if first_error is not None:
        raise first_error
    return None


def _read_state(folder: Path, stage: int) -> State:
    try:
        state = _RECORD.read(folder / STATE)
    except FileNotFoundError as error:
        raise DamagedFileError(f"{folder / STATE} is missing; {ADVICE}.") from error
    if folder.name != f"{stage}-{state.step}" or state.stage != stage:
        raise DamagedFileError(f"{folder / STATE} is that of another state; {ADVICE}.")
    check_files(folder, state.files, ADVICE)
    return state


__all__ = ["Position", "State", "newest_intact_state", "write_state"]
