"""The folder of a run over a cohort: a part a sample, the failures, and a record of what the run is.

    FOLDER/run/run.json           what decides the numbers (the fingerprint), the samples, and each attempt
    FOLDER/run/parts/ID.safetensors   a finished sample; written once, whole, and never changed
    FOLDER/run/failed/ID.json     why a sample failed; tried again when the run is taken up again
    FOLDER/run/lock               held by the run that is under way

A part counts when its fingerprint and the names and sizes of its read files are those of the run at hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import InputError
from ..io.atomic import atomic_write, remove_stale_partials, wrap_write_errors

FORMAT_VERSION = 1
# These name the model and do not decide numbers: its weights do, and they have a hash.
NAMES_ALONE = ("model", "revision", "read_encoder")


@dataclass(frozen=True)
class Part:
    """What a run holds of a finished sample.

    Attributes:
        path: Its file.
        stats: Its reads, by what became of them.
    """

    path: Path
    stats: dict[str, int]

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays, read from the disk."""
        with safe_open(self.path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        n_samples: In its cohort.
        n_done: Finished.
        failed: Why others failed, by sample.
        left: Samples neither finished nor failed.
        bytes_done: Size of the read files of the finished samples.
        bytes_left: Size of those of the others, failed ones left out.
        attempts: Its attempts: when, on what, and how each ended.
        is_running: Whether a run is under way now; None where that cannot be told.
        seconds_to_go: At the speed of the last attempt; None where it finished no sample.
    """

    n_samples: int
    n_done: int
    failed: dict[str, str]
    left: tuple[str, ...]
    bytes_done: int
    bytes_left: int
    attempts: tuple[dict[str, Any], ...]
    is_running: bool | None
    seconds_to_go: float | None


class Sample(Protocol):
    """What a run makes a part of."""

    @property
    def sample_id(self) -> str:
        """Unique, and usable as a file name."""
        ...

    def files(self) -> Sequence[Path]:
        """What is read, in reading order."""
        ...


class Samples(Protocol):
    """What a run goes through, in order."""

    @property
    def samples(self) -> Sequence[Any]:
        """Each a `Sample`."""
        ...


class RunFolder:
    """A run's folder on the disk.

    Args:
        folder: Where results go; the run's own files lie in its `run/`.
        fingerprint: What decides the numbers, in values JSON can hold. Its `model`, `revision` and `read_encoder` are
            for people: a part is good whatever the model was called, if its weights had the same hash.
        cohort: The samples.
        results: Names of files in `folder` that are made from the parts, and go when a run is begun anew.
    """

    def __init__(self, folder: Path, fingerprint: dict[str, Any], cohort: Samples, results: Sequence[str] = ()) -> None:
        self.folder, self.results = folder, results
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        self.samples = {sample.sample_id: sample for sample in cohort.samples}
        self.sizes = {sample.sample_id: _files(sample) for sample in cohort.samples}
        self.attempts: list[dict[str, Any]] = []
        self._digest = hashlib.sha256(json.dumps(_decisive(self.fingerprint), sort_keys=True).encode()).hexdigest()
        self._lock = filelock.FileLock(self._run / "lock")
        self._started = time.monotonic()

    @property
    def _run(self) -> Path:
        return self.folder / "run"

    def part_path(self, sample_id: str) -> Path:
        """Where the part of a sample lies, or will."""
        return self._run / "parts" / f"{sample_id}.safetensors"

    def n_bytes(self, sample_id: str) -> int:
        """Size of a sample's read files."""
        return sum(size for _, size in self.sizes[sample_id])

    def begin(self, *, resume: bool = True, overwrite: bool = False, **attempt: Any) -> None:
        """Take the folder for this run, new or to go on with; the main process alone calls it.

        Args:
            resume: Whether a run found there is taken up; otherwise it is refused.
            overwrite: Delete a run found there, whatever it is.
            **attempt: What the record shall say of this attempt.

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
                raise InputError(f"{self.folder} holds a run already; leave --no-resume out to go on with it.")
            different = list(_differences(_decisive(record["fingerprint"]), _decisive(self.fingerprint)))
            if different:
                raise InputError(
                    f"{self.folder} holds another run: {'; '.join(different)}; give another folder, or --overwrite to "
                    "begin anew there."
                )
            self.fingerprint = record["fingerprint"]
            self.attempts = record["attempts"]
        for name in ("parts", "failed"):
            (self._run / name).mkdir(exist_ok=True)
        for folder in (self.folder, self._run, self._run / "parts", self._run / "failed"):
            remove_stale_partials(folder, exclusive=True)
        started = {"started": _now(), "how_it_ended": None, "host": socket.gethostname(), "pid": os.getpid()}
        self.attempts.append(started | attempt)
        self._started = time.monotonic()
        self.write_record()

    def end(self, how: str, **more: Any) -> None:
        """Note how the attempt ended, and let the folder go."""
        try:
            if self.attempts:
                seconds = round(time.monotonic() - self._started, 3)
                self.attempts[-1] |= {"how_it_ended": how, "ended": _now(), "seconds": seconds, **more}
                with wrap_write_errors(self.folder):
                    self.write_record()
        finally:
            self._lock.release()

    def write_record(self) -> None:
        """Write `run.json`."""
        record = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "samples": {name: sum(size for _, size in files) for name, files in self.sizes.items()},
            "attempts": self.attempts,
        }
        with atomic_write(self._run / "run.json") as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")

    def write_part(self, sample_id: str, arrays: dict[str, np.ndarray], stats: dict[str, int]) -> None:
        """Keep a finished sample.

        Raises:
            RunError: It cannot be written.
        """
        record = {
            "sample_id": sample_id,
            "fingerprint": self._digest,
            "reads": json.dumps(self.sizes[sample_id]),
            "tallies": json.dumps(stats),
        }
        with wrap_write_errors(self.folder):
            with atomic_write(self.part_path(sample_id)) as partial:
                # `save_file` would write beside it first, under a name of its own that a kill leaves there.
                partial.write_bytes(save(arrays, metadata=record))
            self._failure_path(sample_id).unlink(missing_ok=True)

    def part(self, sample_id: str) -> Part | None:
        """The part of a sample, if there is one that fits this run."""
        path = self.part_path(sample_id)
        try:
            with safe_open(path, "numpy") as file:
                record = file.metadata() or {}
        except (OSError, SafetensorError):
            return None
        fits = record.get("fingerprint") == self._digest and record.get("sample_id") == sample_id
        if not fits or json.loads(record["reads"]) != self.sizes[sample_id]:
            return None
        return Part(path, json.loads(record["tallies"]))

    def finished(self) -> dict[str, Part]:
        """Parts by sample, in the cohort's order."""
        parts = {sample_id: self.part(sample_id) for sample_id in self.samples}
        return {sample_id: part for sample_id, part in parts.items() if part is not None}

    def _failure_path(self, sample_id: str) -> Path:
        return self._run / "failed" / f"{sample_id}.json"

    def write_failure(self, sample_id: str, reason: str) -> None:
        """Keep why a sample failed.

        Raises:
            RunError: It cannot be written.
        """
        with wrap_write_errors(self.folder), atomic_write(self._failure_path(sample_id)) as partial:
            partial.write_text(json.dumps({"sample_id": sample_id, "reason": reason, "when": _now()}) + "\n")

    def failures(self) -> dict[str, str]:
        """Why samples failed, in the cohort's order."""
        return _failures(self._run, self.samples)


def is_run_folder(folder: str | Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (Path(folder) / "run").is_dir()


def run_status(folder: str | Path) -> RunStatus:
    """Where the run in a folder stands, from the names of its files.

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
    for sample_id in sizes:
        with suppress(OSError):
            finished[sample_id] = (run / "parts" / f"{sample_id}.safetensors").stat().st_mtime
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
        n_samples=len(sizes),
        n_done=len(finished),
        failed=failed,
        left=left,
        bytes_done=sum(sizes[name] for name in finished),
        bytes_left=bytes_left,
        attempts=tuple(record["attempts"]),
        is_running=is_running,
        seconds_to_go=0.0 if not left else bytes_left / speed if speed else None,
    )


def peak_memory() -> int:
    """Most memory this process has had so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _files(sample: Sample) -> list[list[Any]]:
    """Names and sizes of a sample's files, in reading order: what a copy of them elsewhere has in common."""
    return [[path.name, path.stat().st_size] for path in sample.files()]


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
            "go on with the version that began the run, or give --overwrite."
        )
    return record


def _failures(run: Path, sample_ids: Any) -> dict[str, str]:
    found = {}
    for sample_id in sample_ids:
        with suppress(OSError, ValueError):
            found[sample_id] = json.loads((run / "failed" / f"{sample_id}.json").read_text())["reason"]
    return found


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


__all__ = ["Part", "RunFolder", "RunStatus", "is_run_folder", "peak_memory", "run_status"]
