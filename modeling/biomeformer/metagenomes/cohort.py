"""A cohort: its samples shared out among processes, each a part on disk, gathered into one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from ..checkpoints import checkpoint_name
from ..errors import InputError
from ..inference.batching import check_batch_tokens
from ..inference.float8 import precision
from ..io.atomic import wrap_write_errors
from ..models.metagenbert import MetagenBertModel
from ..reads import Cohort, read_cohort
from ..reads.cohort import CohortSample
from ..reads.subsampling import check_read_fraction
from ..runs.process_group import ProcessGroup
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import RunOutcome, SampleResult, run_samples
from .abundance_table import TABLE_NAME, AbundanceTable
from .sample import ProgressCallback, SampleEmbedding, combine, embed_sample, require_processor, why_nothing_used

# What a run's folder holds when it is done.
RESULTS = {"table": TABLE_NAME, "figure": "cohort.png", "report": "report.html"}


def computed_by(model: MetagenBertModel) -> dict[str, Any]:
    """On what and by what versions a model computes."""
    from ..version import __version__

    return {
        "dtype": precision(model.encoder),
        "device": model.device.type,
        "versions": {"biomeformer": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }


def provenance(model: MetagenBertModel, *, read_fraction: float, seed: int) -> dict[str, Any]:
    """Return what decides a table's numbers: model, weights, preprocessing config, subsampling and versions."""
    return {
        "model": checkpoint_name(model.name_or_path),
        "revision": getattr(model.config, "_commit_hash", None),
        "weights_sha256": model.weights_sha256,
        "contract": require_processor(model).preprocessing,
        "n_clusters": model.config.n_clusters,
        "read_fraction": read_fraction,
        "seed": seed,
        **computed_by(model),
    }


def run_cohort(
    model: MetagenBertModel,
    cohort: str | Path | Cohort,
    folder: str | Path,
    *,
    read_fraction: float = 1.0,
    seed: int = 0,
    batch_tokens: int | None = None,
    processes: ProcessGroup | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
    progress: ProgressCallback | None = None,
    on_plan: Callable[[int, int], None] | None = None,
    on_sample: Callable[[str, str | None], None] | None = None,
    check: Callable[[], None] | None = None,
) -> RunOutcome[AbundanceTable | None]:
    """Embed a cohort into a folder that survives interruption, on one process or many.

    Each finished sample is a part of its own in the folder, so that a run that was stopped, however rudely, goes on
    with the samples that are left. The processes share the samples among themselves, and the batches of a sample where
    samples are fewer; counts are integers, so the table does not depend on that.

    Args:
        model: Model with its processor, on the device to use.
        cohort: A cohort, or the path of its CSV or TSV.
        folder: Where parts, record and table (`abundance.parquet`) go; on several machines a folder they share.
        read_fraction: Share of each sample's reads to use, chosen by identity.
        seed: Seed of the choice.
        batch_tokens: Token budget of one pass through the encoder. Counts do not depend on it.
        processes: The processes of the job; this one alone by default.
        resume: Whether to go on with a run found in the folder; otherwise it is refused.
        overwrite: Delete a run found in the folder.
        fail_fast: Stop at the first sample that fails, instead of going on with the others.
        progress: Called after each batch with sample id, reads seen, bytes read and bytes in all.
        on_plan: Called once with how many samples an earlier attempt finished, and how many this process will do.
        on_sample: Called for each sample that this process finishes, with its id and, if it failed, the reason.
        check: Called after each batch and while waiting; what it raises ends the run.

    Returns:
        The table, and which samples failed.

    Raises:
        CohortError: The cohort table is malformed.
        InputError: The folder holds another run, or a run is under way there.
        SamplesFailedError: A sample failed and `fail_fast` was asked for.
        RunError: The folder cannot be written to.
        RunInterrupted: `check` said so.
        RankError: Another process failed.
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    processes = processes or ProcessGroup()
    if check is not None:
        processes.check = check
    check_read_fraction(read_fraction)
    check_batch_tokens(batch_tokens, model)
    record = provenance(model, read_fraction=read_fraction, seed=seed)
    run = RunFolder(Path(folder), record, cohort, results=tuple(RESULTS.values()))
    preprocessing = require_processor(model).preprocessing

    def embed(sample: CohortSample, among: Sequence[int]) -> SampleResult:
        embedding, reason = None, None
        try:
            embedding = embed_sample(
                model,
                sample.reads,
                sample_id=sample.sample_id,
                read_fraction=read_fraction,
                seed=seed,
                batch_tokens=batch_tokens,
                progress=progress,
                share=(among.index(processes.rank), len(among)),
                check=processes.check,
            )
        except InputError as error:
            if len(among) == 1:
                raise
            reason = str(error)
        if len(among) > 1:
            embedding = _joined(sample, embedding, reason, processes, among)
            reason = why_nothing_used(embedding, sample.reads, read_fraction, preprocessing)
            if reason is not None:
                raise InputError(reason)
        assert embedding is not None
        return {"counts": embedding.counts}, embedding.read_stats

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> AbundanceTable | None:
        if not parts:
            return None
        samples = [SampleEmbedding(part.arrays()["counts"], part.stats, name) for name, part in parts.items()]
        table = AbundanceTable.from_samples(samples, cohort.metadata(), run.fingerprint)
        with wrap_write_errors(run.folder):
            table.write(run.folder / TABLE_NAME)
        return table

    return run_samples(
        run,
        embed,
        gather,
        processes=processes,
        share_batches=True,
        resume=resume,
        overwrite=overwrite,
        fail_fast=fail_fast,
        on_plan=on_plan,
        on_sample=on_sample,
    )


def _joined(
    sample: CohortSample,
    embedding: SampleEmbedding | None,
    reason: str | None,
    processes: ProcessGroup,
    among: Sequence[int],
) -> SampleEmbedding:
    """Everyone's share of a sample put together; raises the first reason why one of them has none."""
    mine = None if embedding is None else [embedding.counts.tolist(), embedding.read_stats]
    theirs = processes.all_gather([mine, reason], among, name=f"sample/{sample.sample_id}")
    for _, why in theirs:
        if why is not None:
            raise InputError(why)
    return combine(
        [
            SampleEmbedding(np.array(counts, np.int64), read_stats, sample.sample_id)
            for (counts, read_stats), _ in theirs
        ]
    )


