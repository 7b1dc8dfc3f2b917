"""The folder of a run over items, such as samples or genomes: one part per finished item, failures, and a record.

    FOLDER/run/run.json           what decides the numbers (the fingerprint), the items, and each attempt
    FOLDER/run/parts/ID.safetensors   a finished item; written atomically
    FOLDER/run/failed/ID.json     why an item failed; it is tried again when the run is resumed
    FOLDER/run/lock               held by the run that is under way
    FOLDER/run/output.json        what the run may delete to start over

A part is used if it matches its checksum, its fingerprint is that of the run at hand, and its input files are those it
was made from: their names, sizes and times of modification are the same, or else the digests of their bytes. Files that
were rewritten with the same size and the same time cannot be noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from ..errors import InputError, RunError
from ..io.atomic import is_partial, remove_stale_partials, wrap_write_errors
from ..io.file_identity import InputFile, compare_files, find_shared, identify_files
from ..io.locks import FolderLock, is_locked
from ..io.records import DamagedFileError
from ..moved import renamed
from .output_folder import OutputFolder
from .records import (
    DEFAULT_NOUN,
    FAILURE,
    FORMAT_VERSION,
    RUN,
    STATUS_ON_DISK,
    Part,
    RunRecord,
    read_part,
    write_part,
)

# These name the model and do not decide numbers: its weights do, and they have a hash.
NAMES_ALONE = ("model", "revision", "read_encoder")
WRITER, OWNED = "run", "run/output.json"
_MOST_NAMED = 3


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
        damaged: Items whose part is damaged, which are among those left.
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
    damaged: tuple[str, ...] = ()

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
        root: Folder that paths of input files were written relative to.
        own_files: Returns the files of an item that no other item may have; by default items may share files.
        validate: Returns why an item's arrays and statistics are inconsistent, or None.

    Raises:
        ReadFileError: An input file cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: dict[str, Any],
        items: Iterable[Item],
        noun: str = DEFAULT_NOUN,
        results: Sequence[str] = (),
        *,
        root: Path | None = None,
        own_files: Callable[[Item], Iterable[Path]] | None = None,
        validate: Callable[[dict[str, np.ndarray], dict[str, int]], str | None] | None = None,
    ) -> None:
        self.folder, self.noun, self.results = folder, noun, results
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        self.items = {item.item_id: item for item in items}
        self.files = {
            item_id: [InputFile.from_path(path, root) for path in item.files()] for item_id, item in self.items.items()
        }
        self.attempts: list[dict[str, Any]] = []
        self._own_files, self._validate = own_files, validate
        self._digest = hashlib.sha256(json.dumps(_decisive(self.fingerprint), sort_keys=True).encode()).hexdigest()
        self._lock = lock_of_run(folder)
        self._output = output_of_run(folder)
        self._started = time.monotonic()
        # Parts that were read and fit, with the status of their files then.
        self._known: dict[str, tuple[tuple[int, ...], Part]] = {}
        self._damaged: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    @property
    def _run(self) -> Path:
        return self.folder / "run"

    def part_path(self, item_id: str) -> Path:
        """Return the path of an item's part, written or not."""
        return _part_path(self._run, item_id)

    def n_bytes(self, item_id: str) -> int:
        """Return the size of an item's input files."""
        return sum(file.size for file in self.files[item_id])

    def begin(self, *, resume: bool = True, overwrite: bool = False, **attempt: Any) -> None:
        """Lock the folder and start or resume the run; the main process alone calls it.

        Args:
            resume: Whether a run that the folder holds is resumed; otherwise it is refused.
            overwrite: Delete a run that the folder holds, whatever it is, and its results; other files stay.
            **attempt: Further fields of this attempt's record.

        Raises:
            InputError: It holds a run with another fingerprint or something else, or a run is under way there.
            RunError: It cannot be written to, or the run's record is damaged.
        """
        check_run_folder(self.folder, overwrite=overwrite)
        with wrap_write_errors(self.folder):
            self._run.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        try:
            with wrap_write_errors(self.folder):
                self._take(resume, overwrite, attempt)
        except BaseException:
            self._lock.release()
            raise

    def _take(self, resume: bool, overwrite: bool, attempt: dict[str, Any]) -> None:
        # A run of version 0.1 has no record of what it wrote.
        is_old = self._output.ownership() is None and _holds_parts(self.folder)
        names = ["run/run.json", "run/parts", "run/failed", *self.results]
        if overwrite and is_old and _read_record(self._run) is None:
            # Without either record nothing says what may be deleted.
            self._output.require_own()
        record = None if overwrite else _read_record(self._run)
        if record is not None:
            if not resume:
                raise InputError(f"{self.folder} holds a run already; leave --no-resume out to resume it.")
            different = list(_differences(_decisive(record.fingerprint), _decisive(self.fingerprint)))
            if different:
                raise InputError(
                    f"{self.folder} holds another run: {'; '.join(different)}; give another folder, or --overwrite to "
                    "start over there."
                )
            self.fingerprint = record.fingerprint
            self.attempts = record.attempts
        if not overwrite or is_old or self._output.ownership() is None:
            self._output.claim(names, adopt=is_old)
        if overwrite:
            self._output.delete()
            self._output.claim(names)
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
        RUN.write(self._run / "run.json", record)

    def write_part(self, item_id: str, arrays: dict[str, np.ndarray], stats: dict[str, int]) -> None:
        """Write the part of a finished item.

        Raises:
            InputError: An input file was changed meanwhile, or the arrays and statistics are inconsistent.
            RunError: It cannot be written.
        """
        problem = self._validate(arrays, stats) if self._validate is not None else None
        if problem is not None:
            raise InputError(f"{item_id}: {problem}; give the same command again, and report it if it persists.")
        part = Part(self.part_path(item_id), stats, item_id, self._digest, identify_files(self.files[item_id]))
        with wrap_write_errors(self.folder):
            _write(part, arrays)
            self._failure_path(item_id).unlink(missing_ok=True)

    def part(self, item_id: str, check: Callable[[], None] | None = None) -> Part | None:
        """Return the part of an item, or None if there is none that fits this run.

        Args:
            item_id: The item.
            check: Called while input files are read, where that is needed; what it raises ends the reading.
        """
        path = self.part_path(item_id)
        try:
            status = _status(path)
            if item_id in self._known and self._known[item_id][0] == status:
                return self._known[item_id][1]
            part, arrays = read_part(path)
        except FileNotFoundError:
            return None
        except DamagedFileError:
            self._damaged[item_id] = None
            return None
        if part.fingerprint != self._digest or part.item_id != item_id:
            return None
        if self._validate is not None and self._validate(arrays, part.stats) is not None:
            self._damaged[item_id] = None
            return None
        comparison = compare_files(part.inputs, self.files[item_id], check)
        if comparison == "changed":
            self._changed[item_id] = None
            return None
        if comparison == "same content":
            # So that the files need not be read the next time.
            part = replace(part, inputs=tuple(file.identify(check) for file in self.files[item_id]))
            with wrap_write_errors(self.folder):
                _write(part, arrays)
            status = _status(path)
        self._known[item_id] = status, part
        return part

    def finished(self, check: Callable[[], None] | None = None) -> dict[str, Part]:
        """Return the parts by item, in the order of the items; see `part` for `check`."""
        parts = {item_id: self.part(item_id, check) for item_id in self.items}
        return {item_id: part for item_id, part in parts.items() if part is not None}

    def remarks(self) -> list[str]:
        """Return what there is to say of the parts that `finished` looked at: which are taken again and why."""
        old = {item_id: None for item_id, (_, part) in self._known.items() if not part.has_checksum}
        remarks = []
        if self._damaged:
            remarks.append(f"the parts of {self._names(self._damaged)} are damaged, so they are taken again")
        if self._changed:
            remarks.append(f"the files of {self._names(self._changed)} have changed since, so they are taken again")
        if old:
            remarks.append(
                f"the parts of {self._names(old)} are of version 0.1, which wrote no checksums: they are used since "
                "names and sizes of the files match, and cannot be verified further"
            )
        return remarks

    def _names(self, item_ids: Iterable[str]) -> str:
        names = list(item_ids)
        listed = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        return f"{len(names):,} {self.noun if len(names) > 1 else self.noun.removesuffix('s')} ({listed})"

    def require_own_files(self, parts: dict[str, Part]) -> list[str]:
        """Refuse items that were made from equal files, where items may not share files.

        Returns:
            A remark if two items have some of several files in common.

        Raises:
            InputError: All files of an item are equal to those of another.
        """
        if self._own_files is None:
            return []
        digests: dict[str, list[str]] = {}
        for item_id, part in parts.items():
            own = {str(path) for path in self._own_files(self.items[item_id])}
            pairs = zip(self.files[item_id], part.inputs, strict=True)
            digests[item_id] = [now.digest for file, now in pairs if now.digest is not None and str(file.path) in own]
        whole = {item_id: [" ".join(sorted(values))] for item_id, values in digests.items() if values}
        same = find_shared(whole.items())
        shared = find_shared(digests.items()) if same is None else (*same[:2], digests[same[0]][0])
        if shared is None:
            return []
        first, second, digest = shared
        paths = [
            file.path
            for item_id in (first, second)
            for file, now in zip(self.files[item_id], parts[item_id].inputs, strict=True)
            if now.digest == digest
        ]
        equal = f"{paths[0]} and {paths[-1]} are equal byte for byte"
        problem = f"{self.noun} {first} and {second} have a file in common: {equal}"
        if same is None:
            return [f"{problem}; in a cohort that is divided into folds, one would leak into the other"]
        raise InputError(
            f"{problem}, so that one would leak into the other; correct the table, or give --allow-shared-files if "
            "this is meant."
        )

    def _failure_path(self, item_id: str) -> Path:
        return self._run / "failed" / f"{item_id}.json"

    def write_failure(self, item_id: str, reason: str) -> None:
        """Record why an item failed.

        Raises:
            RunError: It cannot be written.
        """
        record = {"sample_id": item_id, "reason": reason, "when": _now()}
        with wrap_write_errors(self.folder):
            FAILURE.write(self._failure_path(item_id), record, indent=None)

    def failures(self) -> dict[str, str]:
        """Return why items failed, in the order of the items."""
        return _failures(self._run, self.items)


