"""The folder of a run over items, such as samples or genomes: one part per finished item, failures, and a record.

    FOLDER/run/run.json           what decides the numbers (the fingerprint), the items, and each attempt
    FOLDER/run/parts/ID.safetensors   a finished item; written once, atomically, and never changed
    FOLDER/run/failed/ID.json     why an item failed; it is tried again when the run is resumed
    FOLDER/run/lock               held by the run that is under way

A part is used if its fingerprint and the names and sizes of its input files are those of the run at hand.

Keys of these files keep the names of version 0.1, which knew samples alone: `samples` and `sample_id` are items,
`reads` an item's input files, and `how_it_ended` is an attempt's status.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import filelock
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import InputError
from ..io.atomic import atomic_write, remove_stale_partials, wrap_write_errors
from ..moved import renamed

FORMAT_VERSION = 1
# These name the model and do not decide numbers: its weights do, and they have a hash.
NAMES_ALONE = ("model", "revision", "read_encoder")


# The noun of records that have none.
DEFAULT_NOUN = "samples"
STATUS_ON_DISK = "how_it_ended"


@dataclass(frozen=True)
class Part:
    """The part of a finished item.

    Attributes:
        path: Its file.
        stats: Its statistics, such as reads by what became of them.
    """

    path: Path
    stats: dict[str, int]

    def arrays(self) -> dict[str, np.ndarray]:
        """Read its arrays from the disk."""
        with safe_open(self.path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        n_items: Items in all.
        n_done: Finished items.
        failed: Reasons of the items that failed, by item.
        left: Items neither finished nor failed.
        bytes_done: Size of the finished items' input files.
        bytes_left: Size of the input files of those left.
        attempts: Its attempts: when, on what, and in `status` how each ended, None where it did not.
        is_running: Whether a run is under way now; None where that is unknown.
        seconds_to_go: At the speed of the last attempt; None where it finished no item.
        noun: What the items are, in the plural.
    """

    n_items: int
    n_done: int
    failed: dict[str, str]
    left: tuple[str, ...]
    bytes_done: int
    bytes_left: int
    attempts: tuple[dict[str, Any], ...]
    is_running: bool | None
    seconds_to_go: float | None
    noun: str = DEFAULT_NOUN

    n_samples = renamed("n_samples", "n_items")


class RunItem(Protocol):
    """What a run makes one part of, such as a sample or a genome."""

    @property
    def item_id(self) -> str:
        """Unique within the run, and usable as a file name."""
        ...

    def files(self) -> Sequence[Path]:
        """Return the input files, in reading order."""
        ...


Item = TypeVar("Item", bound=RunItem)


