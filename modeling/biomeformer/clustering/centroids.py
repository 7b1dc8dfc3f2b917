"""Centroids of a cohort: reads drawn by identity, embedded, clustered."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from ..embedding import ProgressCallback, embed_vectors
from ..embedding.engine import check_batch_tokens
from ..errors import InputError
from ..metagenbert import MetagenBertModel, MetagenBertProcessor
from ..reads import Cohort, draw_reads, read_cohort
from .kmeans import KMeansFit, run_kmeans


@dataclass(frozen=True)
class CentroidFit:
    """A model with its new centroids, and how they came about.

    Attributes:
        model: Read encoder, centroids and processor.
        kmeans: Objective per iteration, cluster sizes, empty clusters, device.
        n_reads_drawn: Reads drawn from each sample.
        n_reads_used: Reads of each sample that gave a vector.
        read_encoder: Where the encoder came from.
    """

    model: MetagenBertModel
    kmeans: KMeansFit
    n_reads_drawn: dict[str, int]
    n_reads_used: dict[str, int]
    read_encoder: str

    @property
    def record(self) -> dict[str, Any]:
        """What `training_record.json` holds."""
        kmeans = asdict(self.kmeans)
        del kmeans["centroids"]
        kmeans["objective"] = [float(value) for value in self.kmeans.objective]
        kmeans["cluster_sizes"] = np.asarray(self.kmeans.cluster_sizes).tolist()
        return {
            "read_encoder": self.read_encoder,
            "kmeans": kmeans,
            "n_samples": len(self.n_reads_used),
            "n_reads_drawn": sum(self.n_reads_drawn.values()),
            "n_reads_used": sum(self.n_reads_used.values()),
        }

    def save(self, folder: str | Path) -> Path:
        """Write checkpoint and record, whole or not at all, to a folder that does not exist yet or is empty."""
        folder = Path(folder)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            self.model.save_pretrained(partial)
            (partial / "training_record.json").write_text(json.dumps(self.record, indent=2) + "\n")
            if folder.is_dir():
                folder.rmdir()
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder


def fit_centroids(
    cohort: str | Path | Cohort,
    encoder: PreTrainedModel,
    processor: MetagenBertProcessor,
    *,
    n_clusters: int,
    n_iterations: int = 20,
    reads_per_sample: int = 10_000,
    seed: int = 0,
    spherical: bool = False,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
) -> CentroidFit:
    """Learn centroids from a cohort's reads (arXiv 2601.03295: "Glob" centroids), on the encoder's device.

    Args:
        cohort: A cohort, or the path of its CSV or TSV.
        encoder: Read encoder, on the device to use.
        processor: Tokenizer and contract.
        n_clusters: How many centroids.
        n_iterations: Of Lloyd's algorithm.
        reads_per_sample: Reads drawn from each sample, those whose number hashes lowest: the same ones however the
            files are read.
        seed: Of the draw and of k-means.
        spherical: Cluster directions: read vectors and centroids are scaled to unit length, here and whenever the
            checkpoint is used.
        batch_tokens: Token budget of one pass through the encoder.
        progress: Called after each sample with its id, its reads, and samples done and in all.

    Returns:
        The model and its record.

    Raises:
        InputError: There are fewer usable reads than clusters, or an argument is out of range.
        MissingDependencyError: No faiss is installed.
    """
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    if n_clusters < 1:
        raise InputError(f"n_clusters is {n_clusters}; it must be at least 1.")
    if reads_per_sample < 1:
        raise InputError(f"reads_per_sample is {reads_per_sample}; it must be at least 1.")
    hidden_size = int(encoder.config.hidden_size)
    model = MetagenBertModel.from_encoder_and_centroids(
        encoder, np.zeros((1, hidden_size), np.float32), processor=processor, normalize_embeddings=spherical
    )
    check_batch_tokens(batch_tokens, model)
    vectors = np.empty((len(cohort.samples) * reads_per_sample, hidden_size), np.float32)
    n_used, drawn, used = 0, {}, {}
    for i, sample in enumerate(cohort.samples, 1):
        batch, _ = draw_reads(sample.reads, reads_per_sample, seed=seed)
        new, _ = embed_vectors(model, processor, batch, batch_tokens)
        # Mates share a number, so a pair at the threshold may bring one read more.
        room = min(len(new), len(vectors) - n_used)
        vectors[n_used : n_used + room] = new[:room]
        n_used += room
        drawn[sample.sample_id], used[sample.sample_id] = len(batch), len(new)
        if progress is not None:
            progress(sample.sample_id, len(new), i, len(cohort.samples))
    if n_used < n_clusters:
        raise InputError(
            f"{n_clusters} clusters were asked for and the cohort gives {n_used} usable reads; ask for fewer clusters "
            "or draw more reads a sample."
        )
    fit = run_kmeans(
        vectors[:n_used],
        n_clusters,
        n_iterations=n_iterations,
        seed=seed,
        spherical=spherical,
        device=str(encoder.device),
    )
    model = MetagenBertModel.from_encoder_and_centroids(
        encoder, fit.centroids, processor=processor, normalize_embeddings=spherical
    )
    return CentroidFit(model, fit, drawn, used, encoder.name_or_path)


__all__ = ["CentroidFit", "fit_centroids"]