def is_run_folder(folder: str | Path) -> bool:
    """Return whether a folder holds a run, finished or not."""
    return (Path(folder) / "run" / "run.json").exists()


def run_items_of(folder: str | Path) -> tuple[str, ...]:
    """Return the items of the run in a folder, in order; none where there is no run.

    Raises:
        RunError: The run's record is damaged.
    """
    record = _read_record(Path(folder) / "run")
    return () if record is None else tuple(record.samples)


def check_run_folder(folder: str | Path, *, overwrite: bool = False) -> None:
    """Check that a run can start or be resumed in a folder; whether the run there is the same one is not checked.

    Args:
        folder: The folder.
        overwrite: Whether a run there may be deleted.

    Raises:
        InputError: It is a file, or has content and holds no run.
    """
    folder = Path(folder)
    if _holds_parts(folder):
        return
    run = folder / "run"
    # Nothing was written yet by a run that has only just begun, or was killed then.
    own = ("lock", Path(OWNED).name)
    has_just_begun = run.is_dir() and all(path.name in own or is_partial(path) for path in run.iterdir())
    output_of_run(folder, {"run"} if has_just_begun else ()).check(overwrite=overwrite)


def output_of_run(folder: str | Path, ignored: Collection[str] = ()) -> OutputFolder:
    """Return the folder of a run as one whose files are recorded; see `OutputFolder` for `ignored`."""
    return OutputFolder(folder, WRITER, ignored, record=OWNED)


