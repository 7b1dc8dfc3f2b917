"""A cohort: one row of the abundance table a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from ..checkpoints import checkpoint_name
from ..metagenbert import MetagenBertModel
from ..reads import Cohort, read_cohort
from .abundance_table import AbundanceTable
from .sample import ProgressCallback, embed_sample, require_processor


def provenance(model: MetagenBertModel, *, read_fraction: float, seed: int) -> dict[str, Any]:
    """What decides a table's numbers: model, weights, contract and subsampling, with the versions that ran."""
    from .. import __version__

    return {
        "model": checkpoint_name(model.name_or_path),
        "revision": getattr(model.config, "_commit_hash", None),
        "weights_sha256": model.weights_sha256,
        "contract": require_processor(model).contract,
        "n_clusters": model.config.n_clusters,
        "read_fraction": read_fraction,
        "seed": seed,
        "dtype": str(next(model.encoder.parameters()).dtype).removeprefix("torch."),
        "device": model.device.type,
        "versions": {"biomeformer": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }


def embed_cohort(
    model: MetagenBertModel,
    cohort: str | Path | Cohort,
    *,
    output: str | Path | None = None,
    read_fraction: float = 1.0,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
) -> AbundanceTable:
    """Embed every sample of a cohort.

    Args:
        model: Model with its processor, on the device to use.
        cohort: A cohort, or the path of its CSV or TSV.
        output: Parquet file to write the table to, atomically, at the end.
        read_fraction: Share of each sample's reads to use, chosen by identity.
        seed: Seed of the choice.
        batch_tokens: Token budget of one pass through the encoder. Counts do not depend on it.
        progress: Called after each batch with sample id, reads seen, bytes read and bytes in all.

    Returns:
        The table, samples in the cohort's order.

    Raises:
        CohortError: The cohort table is malformed.
        ReadFileError: A file is damaged.
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    samples = [
        embed_sample(
            model,
            sample.reads,
            sample_id=sample.sample_id,
            read_fraction=read_fraction,
            seed=seed,
            batch_tokens=batch_tokens,
            progress=progress,
        )
        for sample in cohort.samples
    ]
    record = provenance(model, read_fraction=read_fraction, seed=seed)
    table = AbundanceTable.from_samples(samples, cohort.metadata(), record)
    if output is not None:
        table.write(output)
    return table
