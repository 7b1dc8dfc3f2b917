"""One line a genome of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import note, one_line

if TYPE_CHECKING:
    from ...runs.process_group import ProcessGroup


class GenomeNotes:
    """Says how a run over genomes goes on.

    Args:
        n_genomes: Genomes in all.
        done: What a finished genome is, such as `embedded`.
        processes: The processes of the job.
    """

    def __init__(self, n_genomes: int, done: str, processes: ProcessGroup) -> None:
        self.n_genomes, self.done, self.processes = n_genomes, done, processes
        self.n_done = 0

    def plan(self, n_before: int, n_mine: int) -> None:
        """Take note of what an earlier attempt finished."""
        if self.processes.is_main:
            note(f"{self.n_genomes:,} genomes{f'; {n_before:,} were done before' if n_before else ''}")

    def finish(self, genome_id: str, reason: str | None) -> None:
        """Take note of a finished genome, or that it failed."""
        self.n_done += 1
        who = "" if self.processes.size == 1 else f"process {self.processes.rank}, "
        note(f"{who}{self.n_done} {one_line(genome_id)}: {'failed' if reason is not None else self.done}")
