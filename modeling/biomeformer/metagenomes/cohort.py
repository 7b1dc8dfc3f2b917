"""Embedding of cohorts: the processes share the samples, each sample is a part on disk, and all make one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..checkpoints import public_name
from ..checkpoints.admission import admit_model
from ..errors import InputError
from ..inference.batching import check_batch_tokens
from ..inference.float8 import precision
from ..io.atomic import wrap_write_errors
from ..models.metagenbert import MetagenBertModel
from ..reads import Cohort, read_cohort
from ..reads.cohort import CohortSample
from ..reads.subsampling import check_read_fraction
from ..runs.control import CallbackObserver, RunControl, RunOptions, resolve_control
from ..runs.failures import failure_reason
from ..runs.process_group import ProcessGroup
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import ItemResult, RunOutcome, run_items
from ..version import versions
from .abundance_table import TABLE_NAME, AbundanceTable
from .cluster_descriptions import NAME as DESCRIPTIONS
from .cluster_descriptions import descriptions_of, find_descriptions
from .quality import table_remarks
from .sample import (
    ProgressCallback,
    SampleEmbedding,
    combine,
    complete_read_stats,
    embed_sample,
    require_processor,
    why_nothing_used,
)

# Files of a finished run's folder.
RESULTS = {"table": TABLE_NAME, "figure": "cohort.png", "report": "report.html"}


def computed_by(model: MetagenBertModel) -> dict[str, Any]:
    """Return the precision, device and versions that a model computes with."""
    return {
        "dtype": precision(model.encoder),
        "device": model.device.type,
        "versions": versions("torch", "transformers"),
    }


def provenance(model: MetagenBertModel, *, read_fraction: float, seed: int) -> dict[str, Any]:
    """Return what decides a table's numbers: model, weights, preprocessing config, subsampling and versions."""
    return {
        "model": public_name(model.name_or_path),
        "revision": getattr(model.config, "_commit_hash", None),
        "weights_sha256": model.weights_sha256,
        "contract": require_processor(model).preprocessing,
        "n_clusters": model.config.n_clusters,
        "read_fraction": read_fraction,
        "seed": seed,
        **({"centroids": model.config.centroids_from} if model.config.centroids_from else {}),
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
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> RunOutcome[AbundanceTable | None]:
    """Embed a cohort into the folder of a run that can be resumed, on one process or many.

    Each finished sample is a part of its own in the folder, so that a run that was interrupted or killed resumes with
    the samples that are left. The processes share the samples, and the batches of a sample where samples are fewer;
    counts are integers, so the table does not depend on that.

    Args:
        model: Model with its processor, on the device to use.
        cohort: A cohort, or the path of its CSV or TSV.
        folder: Where parts, record and table (`abundance.parquet`) go, and a copy of the descriptions of the model's
            clusters, if it has any; on several machines a folder they share.
        read_fraction: Share of each sample's reads to use, chosen by identity.
        seed: Seed of the choice.
        batch_tokens: Token budget of one pass through the encoder. Counts do not depend on it.
        control: How the run proceeds. Its observer's `advance` gets a sample's reads seen, bytes read and bytes in all.
        **options: Fields of `RunControl` by keyword: `resume`, `overwrite`, `fail_fast`, `processes`, `observer`,
            `check`; in place of a control, or to change one.

    Returns:
        The table, on the main process, and which samples failed.

    Raises:
        CheckpointError: The encoder cannot embed DNA with the processor's tokenizer.
        CohortError: The cohort table is malformed.
        InputError: The folder holds another run, or a run is under way there.
        SamplesFailedError: A sample failed and `fail_fast` was asked for.
        RunError: The folder cannot be written to.
        RunInterrupted: A signal came, as `check` noticed.
        RankError: Another process failed.
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    control = resolve_control(control, options)
    processes = control.processes
    admit_model(model.name_or_path or "the model", model)
    check_read_fraction(read_fraction)
    check_batch_tokens(batch_tokens, model)
    record = provenance(model, read_fraction=read_fraction, seed=seed)
    descriptions, remark = descriptions_of(model) if processes.is_main else (None, None)
    if remark is not None:
        control.observer.remark(remark)
    run = RunFolder(
        Path(folder),
        record,
        cohort,
        "samples",
        results=(*RESULTS.values(), DESCRIPTIONS),
        root=cohort.root,
        own_files=None if cohort.allow_shared_files else CohortSample.files,
        validate=_inconsistency,
    )
    preprocessing = require_processor(model).preprocessing

    def embed(sample: CohortSample, among: Sequence[int]) -> ItemResult:
        embedding, reason = None, None
        try:
            embedding = embed_sample(
                model,
                sample.reads,
                sample_id=sample.sample_id,
                read_fraction=read_fraction,
                seed=seed,
                batch_tokens=batch_tokens,
                progress=control.observer.advance,
                share=(among.index(processes.rank), len(among)),
                check=processes.check,
            )
        except Exception as error:
            if len(among) == 1:
                raise
            # The other processes wait for this one's share, or the reason why there is none.
            reason = failure_reason(error, f"sample {sample.sample_id}")
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
            for remark in table_remarks(table.counts, table.read_stats):
                control.observer.remark(remark)
            # Those of shipped checkpoints are found without a copy.
            if descriptions is not None and find_descriptions(table.provenance) is None:
                descriptions.write(run.folder / DESCRIPTIONS)
        return table

    return run_items(run, embed, gather, control=control, share_batches=True)


def _inconsistency(arrays: dict[str, np.ndarray], read_stats: dict[str, int]) -> str | None:
    """Return why a sample's counts and statistics do not fit, or None."""
    counts = arrays.get("counts")
    if counts is None or counts.dtype != np.int64 or counts.ndim != 1 or (counts < 0).any():
        return "its counts are not whole numbers of 0 or more"
    n_windows = complete_read_stats(read_stats).get("n_windows")
    if counts.sum() != n_windows:
        return f"its counts add up to {counts.sum():,} and {n_windows} reads, or windows of reads, were used"
    return None


def _joined(
    sample: CohortSample,
    embedding: SampleEmbedding | None,
    reason: str | None,
    processes: ProcessGroup,
    among: Sequence[int],
) -> SampleEmbedding:
    """Return a sample from all processes' shares of it; raise the first reason why one of them has none."""
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
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> AbundanceTable:
    """Embed every sample of a cohort.

    Args:
        model: Model with its processor, on the device to use.
        cohort: A cohort, or the path of its CSV or TSV.
        output: Folder of a run that can be interrupted and resumed (see `run_cohort`); without it, counts are kept in
            memory and the first sample that fails ends the work.
        read_fraction: Share of each sample's reads to use, chosen by identity.
        seed: Seed of the choice.
        batch_tokens: Token budget of one pass through the encoder. Counts do not depend on it.
        progress: Called after each batch with sample id, reads seen, bytes read and bytes in all.
        control: With `output`: how the run proceeds.
        **options: With `output`: fields of `RunControl` by keyword, such as `resume`, `overwrite` and `fail_fast`.

    Returns:
        The table, samples in the cohort's order.

    Raises:
        CohortError: The cohort table is malformed.
        ReadFileError: A file is damaged.
        SamplesFailedError: With `output`: samples failed; the table of the others has been written.

    Examples:
        >>> from importlib.resources import files
        >>> from biomeformer import load
        >>> cohort = files("biomeformer") / "example_cohort" / "cohort.csv"
        >>> table = embed_cohort(load("metagenbert-mini"), cohort, read_fraction=0.02)
        >>> table.counts.shape, list(table.metadata.columns)
        ((12, 512), ['group', 'age'])
        >>> float(table.abundance[0].sum().round(6))
        1.0
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    common: dict[str, Any] = {"read_fraction": read_fraction, "seed": seed, "batch_tokens": batch_tokens}
    if output is not None:
        if progress is not None:
            options["observer"] = CallbackObserver(on_advance=progress)
        outcome = run_cohort(model, cohort, output, **common, control=control, **options)
        outcome.raise_for_failures()
        return AbundanceTable.read(output) if outcome.result is None else outcome.result
    if options or control is not None:
        raise TypeError(f"{', '.join(options) or 'control'}: of use only with output, the folder of a run.")
    admit_model(model.name_or_path or "the model", model)
    samples = [
        embed_sample(model, sample.reads, sample_id=sample.sample_id, progress=progress, **common)
        for sample in cohort.samples
    ]
    table = AbundanceTable.from_samples(
        samples, cohort.metadata(), provenance(model, read_fraction=read_fraction, seed=seed)
    )
    for remark in table_remarks(table.counts, table.read_stats):
        CallbackObserver().remark(remark)
    return table


__all__ = [
    "RESULTS",
    "embed_cohort",
    "provenance",
    "run_cohort",
]
