"""Going through the samples of a run: who does which, what becomes of those that fail, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from ..errors import InputError, RunError, RunInterrupted, SamplesFailedError
from .process_group import ProcessGroup
from .run_folder import Part, RunFolder, peak_memory

# Seconds after which what one machine writes to a network file system is seen by another.
LATEST_SIGHT = 90.0

Result = TypeVar("Result")
SampleResult = tuple[dict[str, np.ndarray], dict[str, int]]


@dataclass(frozen=True)
class WorkPlan:
    """Who does what.

    Attributes:
        shared: Samples whose batches several processes share, with these processes; done first, when all are free.
        whole: For each rank the samples it does alone, in the cohort's order.
    """

    shared: tuple[tuple[str, tuple[int, ...]], ...]
    whole: tuple[tuple[str, ...], ...]


def plan_work(sizes: dict[str, int], n_ranks: int, *, share_batches: bool = True) -> WorkPlan:
    """Share samples out evenly by size.

    As many of the largest samples as are left over when each rank gets equally many are done by several processes each.

    Args:
        sizes: Bytes of each sample, in the cohort's order.
        n_ranks: How many processes.
        share_batches: Whether several processes may do one sample; otherwise each is one rank's.

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
        result: What the finished samples were gathered into; None on all processes but the main.
        failed: Why the others failed, by sample.
        n_samples: In the cohort.
        n_resumed: Samples that an earlier attempt had finished.
    """

    result: Result | None
    failed: dict[str, str]
    n_samples: int
    n_resumed: int

    def raise_for_failures(self) -> None:
        """Raise `SamplesFailedError` if a sample failed."""
        if self.failed:
            names = ", ".join(list(self.failed)[:3]) + (", …" if len(self.failed) > 3 else "")
            raise SamplesFailedError(
                f"{len(self.failed)} of {self.n_samples} samples failed ({names}); what is finished is kept: mend or "
                "remove the others, and give the same command again.",
                self.failed,
            )


def run_samples(
    run: RunFolder,
    embed: Callable[[Any, Sequence[int]], SampleResult],
    gather: Callable[[dict[str, Part], dict[str, str]], Result],
    *,
    processes: ProcessGroup,
    share_batches: bool,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
    on_plan: Callable[[int, int], None] | None = None,
    on_sample: Callable[[str, str | None], None] | None = None,
) -> RunOutcome[Result]:
    """Make a part of each sample that has none yet, on one process or many.

    Args:
        run: The folder, with the samples and the fingerprint.
        embed: Makes a part, of arrays and tallies, of a sample that some processes share; raises `InputError` on all of
            them where the sample cannot be used.
        gather: Called by the main process with all parts and failures, while the folder is still held.
        processes: The processes.
        share_batches: Whether several processes may share a sample.
        resume: As for `RunFolder.begin`.
        overwrite: As for `RunFolder.begin`.
        fail_fast: Stop at the first sample that fails.
        on_plan: Called once with how many samples an earlier attempt finished, and how many this process will do.
        on_sample: Called for each sample that this process finishes, with its id and, if it failed, the reason.

    Raises:
        SamplesFailedError: A sample failed and `fail_fast` was asked for.
        InputError: The folder holds another run, or a run is under way there.
        RunError: The folder cannot be written to.
        RunInterrupted: A signal came.
        RankError: Another process failed.
    """
    if processes.is_main:
        run.begin(resume=resume, overwrite=overwrite, n_processes=processes.size)
    try:
        found = run.finished() if processes.is_main else {}
        n_resumed, left = processes.all_gather([len(found), [name for name in run.samples if name not in found]])[0]
        plan = plan_work({name: run.n_bytes(name) for name in left}, processes.size, share_batches=share_batches)
        mine = [(name, among) for name, among in plan.shared if processes.rank in among]
        mine += [(name, (processes.rank,)) for name in plan.whole[processes.rank]]
        if on_plan is not None:
            on_plan(n_resumed, sum(among[0] == processes.rank for _, among in mine))
        for name, among in mine:
            reason = None
            try:
                arrays, stats = embed(run.samples[name], among)
            except InputError as error:
                reason = str(error)
            if among[0] == processes.rank:
                if reason is None:
                    run.write_part(name, arrays, stats)
                else:
                    run.write_failure(name, reason)
                if on_sample is not None:
                    on_sample(name, reason)
            if reason is not None and fail_fast:
                raise SamplesFailedError(f"sample {name} failed: {reason}", {name: reason})
        memory = processes.all_gather(peak_memory())
        result: Result | None = None
        failed: dict[str, str] = {}
        if processes.is_main:
            parts, failed = _completed(run, processes)
            result = gather(parts, failed)
        failed = processes.all_gather(failed)[0]
        if processes.is_main:
            how = f"{len(failed)} of {len(run.samples)} samples failed" if failed else "finished"
            run.end(how, peak_memory_bytes=memory)
    except BaseException as error:
        if processes.is_main:
            interrupted = isinstance(error, RunInterrupted | KeyboardInterrupt)
            # What stopped the run is the news, not that this cannot be written down either.
            with suppress(RunError):
                run.end("interrupted" if interrupted else f"stopped: {error}")
        raise
    return RunOutcome(result, failed, len(run.samples), n_resumed)


def _completed(run: RunFolder, processes: ProcessGroup) -> tuple[dict[str, Part], dict[str, str]]:
    """Parts and failures, which together are the cohort."""
    deadline = time.monotonic() + (LATEST_SIGHT if processes.size > 1 else 0)
    while True:
        parts = run.finished()
        failed = {name: why for name, why in run.failures().items() if name not in parts}
        unseen = [name for name in run.samples if name not in parts and name not in failed]
        if not unseen:
            return parts, failed
        if time.monotonic() > deadline:
            raise RunError(
                f"{run.folder} lacks {len(unseen)} parts that were written (such as {unseen[0]}): the folder is not "
                "shared by all machines, or was changed meanwhile; give the same command again."
            )
        processes.check()
        time.sleep(2)


__all__ = ["RunOutcome", "WorkPlan", "plan_work", "run_samples"]