class RunFolder(Generic[Item]):
    """A run's folder on the disk.

    Args:
        folder: Where results go; the run's own files are in its `run/`.
        fingerprint: What decides the numbers, in values JSON can hold. Its `model`, `revision` and `read_encoder` are
            for people: a part is used whatever the model was called, if its weights had the same hash.
        items: The items, in order.
        noun: What the items are, in the plural, for messages.
        results: Names of files in `folder` that are made from the parts, and are deleted when a run starts over.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: dict[str, Any],
        items: Iterable[Item],
        noun: str = DEFAULT_NOUN,
        results: Sequence[str] = (),
    ) -> None:
        self.folder, self.noun, self.results = folder, noun, results
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        self.items = {item.item_id: item for item in items}
        self.sizes = {item_id: _files(item) for item_id, item in self.items.items()}
        self.attempts: list[dict[str, Any]] = []
        self._digest = hashlib.sha256(json.dumps(_decisive(self.fingerprint), sort_keys=True).encode()).hexdigest()
        self._lock = filelock.FileLock(self._run / "lock")
        self._started = time.monotonic()

    @property
    def _run(self) -> Path:
        return self.folder / "run"

    def part_path(self, item_id: str) -> Path:
        """Return the path of an item's part, written or not."""
        return self._run / "parts" / f"{item_id}.safetensors"

    def n_bytes(self, item_id: str) -> int:
        """Return the size of an item's input files."""
        return sum(size for _, size in self.sizes[item_id])

    def begin(self, *, resume: bool = True, overwrite: bool = False, **attempt: Any) -> None:
        """Lock the folder and start or resume the run; the main process alone calls it.

        Args:
            resume: Whether a run that the folder holds is resumed; otherwise it is refused.
            overwrite: Delete a run that the folder holds, whatever it is.
            **attempt: Further fields of this attempt's record.

        Raises:
            InputError: It holds a run with another fingerprint or something else, or a run is under way there.
            RunError: It cannot be written to.
        """
        if not overwrite and not is_run_folder(self.folder) and self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} is a folder that is not empty; give a new one, or --overwrite.")
        with wrap_write_errors(self.folder):
            self._run.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=1)
            except filelock.Timeout:
                raise InputError(
                    f"{self.folder} is in use by {_who(_read_record(self._run))}; wait until it has ended, or give "
                    "another folder."
                ) from None
        try:
            with wrap_write_errors(self.folder):
                self._take(resume, overwrite, attempt)
        except BaseException:
            self._lock.release()
            raise

    def _take(self, resume: bool, overwrite: bool, attempt: dict[str, Any]) -> None:
        if overwrite:
            for name in ("parts", "failed"):
                shutil.rmtree(self._run / name, ignore_errors=True)
            for path in (self._run / "run.json", *(self.folder / name for name in self.results)):
                path.unlink(missing_ok=True)
        record = _read_record(self._run)
        if record is not None:
            if not resume:
                raise InputError(f"{self.folder} holds a run already; leave --no-resume out to resume it.")
            different = list(_differences(_decisive(record["fingerprint"]), _decisive(self.fingerprint)))
            if different:
                raise InputError(
                    f"{self.folder} holds another run: {'; '.join(different)}; give another folder, or --overwrite to "
                    "start over there."
                )
            self.fingerprint = record["fingerprint"]
            self.attempts = record["attempts"]
        for name in ("parts", "failed"):
            (self._run / name).mkdir(exist_ok=True)
        for folder in (self.folder, self._run, self._run / "parts", self._run / "failed"):
            remove_stale_partials(folder, exclusive=True)
        started = {"started": _now(), "status": None, "host": socket.gethostname(), "pid": os.getpid()}
        self.attempts.append(started | attempt)
        self._started = time.monotonic()
        self.write_record()

    def end(self, status: str, **more: Any) -> None:
        """Record how the attempt ended, and release the folder."""
        try:
            if self.attempts:
                seconds = round(time.monotonic() - self._started, 3)
                self.attempts[-1] |= {"status": status, "ended": _now(), "seconds": seconds, **more}
                with wrap_write_errors(self.folder):
                    self.write_record()
        finally:
            self._lock.release()

    def write_record(self) -> None:
        """Write `run.json`."""
        record = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "noun": self.noun,
            "samples": {item_id: self.n_bytes(item_id) for item_id in self.items},
            "attempts": [_with_key(attempt, "status", STATUS_ON_DISK) for attempt in self.attempts],
        }
        with atomic_write(self._run / "run.json") as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")

    def write_part(self, item_id: str, arrays: dict[str, np.ndarray], stats: dict[str, int]) -> None:
        """Write the part of a finished item.

        Raises:
            RunError: It cannot be written.
        """
        record = {
            "sample_id": item_id,
            "fingerprint": self._digest,
            "reads": json.dumps(self.sizes[item_id]),
            "tallies": json.dumps(stats),
        }
        with wrap_write_errors(self.folder):
            with atomic_write(self.part_path(item_id)) as partial:
                # `save_file` would write beside it first, under a name of its own that a kill leaves there.
                partial.write_bytes(save(arrays, metadata=record))
            self._failure_path(item_id).unlink(missing_ok=True)

    def part(self, item_id: str) -> Part | None:
        """Return the part of an item, or None if there is none that fits this run."""
        path = self.part_path(item_id)
        try:
            with safe_open(path, "numpy") as file:
                record = file.metadata() or {}
        except (OSError, SafetensorError):
            return None
        fits = record.get("fingerprint") == self._digest and record.get("sample_id") == item_id
        if not fits or json.loads(record["reads"]) != self.sizes[item_id]:
            return None
        return Part(path, json.loads(record["tallies"]))

    def finished(self) -> dict[str, Part]:
        """Return the parts by item, in the order of the items."""
        parts = {item_id: self.part(item_id) for item_id in self.items}
        return {item_id: part for item_id, part in parts.items() if part is not None}

    def _failure_path(self, item_id: str) -> Path:
        return self._run / "failed" / f"{item_id}.json"

    def write_failure(self, item_id: str, reason: str) -> None:
        """Record why an item failed.

        Raises:
            RunError: It cannot be written.
        """
        with wrap_write_errors(self.folder), atomic_write(self._failure_path(item_id)) as partial:
            partial.write_text(json.dumps({"sample_id": item_id, "reason": reason, "when": _now()}) + "\n")

    def failures(self) -> dict[str, str]:
        """Return why items failed, in the order of the items."""
        return _failures(self._run, self.items)