def embed_cohort(
    model: MetagenBertModel,
    cohort: str | Path | Cohort,
    *,
    output: str | Path | None = None,
    read_fraction: float = 1.0,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> AbundanceTable:
    """Embed every sample of a cohort.

    Args:
        model: Model with its processor, on the device to use.
        cohort: A cohort, or the path of its CSV or TSV.
        output: Folder of a run that can be interrupted and taken up again (see `run_cohort`); without it, samples are
            held in memory and the first one that fails ends the work.
        read_fraction: Share of each sample's reads to use, chosen by identity.
        seed: Seed of the choice.
        batch_tokens: Token budget of one pass through the encoder. Counts do not depend on it.
        progress: Called after each batch with sample id, reads seen, bytes read and bytes in all.
        **options: With `output`: `resume`, `overwrite`, `fail_fast`, `processes` and `check` of `run_cohort`.

    Returns:
        The table, samples in the cohort's order.

    Raises:
        CohortError: The cohort table is malformed.
        ReadFileError: A file is damaged.
        SamplesFailedError: With `output`: samples failed; the table of the others has been written.
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    common: dict[str, Any] = {
        "read_fraction": read_fraction,
        "seed": seed,
        "batch_tokens": batch_tokens,
        "progress": progress,
    }
    if output is not None:
        outcome = run_cohort(model, cohort, output, **common, **options)
        outcome.raise_for_failures()
        return AbundanceTable.read(output) if outcome.result is None else outcome.result
    if options:
        raise TypeError(f"{', '.join(options)}: of use only with output, the folder of a run.")
    samples = [embed_sample(model, sample.reads, sample_id=sample.sample_id, **common) for sample in cohort.samples]
    return AbundanceTable.from_samples(
        samples, cohort.metadata(), provenance(model, read_fraction=read_fraction, seed=seed)
    )


__all__ = [
    "RESULTS",
    "embed_cohort",
    "provenance",
    "run_cohort",
]