def lock_of_run(folder: str | Path) -> FolderLock:
    """Return the lock of the run in a folder, which whoever writes to it holds."""
    return FolderLock(Path(folder), Path(folder) / "run" / "lock", keep=True)


def _holds_parts(folder: Path) -> bool:
    """Return whether there is a run, be it one whose record was lost."""
    return is_run_folder(folder) or (folder / "run" / "parts").is_dir()


def failed_items(folder: str | Path, result: str) -> dict[str, str]:
    """Return why items of a finished run failed; nothing where there is no run.

    Args:
        folder: The folder of the run.
        result: Name of the file in it that the run ends with.

    Raises:
        InputError: The run is not finished: items are left, or there is no result.
        RunError: The run's record is damaged.
    """
    folder = Path(folder)
    if not is_run_folder(folder):
        return {}
    status = run_status(folder)
    has_result = (folder / result).exists()
    if status.left or not has_result:
        raise InputError(
            f"{folder} holds a run with {status.n_done} of {status.n_items} {status.noun} done"
            f"{'' if has_result else f' and no {result} yet'}; give its command again to finish it."
        )
    return status.failed


def run_status(folder: str | Path) -> RunStatus:
    """Return where the run in a folder stands; only parts that match their checksums are done.

    Raises:
        InputError: There is no run.
        RunError: The run's record is damaged.
    """
    folder = Path(folder)
    run = folder / "run"
    record = _read_record(run)
    if record is None:
        raise InputError(f"{folder} holds no run; give the folder that `biomeformer embed` got as --output.")
    sizes = record.samples
    finished: dict[str, float] = {}
    damaged = []
    for item_id in sizes:
        path = _part_path(run, item_id)
        try:
            modified = path.stat().st_mtime
            read_part(path)
            finished[item_id] = modified
        except FileNotFoundError:
            continue
        except DamagedFileError:
            damaged.append(item_id)
    failed = {name: why for name, why in _failures(run, sizes).items() if name not in finished}
    left = tuple(name for name in sizes if name not in finished and name not in failed)
    bytes_left = sum(sizes[name] for name in left)
    is_running = is_locked(run / "lock")
    speed = None
    if record.attempts:
        last = record.attempts[-1]
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
        attempts=tuple(record.attempts),
        is_running=is_running,
        seconds_to_go=0.0 if not left else bytes_left / speed if speed else None,
        noun=record.noun,
        damaged=tuple(damaged),
    )


