"""Disturbed runs of commands: killed at a moment, or with a disk that fails at its n-th write; then run again."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from processes import Job

from .commands import COMMANDS, Command, run_command
from .formats import difference, equal

TIME_LIMIT = 180.0
# Survivors of a killed process are ended by the launcher.
GRACE = 2.0
# What differs between two runs of one command.
VARIABLE = {
    "attempts",
    "process",
    "started",
    "ended",
    "seconds",
    "when",
    "pid",
    "host",
    "checksum",
    "created",
    "memory",
    "wall_time_s",
}
# Names and grouping of a store's segments depend on who adds first; a report is drawn from tables that are compared.
NOT_COMPARED = re.compile(r"(^|/)(lock|\.lock|segments/.*|.*\.(html|png|svg|pdf)|logs?/.*)$")
DISK_FULL, INPUT_OUTPUT, READ_ONLY, FILE_SIZE = "ENOSPC", "EIO", "EROFS", "EFBIG"
FAULTS = (DISK_FULL, INPUT_OUTPUT, READ_ONLY, FILE_SIZE)


class FailingDisk:
    """Makes writes below a folder fail: from the n-th on, or, for EIO, only that one.

    Args:
        folder: The folder.
        fault: One of `FAULTS`.
        n: Number of the first write that fails, from 1; 0 for none. Of EFBIG, the largest size of a file in bytes.
    """

    def __init__(self, folder: Path, fault: str, n: int) -> None:
        self.folder, self.fault, self.n = str(folder), fault, n
        self.n_writes = 0

    def check(self, path: Any) -> None:
        """Count a write, and fail it if it is due."""
        try:
            name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fspath(path))
        except (OSError, TypeError):
            return
        if not name.startswith(self.folder):
            return
        self.n_writes += 1
        once = self.fault == INPUT_OUTPUT
        if self.fault != FILE_SIZE and self.n and (self.n_writes == self.n if once else self.n_writes >= self.n):
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number), name)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Patch what the package and its libraries write with."""
        originals: list[tuple[Any, str, Any]] = []

        def patch(module: Any, name: str, is_write: Callable[..., bool], which: int = 0) -> None:
            original = getattr(module, name)

            def wrapped(*args: Any, **options: Any) -> Any:
                if len(args) > which and is_write(*args, **options):
                    self.check(args[which])
                return original(*args, **options)

            originals.append((module, name, original))
            setattr(module, name, wrapped)

        def always(*args: Any, **options: Any) -> bool:
            return True

        def writes(file: Any, mode: str = "r", *args: Any, **options: Any) -> bool:
            return isinstance(mode, str) and bool(set(mode) & set("wax+"))

        def flags(path: Any, flags: int = 0, *args: Any, **options: Any) -> bool:
            return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

        for name in ("fsync", "mkdir"):
            patch(os, name, always)
        for name in ("replace", "rename"):
            patch(os, name, always, 1)
        patch(os, "open", flags)
        patch(builtins, "open", writes)
        patch(io, "open", writes)
        if self.fault == FILE_SIZE:
            # Reaches writers in C++ and Rust too.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.n, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            if self.fault == FILE_SIZE:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            for module, name, original in originals:
                setattr(module, name, original)


def run_disturbed(arguments: list[str], is_recipe: bool, output: Path, fault: str, n: int, record: Path) -> int:
    """Run a command on a failing disk, and write to `record` how often it wrote."""
    disk, printed = FailingDisk(output, fault, n), io.StringIO()
    try:
        # What is printed goes to a file too.
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed), disk.installed():
            return run_command(arguments, is_recipe)
    finally:
        print(printed.getvalue())
        record.write_text(str(disk.n_writes))


@dataclass(frozen=True)
class Disturbance:
    """What became of one disturbed run.

    Attributes:
        command: Name of the command.
        n_processes: Processes that shared its work.
        kind: `kill`, or the fault of the disk.
        at: Seconds after the start, or the number of the write.
        was_hit: Whether the run was disturbed before it ended.
        problem: What was wrong; empty if nothing was.
    """

    command: str
    n_processes: int
    kind: str
    at: float
    was_hit: bool
    problem: str

    def __str__(self) -> str:
        return f"{self.command} on {self.n_processes}, {self.kind} at {self.at:.3f}: {self.problem or 'as undisturbed'}"