def is_run_folder(folder: str | Path) -> bool:
    """Return whether a folder holds a run, finished or not."""
    return (Path(folder) / "run").is_dir()


def run_status(folder: str | Path) -> RunStatus:
    """Return where the run in a folder stands, from the names of its files.

    Raises:
        InputError: There is no run.
    """
    folder = Path(folder)
    run = folder / "run"
    record = _read_record(run)
    if record is None:
        raise InputError(f"{folder} holds no run; give the folder that `biomeformer embed` got as --output.")
    sizes: dict[str, int] = record["samples"]
    finished = {}
    for item_id in sizes:
        with suppress(OSError):
            finished[item_id] = (run / "parts" / f"{item_id}.safetensors").stat().st_mtime
    failed = {name: why for name, why in _failures(run, sizes).items() if name not in finished}
    left = tuple(name for name in sizes if name not in finished and name not in failed)
    bytes_left = sum(sizes[name] for name in left)
    is_running = _is_locked(run / "lock")
    speed = None
    if record["attempts"]:
        last = record["attempts"][-1]
        since = _timestamp(last["started"])
        recent = [name for name, when in finished.items() if when >= since]
        until = time.time() if is_running else max((finished[name] for name in recent), default=since)
        if recent and until > since:
            speed = sum(sizes[name] for name in recent) / (until - since)
    return RunStatus(
        n_items=len(sizes),
        n_done=len(finished),
        failed=failed,
        left=left,
        bytes_done=sum(sizes[name] for name in finished),
        bytes_left=bytes_left,
        attempts=tuple(record["attempts"]),
        is_running=is_running,
        seconds_to_go=0.0 if not left else bytes_left / speed if speed else None,
        noun=record.get("noun", DEFAULT_NOUN),
    )


def peak_memory() -> int:
    """Return the most memory this process has used so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _files(item: RunItem) -> list[list[Any]]:
    """Return names and sizes of an item's files, in reading order: what a copy of them elsewhere has in common."""
    return [[path.name, path.stat().st_size] for path in item.files()]


def _with_key(attempt: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return an attempt with one key renamed, in the same order."""
    return {new if key == old else key: value for key, value in attempt.items()}


def _decisive(fingerprint: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fingerprint.items() if name not in NAMES_ALONE}


# What messages call a field of a record, whose name in files stays what it was.
FIELD_NAMES = {"contract": "preprocessing"}


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _differences(
                before.get(key), now.get(key), f"{name}.{key}" if name else FIELD_NAMES.get(key, key)
            )
    elif before != now:
        yield f"{name} was {_short(before)} and is now {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _read_record(run: Path) -> dict[str, Any] | None:
    path = run / "run.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give another folder, or --overwrite.") from error
    if record.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} is a record of format {record.get('format_version')}, and this version writes {FORMAT_VERSION}; "
            "resume it with the version that started it, or give --overwrite."
        )
    record["attempts"] = [_with_key(attempt, STATUS_ON_DISK, "status") for attempt in record["attempts"]]
    return record


def _failures(run: Path, item_ids: Iterable[str]) -> dict[str, str]:
    reasons = {}
    for item_id in item_ids:
        with suppress(OSError, ValueError):
            reasons[item_id] = json.loads((run / "failed" / f"{item_id}.json").read_text())["reason"]
    return reasons


def _who(record: dict[str, Any] | None) -> str:
    if not record or not record["attempts"]:
        return "another run"
    last = record["attempts"][-1]
    return f"the run that process {last['pid']} on {last['host']} began at {last['started']}"


def _is_locked(path: Path) -> bool | None:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:
        return None
    lock.release()
    return False


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _timestamp(text: str) -> float:
    from calendar import timegm

    return float(timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


__all__ = ["Part", "RunFolder", "RunItem", "RunStatus", "is_run_folder", "peak_memory", "run_status"]