def peak_memory() -> int:
    """Return the most memory this process has used so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _part_path(run: Path, item_id: str) -> Path:
    return run / "parts" / f"{item_id}.safetensors"


def _write(part: Part, arrays: dict[str, np.ndarray]) -> None:
    write_part(
        part.path,
        arrays,
        item_id=part.item_id,
        fingerprint=part.fingerprint,
        inputs=part.inputs,
        stats=part.stats,
    )


def _status(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


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


def _read_record(run: Path) -> RunRecord | None:
    """Return the record of a run, with its attempts' keys as this version names them, or None if there is none.

    Raises:
        InputError: It is of another format.
        RunError: It is damaged.
    """
    path = run / "run.json"
    try:
        record = RUN.read(path)
        record.attempts = [_with_key(attempt, STATUS_ON_DISK, "status") for attempt in record.attempts]
        for attempt in record.attempts:
            _timestamp(msgspec.convert(attempt, _Attempt).started)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DamagedFileError as error:
        other = _other_format(path)
        if other is None:
            raise RunError(str(error)) from error
        record = other
    except ValueError as error:
        raise RunError(f"{path} does not have its form ({error}), so it is damaged; {RUN.advice}.") from error
    if record.format_version not in (1, FORMAT_VERSION):
        raise InputError(
            f"{path} is a record of format {record.format_version}, and this version writes {FORMAT_VERSION}; "
            "resume it with the version that started it, or give --overwrite."
        )
    return record


def _other_format(path: Path) -> RunRecord | None:
    """Return an empty record with the format of a file of another version; None where that is not what the file is."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        version = json.loads(path.read_bytes())["format_version"]
        if isinstance(version, int) and version > FORMAT_VERSION:
            return RunRecord(version, {}, {}, [])
    return None


class _Attempt(msgspec.Struct):
    """What every attempt's record has."""

    started: str
    status: str | None
    host: str
    pid: int


def _failures(run: Path, item_ids: Iterable[str]) -> dict[str, str]:
    folder = run / "failed"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    reasons = {}
    for item_id in item_ids:
        if f"{item_id}.json" in names:
            with suppress(FileNotFoundError):
                try:
                    reasons[item_id] = FAILURE.read(folder / f"{item_id}.json").reason
                except DamagedFileError as error:
                    reasons[item_id] = str(error)
    return reasons


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _timestamp(text: str) -> float:
    from calendar import timegm

    return float(timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


__all__ = [
    "Part",
    "RunFolder",
    "RunItem",
    "RunStatus",
    "check_run_folder",
    "failed_items",
    "is_run_folder",
    "lock_of_run",
    "output_of_run",
    "peak_memory",
    "run_items_of",
    "run_status",
]
