"""Trials: one mutated file each, read by the package, and judged. A forked worker makes many; a parent watches it.

Verdicts:
    refused         an error of the package, of one line
    same            accepted, with the result of the file before it was mutated
    changed         accepted, with another result, which an independent reader of the same bytes confirms
    silently wrong  accepted, with a result that is neither of these
    raw exception   any other exception, or the end of the process
    unclear error   an error of the package without a message, or of several lines
    hang            more than 20 s
    memory          more than 2 GiB beyond what the process had
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from processes import CONTEXT, _start_server

from .formats import Format, difference, equal
from .inputs import inputs
from .mutations import mutate
from .own import own_files

TIME_LIMIT = 20.0
MEMORY_LIMIT = 2 << 30
# Examples may need a model to be trained, on a machine that others use too.
PREPARATION_LIMIT = 300.0
GOOD = ("refused", "same", "changed")
VERDICTS = (*GOOD, "silently wrong", "raw exception", "unclear error", "hang", "memory")


@dataclass(frozen=True)
class Trial:
    """What became of one mutated file.

    Attributes:
        format: Name of the format.
        number: Number of the trial within the format; with the seed it gives the mutation.
        seed: Seed of all trials.
        mutations: What was done to the file.
        verdict: One of `VERDICTS`.
        detail: The error, or how the result differs.
        peak_bytes: Memory taken beyond what the process had.
    """

    format: str
    number: int
    seed: int
    mutations: tuple[str, ...]
    verdict: str
    detail: str = ""
    peak_bytes: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether the package should have done otherwise."""
        return self.verdict not in GOOD

    def __str__(self) -> str:
        how = ", ".join(self.mutations)
        return f"{self.verdict}: {self.format} #{self.number} (seed {self.seed}; {how}): {self.detail}"


@cache
def formats() -> dict[str, Format]:
    """Return every format by name."""
    return {each.name: each for each in (*inputs(), *own_files())}


@cache
def _example(name: str, root: Path) -> Path:
    """Return the folder of a format's example."""
    folder = root / "examples" / formats()[name].example
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        formats()[name].make(building)
        building.rename(folder)
    return folder


def _copy(name: str, root: Path) -> Path:
    """Return a fresh copy of the example, always at the same path, so that results may name it."""
    work = root / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(_example(name, root), work, symlinks=True)
    return work


@cache
def _expected(name: str, root: Path) -> Any:
    """Return the result of the example as it is."""
    each = formats()[name]
    expected = _quietly(each.outcome, _copy(name, root))
    if each.reference is not None:
        reference = each.reference(_copy(name, root))
        assert equal(expected, reference), (
            f"the reference of {name} reads its example otherwise: {expected} {reference}"
        )
    return expected


