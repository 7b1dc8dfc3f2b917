"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cohort = Annotated[
    Path,
    typer.Argument(
        metavar="COHORT.csv",
        help="CSV or TSV: sample_id, fastq (or fastq_1 and fastq_2), then phenotypes. Paths are relative to it.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto (a CUDA GPU if there is one, else the CPU), cpu, cuda, cuda:N or mps.")]
DEFAULT_DEVICE = "auto"
Seed = Annotated[int, typer.Option(min=0, help="Seed of the choice of reads.")]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Token budget of one pass through the encoder.", show_default="by device"),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a Hub id.", show_default="its main branch")
]
Resume = Annotated[bool, typer.Option(help="Resume a run that the folder holds.")]
AllowSharedFiles = Annotated[
    bool,
    typer.Option("--allow-shared-files", help="Accept rows that have a file, or equal files, in common."),
]
Timeout = Annotated[
    float, typer.Option(min=0.01, help="Minutes without a heartbeat after which another process counts as lost.")
]
