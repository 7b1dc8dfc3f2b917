"""Scheduling the items of a run: which process does which, what becomes of those that fail, and how the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from ..errors import InputError, RunError, RunInterrupted, SamplesFailedError
from ..moved import renamed
from .control import RunControl, RunObserver
from .failures import all_failed_alike, failure_reason
from .process_group import ProcessGroup
from .records import Part
from .run_folder import Item, RunFolder, peak_memory

# Seconds within which a file that one machine writes to a network file system is visible to the others.
VISIBILITY_TIMEOUT = 90.0

Result = TypeVar("Result")
# Arrays of an item, and its statistics.
ItemResult = tuple[dict[str, np.ndarray], dict[str, int]]


@dataclass(frozen=True)
class WorkPlan:
    """The items of each process.

    Attributes:
        shared: Items whose batches several processes share, with these processes; done first, when all are free.
        whole: For each rank the items it does alone, in their order.
    """

    shared: tuple[tuple[str, tuple[int, ...]], ...]
    whole: tuple[tuple[str, ...], ...]


def plan_work(sizes: dict[str, int], n_ranks: int, *, share_batches: bool = True) -> WorkPlan:
    """Distribute items evenly by size.

    As many of the largest items as are left over when each rank gets equally many are done by several processes each.

    Args:
        sizes: Bytes of each item, in their order.
        n_ranks: How many processes.
        share_batches: Whether several processes may share one item; otherwise each item is done by one rank.

    Returns:
        The plan; the same for the same arguments.
    """
    by_size = sorted(sizes, key=lambda name: (-sizes[name], name))
    n_shared = len(by_size) % n_ranks if share_batches else 0
    shared = tuple((name, tuple(range(i, n_ranks, n_shared))) for i, name in enumerate(by_size[:n_shared]))
    whole: list[list[str]] = [[] for _ in range(n_ranks)]
    load = [0] * n_ranks
    for name in by_size[n_shared:]:
        rank = min(range(n_ranks), key=lambda r: (load[r], r))
        whole[rank].append(name)
        load[rank] += sizes[name]
    order = {name: i for i, name in enumerate(sizes)}
    return WorkPlan(shared, tuple(tuple(sorted(names, key=order.__getitem__)) for names in whole))


@dataclass(frozen=True)
class RunOutcome(Generic[Result]):
    """What came of a run.

    Attributes:
        result: What the finished items were gathered into; None on all processes but the main one.
        failed: Why the others failed, by item.
        n_items: Items in all.
        n_resumed: Items that an earlier attempt had finished.
        noun: What the items are, in the plural.
    """

    result: Result | None
    failed: dict[str, str]
    n_items: int
    n_resumed: int
    noun: str

    n_samples = renamed("n_samples", "n_items")

    def raise_for_failures(self) -> None:
        """Raise `SamplesFailedError` if an item failed."""
        reason = all_failed_alike(self.failed, self.n_items)
        if reason is not None:
            raise SamplesFailedError(
                f"all {self.n_items} {self.noun} failed for one reason that is not about their files: {reason}.",
                self.failed,
            )
        if self.failed:
            names = ", ".join(list(self.failed)[:3]) + (", …" if len(self.failed) > 3 else "")
            raise SamplesFailedError(
                f"{len(self.failed)} of {self.n_items} {self.noun} failed ({names}); what is finished is kept: repair "
                "or remove the others, and give the same command again.",
                self.failed,
            )


def run_items(
    run: RunFolder[Item],
    make_part: Callable[[Item, Sequence[int]], ItemResult],
    gather: Callable[[dict[str, Part], dict[str, str]], Result],
    *,
    control: RunControl,
    share_batches: bool,
    begin: Callable[[Sequence[Item]], None] | None = None,
) -> RunOutcome[Result]:
    """Make a part of each item that has none yet, on one process or many.

    Args:
        run: The folder, with the items and the fingerprint.
        make_part: Returns arrays and statistics of an item, given the ranks that share it; raises on all of them where
            the item cannot be used. `failure_reason` tells which exceptions are the item's failure.
        gather: Called by the main process with all parts and failures, while the folder is still locked.
        control: How the run proceeds.
        share_batches: Whether several processes may share an item.
        begin: Called with the items of this process before the first, in the order in which `make_part` gets them.

    Returns:
        What `gather` returned, and which items failed.

    Raises:
        SamplesFailedError: An item failed and the control says to fail fast.
        InputError: The folder holds another run, or a run is under way there.
        RunError: The folder cannot be written to.
        RunInterrupted: A signal came.
        RankError: Another process failed.
    """
    processes, observer = control.processes, control.observer
    if processes.is_main:
        run.begin(resume=control.resume, overwrite=control.overwrite, n_processes=processes.size)
    try:
        finished = run.finished(processes.check) if processes.is_main else {}
        for remark in run.remarks():
            _remark(observer, remark)
        n_resumed, left = processes.all_gather([len(finished), [name for name in run.items if name not in finished]])[0]
        plan = plan_work({name: run.n_bytes(name) for name in left}, processes.size, share_batches=share_batches)
        mine = [(name, among) for name, among in plan.shared if processes.rank in among]
        mine += [(name, (processes.rank,)) for name in plan.whole[processes.rank]]
        observer.plan(n_resumed, sum(among[0] == processes.rank for _, among in mine))
        if begin is not None:
            begin([run.items[name] for name, _ in mine])
        for name, among in mine:
            reason = None
            try:
                with _marking_stops(processes):
                    arrays, stats = make_part(run.items[name], among)
            except Exception as error:
                reason = failure_reason(error, f"{run.noun.removesuffix('s')} {name}")
            if among[0] == processes.rank:
                if reason is None:
                    try:
                        run.write_part(name, arrays, stats)
                    except InputError as error:
                        reason = str(error)
                if reason is not None:
                    run.write_failure(name, reason)
                observer.finish(name, reason)
            if reason is not None and control.fail_fast:
                raise SamplesFailedError(f"{run.noun.removesuffix('s')} {name} failed: {reason}", {name: reason})
        memory = processes.all_gather(peak_memory())
        result: Result | None = None
        failed: dict[str, str] = {}
        if processes.is_main:
            parts, failed = _completed(run, processes)
            for remark in run.require_own_files(parts):
                _remark(observer, remark)
            result = gather(parts, failed)
        failed = processes.all_gather(failed)[0]
        if processes.is_main:
            status = f"{len(failed)} of {len(run.items)} {run.noun} failed" if failed else "finished"
            run.end(status, peak_memory_bytes=memory)
    except BaseException as error:
        if processes.is_main:
            interrupted = isinstance(error, RunInterrupted | KeyboardInterrupt)
            # The error to report is what stopped the run, not that this cannot be recorded either.
            with suppress(RunError):
                run.end("interrupted" if interrupted else f"stopped: {error}")
        raise
    return RunOutcome(result, failed, len(run.items), n_resumed, run.noun)


@contextmanager
def _marking_stops(processes: ProcessGroup) -> Iterator[None]:
    """Mark what the processes' `check` raises as ending the run, whatever its type."""
    check = processes.check

    def marked() -> None:
        try:
            check()
        except Exception as error:
            error.ends_run = True  # type: ignore[attr-defined]
            raise

    processes.check = marked
    try:
        yield
    finally:
        processes.check = check


def _remark(observer: RunObserver, text: str) -> None:
    """Tell an observer something; one without such a method warns."""
    remark = getattr(observer, "remark", None)
    if remark is None:
        RunObserver.remark(observer, text)
    else:
        remark(text)


def _completed(run: RunFolder[Any], processes: ProcessGroup) -> tuple[dict[str, Part], dict[str, str]]:
    """Return parts and failures, which together are all items, once the files of the other machines are visible."""
    deadline = time.monotonic() + (VISIBILITY_TIMEOUT if processes.size > 1 else 0)
    while True:
        parts = run.finished()
        failed = {name: why for name, why in run.failures().items() if name not in parts}
        unseen = [name for name in run.items if name not in parts and name not in failed]
        if not unseen:
            return parts, failed
        if time.monotonic() > deadline:
            raise RunError(
                f"{run.folder} lacks {len(unseen)} parts that were written (such as {unseen[0]}): the folder is not "
                "shared by all machines, or was changed meanwhile; give the same command again."
            )
        processes.check()
        time.sleep(2)


__all__ = ["ItemResult", "RunOutcome", "WorkPlan", "plan_work", "run_items"]
