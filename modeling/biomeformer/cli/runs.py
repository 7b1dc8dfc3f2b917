"""What commands that run over items, such as samples or genomes, share: their control, and the report of failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BiomeformerError, RankStopped, RunInterrupted
from ..runs.progress import RunProgress
from .console import note, one_line
from .runtime import note_device

if TYPE_CHECKING:
    import torch

    from ..runs.control import RunControl
    from ..runs.process_group import ProcessGroup

MOST_LISTED = 50


@contextmanager
def watch_run(
    progress: RunProgress,
    folder: Path,
    *,
    device: torch.device | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
) -> Iterator[RunControl]:
    """Yield the control of a run whose progress is displayed, and which stops at a signal.

    Args:
        progress: The display; entered and left here.
        folder: Folder of the run.
        device: Of the model; printed once the folder is accepted.
        resume: As in `RunControl`.
        overwrite: As in `RunControl`.
        fail_fast: As in `RunControl`.

    Raises:
        RunInterrupted: A signal came; the message says what is finished and how to resume.
        RankStopped: The same, on all processes but the main one.
    """
    from ..runs.control import CallbackObserver, RunControl
    from ..runs.interruption import Interruption

    processes = progress.processes

    def plan(n_before: int, n_mine: int) -> None:
        if device is not None:
            note_device(device, processes)
        progress.plan(n_before, n_mine)

    def remark(text: str) -> None:
        note(f"note: {one_line(text)}")

    with Interruption() as interruption, progress:

        def check() -> None:
            interruption.check()
            progress.draw()

        observer = CallbackObserver(plan, progress.advance, progress.finish, remark)
        try:
            yield RunControl(resume, overwrite, fail_fast, processes, observer, check)
        except RunInterrupted as error:
            raise _explain(error, folder, processes) from error


def _explain(error: RunInterrupted, folder: Path, processes: ProcessGroup) -> BiomeformerError:
    """Return the error of an interrupted command: the main process reports it for all."""
    from ..runs.run_folder import run_status

    if not processes.is_main:
        silent = RankStopped(str(error))
        silent.exit_code = error.exit_code
        return silent
    status = run_status(folder)
    return RunInterrupted(
        f"{error}: {status.n_done} of {status.n_items} {status.noun} are done and kept in {folder}; the same command "
        "resumes with the others.",
        error.signal_number,
    )


def list_failures(failed: dict[str, str], folder: Path | None) -> None:
    """Print which items failed, and why; `folder` is that of their run, if they have one."""
    for item_id, reason in list(failed.items())[:MOST_LISTED]:
        note(f"failed  {one_line(item_id)}: {one_line(reason)}")
    if len(failed) > MOST_LISTED:
        where = "" if folder is None else f": biomeformer status {folder}"
        note(f"… and {len(failed) - MOST_LISTED:,} more{where}")
