"""Centroids of a cohort's own reads, fitted before the cohort is embedded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Unpack

from ..checkpoints import public_name
from ..checkpoints.source import read_json
from ..errors import InputError
from ..io.file_identity import InputFile
from ..models.metagenbert import MetagenBertModel
from ..reads import Cohort
from ..runs.control import RunControl, RunOptions, resolve_control
from .centroids import fit_centroids
from .sample import require_processor

RECORD = "training_record.json"
READS_PER_SAMPLE = 10_000


def fit_own_centroids(
    model: MetagenBertModel,
    cohort: Cohort,
    folder: Path,
    *,
    n_clusters: int | None = None,
    refine_iterations: int | None = None,
    seed: int = 0,
    batch_tokens: int | None = None,
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> bool:
    """Fit centroids on a cohort's reads under a model's encoder, or refine the model's own, and save the new model.

    Give one of `n_clusters` and `refine_iterations`.

    Args:
        model: Model with its processor, on the device to use.
        cohort: The cohort.
        folder: Where the new checkpoint goes; vectors are drawn into a folder of the same name with `.vectors`, which
            is deleted at the end.
        n_clusters: Number of new centroids.
        refine_iterations: Iterations of k-means from the model's centroids.
        seed: Of the draw of reads and of k-means.
        batch_tokens: Token budget of one pass through the encoder.
        control: How the run proceeds.
        **options: Fields of `RunControl` by keyword, in place of a control, or to change one.

    Returns:
        Whether they were fitted now; otherwise the folder holds what equal arguments gave before, and is kept.

    Raises:
        InputError: The folder holds centroids of other arguments or of files that have changed since, or the cohort
            gives too few reads.
        SamplesFailedError: Samples cannot be used.
    """
    control = resolve_control(control, options)
    processes = control.processes
    if (n_clusters is None) == (refine_iterations is None):
        raise InputError("give either a number of clusters to fit, or of iterations to refine the model's centroids.")
    arguments = {
        "model": public_name(model.name_or_path),
        "weights_sha256": model.weights_sha256,
        "contract": require_processor(model).preprocessing,
        "n_clusters": n_clusters,
        "refine_iterations": refine_iterations,
        "samples": [sample.sample_id for sample in cohort.samples],
        "files_sha256": _hash_files(cohort),
        "seed": seed,
    }
    if folder.exists():
        former = read_json(folder / RECORD).get("fitted_for") if (folder / RECORD).is_file() else None
        if former != arguments:
            raise InputError(
                f"{folder} exists and does not hold the centroids of this model, cohort and options, or files of reads "
                "have changed since; remove it, or give another output."
            )
        return False
    fitting: dict[str, Any] = {}
    if refine_iterations is not None:
        fitting = {"initial": model.centroids.detach().cpu().numpy(), "n_iterations": refine_iterations}
    vectors = folder.with_name(f"{folder.name}.vectors")
    fit = fit_centroids(
        cohort,
        model.encoder,
        require_processor(model),
        n_clusters=n_clusters or model.config.n_clusters,
        reads_per_sample=READS_PER_SAMPLE,
        seed=seed,
        spherical=model.config.normalize_embeddings,
        batch_tokens=batch_tokens,
        vectors=vectors,
        control=control,
        **fitting,
    )

    def save() -> None:
        fit.save(folder, fitted_for=arguments)
        shutil.rmtree(vectors, ignore_errors=True)

    processes.on_main(save)
    return True


def _hash_files(cohort: Cohort) -> str:
    """Hash name, size and time of modification of all files; names stay out of a record that may be published."""
    files = [InputFile.from_path(path, cohort.root) for sample in cohort.samples for path in sample.files()]
    return hashlib.sha256(json.dumps([[file.name, file.size, file.mtime_ns] for file in files]).encode()).hexdigest()


__all__ = ["fit_own_centroids"]