class Stage:
    """A folder with the inputs of commands, where they are run and disturbed.

    Args:
        folder: The folder; holds `inputs` from `make_inputs`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.inputs = folder, folder / "inputs"
        self._expected: dict[tuple[str, int], tuple[dict[str, Any], float, int]] = {}

    @property
    def work(self) -> Path:
        """Where outputs go; emptied before each trial."""
        return self.folder / "work"

    def expected(self, name: str, n_processes: int) -> tuple[dict[str, Any], float, int]:
        """Return what an undisturbed run leaves, its seconds, and how often it writes."""
        key = (name, n_processes)
        if key not in self._expected:
            self._empty()
            began = time.monotonic()
            if n_processes == 1:
                job = self._job(COMMANDS[name], 1, DISK_FULL, 0)
            else:
                job = self._job(COMMANDS[name], n_processes)
            codes = job.wait(TIME_LIMIT)
            seconds = time.monotonic() - began
            if codes != [0] * n_processes:
                raise RuntimeError(f"{name} on {n_processes} ends with {codes}: {job.text()[-2000:]}")
            n_writes = int((self.folder / "writes").read_text()) if n_processes == 1 else 0
            self._expected[key] = snapshot(self.work), seconds, n_writes
        return self._expected[key]

    def kill(self, name: str, n_processes: int, rng: np.random.Generator) -> Disturbance:
        """Kill a run at a random moment, and give the same command again."""
        _, seconds, _ = self.expected(name, n_processes)
        self._empty()
        job = self._job(COMMANDS[name], n_processes)
        at = float(rng.uniform(0.02, 1.0)) * seconds
        time.sleep(at)
        ranks = [int(rng.integers(n_processes))] if rng.random() < 0.5 else None
        was_hit = any(process.is_alive() for process in job.processes)
        job.signal(signal.SIGKILL, ranks)
        job.wait(GRACE if ranks is not None and n_processes > 1 else TIME_LIMIT)
        return Disturbance(name, n_processes, "kill", at, was_hit, self._again(name, n_processes))

    def fail(self, name: str, fault: str, n: int) -> Disturbance:
        """Let the disk fail at a write of a run on one process, and give the same command again."""
        self.expected(name, 1)
        self._empty()
        job = self._job(COMMANDS[name], 1, fault, n)
        (code,) = job.wait(TIME_LIMIT)
        text = job.text()
        problem = ""
        errors = [line for line in text.splitlines() if "error: " in line]
        if code == 0:
            # A write whose failure does no harm, such as the removal of what is left behind; then all must be there.
            problem = _difference(snapshot(self.work), self.expected(name, 1)[0])
            problem = f"exit code 0, and {problem}" if problem else ""
        elif code is None or code not in (1, 2):
            problem = f"exit code {code}: {text[-300:]}"
        elif "Traceback" in text or len(errors) != 1 or "re-run with --debug" in text:
            problem = f"no clear error: {text[-300:]}"
        return Disturbance(name, 1, fault, n, code != 0, problem or self._again(name, 1))

    def _again(self, name: str, n_processes: int) -> str:
        """Give the command again; return how the result differs from an undisturbed run's."""
        expected, _, _ = self.expected(name, n_processes)
        job = self._job(COMMANDS[name], n_processes)
        codes = job.wait(TIME_LIMIT)
        found = snapshot(self.work)
        problem = _difference(found, expected)
        # It may have been done already, and then it may refuse to be done again.
        if codes != [0] * n_processes and (problem or set(codes) != {2} or COMMANDS[name].is_resumed):
            return f"the same command ends with {codes}: {job.text()[-400:]}"
        return problem or stale(self.work)

    def _empty(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def _job(self, command: Command, n_processes: int, fault: str | None = None, n: int = 0) -> Job:
        arguments = command.resolved(self.inputs, self.work / "out")
        if fault is None:
            return Job(self.folder / "text", n_processes, run_command, arguments, command.is_recipe)
        record = self.folder / "writes"
        return Job(self.folder / "text", 1, run_disturbed, arguments, command.is_recipe, self.work, fault, n, record)


def snapshot(folder: Path) -> dict[str, Any]:
    """Return the content of every file below a folder, without what differs between two runs."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if NOT_COMPARED.search(name):
            if not re.search(r"lock$|segments/|logs?/", name):
                found[name] = "drawn"
        elif path.suffix in (".json", ".jsonl"):
            try:
                found[name] = _without_variable(json.loads(path.read_text()))
            except ValueError:
                found[name] = path.read_bytes()
        else:
            found[name] = _content(path)
    return found


def _content(path: Path) -> Any:
    content = path.read_bytes()
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return str(table.schema.remove_metadata()), table.to_pydict()
    if path.suffix in (".csv", ".tsv", ".md"):
        return content.decode()
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "numpy") as file:
            return {key: file.get_tensor(key).tobytes() for key in sorted(file.keys())}
    if path.suffix in (".h5ad", ".biom"):
        return _datasets(path)
    return content


def _datasets(path: Path) -> dict[str, Any]:
    """Return the values of an HDF5 file; its attributes hold the time at which it was written."""
    import h5py

    found: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()]).tolist()

    with h5py.File(path) as file:
        file.visititems(take)
    return found


def _without_variable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_variable(each) for key, each in value.items() if key not in VARIABLE}
    return [_without_variable(each) for each in value] if isinstance(value, list) else value


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Return how what a run left differs from what it should have."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    if missing or extra:
        return f"missing {missing[:3]}, left over {extra[:3]}"
    return "" if equal(found, expected) else f"differs at {difference(found, expected)}"


def stale(folder: Path) -> str:
    """Return what a run should have removed: partial files and folders, and locks that are held."""
    from biomeformer.io.atomic import is_partial

    for path in sorted(folder.rglob("*")):
        if is_partial(path) or path.name in (".partial", ".work"):
            return f"{path.relative_to(folder)} is left"
        if path.name in ("lock", ".lock") and path.is_file():
            lock = filelock.FileLock(path)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                return f"{path.relative_to(folder)} is held"
            lock.release()
    return ""


def moment_of(fault: str, n_writes: int, rng: np.random.Generator) -> int:
    """Return a write at which a disk fails: always the first of a read-only one; of EFBIG a largest size in bytes."""
    if fault == READ_ONLY:
        return 1
    return int(rng.integers(1, 5_000 if fault == FILE_SIZE else n_writes + 1))