def mutated(name: str, number: int, seed: int, root: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return the content of a trial's file, and what was done to it."""
    each = formats()[name]
    content = each.path(_example(name, root)).read_bytes()
    rng = np.random.default_rng((seed, crc32(name.encode()), number))
    found = mutate(content, each.mutations, rng)
    return found.content, found.names


def run_trial(name: str, number: int, seed: int, root: Path) -> Trial:
    """Make one trial in this process."""
    expected = _expected(name, root)
    each = formats()[name]
    content, names = mutated(name, number, seed, root)
    folder = _copy(name, root)
    each.path(folder).write_bytes(content)
    before = _reset_peak()
    verdict, detail = _judge(each, folder, expected)
    peak = max(_peak() - before, 0)
    if peak > MEMORY_LIMIT:
        verdict, detail = "memory", f"{peak / 1e6:,.0f} MB"
    return Trial(name, number, seed, names, verdict, detail, peak)


def _judge(each: Format, folder: Path, expected: Any) -> tuple[str, str]:
    from biomeformer.errors import BiomeformerError

    try:
        outcome = _quietly(each.outcome, folder)
    except BiomeformerError as error:
        text = str(error)
        clear = text.strip() and len(text.splitlines()) == 1
        return ("refused", text) if clear else ("unclear error", repr(text))
    except MemoryError as error:
        return "memory", _where(error)
    except Exception as error:
        return "raw exception", _where(error)
    if each.reference is None:
        return ("same", "") if equal(outcome, expected) else ("silently wrong", difference(outcome, expected))
    try:
        reference = each.reference(folder)
    except Exception as error:
        # It cannot tell what the bytes say, so nothing may have changed.
        if equal(outcome, expected):
            return "same", ""
        return "silently wrong", f"no reference reading ({type(error).__name__}); {difference(outcome, expected)}"
    if not equal(outcome, reference):
        return "silently wrong", f"read otherwise than by the reference; {difference(outcome, reference)}"
    return ("same", "") if equal(outcome, expected) else ("changed", "")


def _quietly(function: Callable[[Path], Any], folder: Path) -> Any:
    """Call a function without what it prints."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return function(folder)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/biomeformer/" in frame.filename] or frames
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:150]}"


def _status(key: str) -> int:
    try:
        with Path("/proc/self/status").open() as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))
    except (OSError, StopIteration):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _work(connection: Connection, plan: Sequence[tuple[str, int]], seed: int, root: Path) -> None:
    """Make trials, and tell the parent before and after each."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 1)
        if not os.environ.get("RELIABILITY_DEBUG"):
            os.dup2(null.fileno(), 2)
    sys.modules["torch"].set_num_threads(1)
    ready: set[str] = set()
    limited = False
    for name, number in plan:
        if name not in ready:
            connection.send(("prepare", name))
            try:
                _expected(name, root)
            except Exception as error:
                connection.send(("broken", f"{name}: {_where(error)}"))
                return
            ready.add(name)
        if not limited:
            # Address space of twice the limit is taken by threads and files before memory is.
            limit = _status("VmSize") + 2 * MEMORY_LIMIT
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            limited = True
        connection.send(("start", (name, number)))
        connection.send(("done", run_trial(name, number, seed, root)))
    connection.send(("end", None))


def run_trials(plan: Iterable[tuple[str, int]], seed: int, root: Path) -> Iterator[Trial]:
    """Make trials in a worker, which is replaced when it hangs or ends.

    Args:
        plan: Name of the format and number of each trial.
        seed: Seed of all.
        root: Folder for examples and copies, best in memory.

    Raises:
        RuntimeError: An example could not be made.
    """
    _start_server()
    left = list(plan)
    while left:
        ours, theirs = CONTEXT.Pipe(duplex=False)
        worker = CONTEXT.Process(target=_work, args=(theirs, left, seed, root), daemon=True)
        worker.start()
        theirs.close()
        current, limit = left[0], PREPARATION_LIMIT
        try:
            while True:
                verdict = ""
                if not ours.poll(limit):
                    verdict, detail = "hang", f"more than {limit:.0f} s"
                else:
                    try:
                        message, value = ours.recv()
                    except EOFError:
                        worker.join()
                        verdict, detail = "raw exception", f"the process ended with {_exit(worker.exitcode)}"
                if verdict:
                    _, names = mutated(*current, seed, root)
                    left = left[left.index(current) + 1 :]
                    yield Trial(*current, seed, names, verdict, detail)
                    break
                if message == "prepare":
                    limit = PREPARATION_LIMIT
                elif message == "broken":
                    raise RuntimeError(value)
                elif message == "start":
                    current, limit = value, TIME_LIMIT
                elif message == "done":
                    left = left[1:]
                    yield value
                else:
                    return
        finally:
            if worker.is_alive():
                worker.kill()
            worker.join()
            ours.close()


def _exit(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def plan(n_trials: int, names: Sequence[str] | None = None) -> list[tuple[str, int]]:
    """Return the trials: as many of each format, give or take one, format after format."""
    names = list(names or formats())
    share, more = divmod(n_trials, len(names))
    return [(name, i) for k, name in enumerate(names) for i in range(share + (k < more))]


def summarise(trials: Iterable[Trial]) -> dict[str, dict[str, int]]:
    """Return the number of trials by format and verdict, and the largest memory."""
    rows: dict[str, dict[str, int]] = {}
    for trial in trials:
        row = rows.setdefault(trial.format, dict.fromkeys(("tried", *VERDICTS, "peak_bytes"), 0))
        row["tried"] += 1
        row[trial.verdict] += 1
        row["peak_bytes"] = max(row["peak_bytes"], trial.peak_bytes)
    return rows


def as_record(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON values."""
    return asdict(trial)
