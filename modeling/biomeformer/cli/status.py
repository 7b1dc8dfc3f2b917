"""`biomeformer status`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import is_recording, next_command, one_line, out, record
from .units import duration, size

if TYPE_CHECKING:
    from ..runs.run_folder import RunStatus


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The --output of a run, finished or not.", show_default=False)
    ],
) -> None:
    """Show where a run stands: items done, failed and left, and the time to go."""
    from ..runs.run_folder import run_status

    run = run_status(folder)
    record(**asdict(run))
    for line in describe(run) if not is_recording() else ():
        out(line)
    if (folder / "abundance.parquet").is_file():
        next_command("export", folder, "--format", "csv")
    elif (folder / "genomes.parquet").is_file():
        next_command("genome", "attribute", folder, "--output", "network")


def describe(status: RunStatus) -> list[str]:
    """Return the status in lines to read."""
    lines = [
        f"{status.noun:<8} {status.n_items:,}",
        f"done     {status.n_done:,} ({size(status.bytes_done)} of files)",
        f"failed   {len(status.failed):,}",
        f"left     {len(status.left):,} ({size(status.bytes_left)} of files)",
    ]
    if status.damaged:
        names = ", ".join(map(one_line, status.damaged[:3])) + (", …" if len(status.damaged) > 3 else "")
        lines.append(f"damaged  {len(status.damaged):,} ({names}); taken again when the run is resumed")
    if status.left:
        unknown = f"unknown until one of the {status.noun} is done"
        lines.append(f"to go    {unknown if status.seconds_to_go is None else duration(status.seconds_to_go)}")
    if status.attempts:
        last = status.attempts[-1]
        n_processes = last.get("n_processes", 1)
        where = f"started {last['started']} on {last['host']} with {n_processes} process{'es' * (n_processes > 1)}"
        if status.is_running:
            state = f"running (process {last['pid']})"
        else:
            state = last["status"] or "ended without a record, killed perhaps; give its command again to resume"
        lines.append(f"last run {where}: {one_line(state)}")
    lines += [f"failed   {one_line(name)}: {one_line(reason)}" for name, reason in status.failed.items()]
    return lines
