"""Fitting of centroids: reads of a cohort are drawn by identity, embedded and clustered."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from ..checkpoints import public_name
from ..checkpoints.admission import require_admitted
from ..checkpoints.source import model_source
from ..errors import InputError, RankStopped
from ..inference.batching import check_batch_tokens, embed_vectors
from ..io.atomic import atomic_directory, write_json
from ..io.short_repr import short_repr
from ..models.metagenbert import MetagenBertModel, MetagenBertProcessor
from ..models.metagenbert.modeling_metagenbert import as_read_encoder
from ..reads import Cohort, draw_reads, read_cohort
from ..reads.cohort import CohortSample
from ..runs.control import RunControl, RunOptions, resolve_control
from ..runs.process_group import ProcessGroup
from ..runs.run_folder import Part, RunFolder, peak_memory
from ..runs.scheduler import ItemResult, run_items
from .cohort import computed_by
from .distances import MAX_FITTED_READS, far_distances
from .kmeans import DEVICES, KMeansFit, check_kmeans, kmeans_memory, nearest_centroids, run_distributed_kmeans
from .points import Points
from .quality import empty_clusters_remark
from .sample import complete_read_stats

DEFAULT_MAX_MEMORY = 4 << 30
# Of a candidate read: its letters, number and offset, in the pool and in the copy that is sorted.
BYTES_PER_DRAWN_READ = 2 * (300 + 16)


@dataclass(frozen=True)
class CentroidFit:
    """A model with its new centroids, and how they were fitted.

    Attributes:
        model: Read encoder, centroids and processor.
        kmeans: Objective per iteration, cluster sizes, empty clusters, device.
        n_reads_drawn: Reads drawn from each sample.
        n_reads_used: Reads of each sample that gave a vector, or one per window.
        base_model: Where the encoder came from: `id`, and `revision` where that is on the Hub.
        memory: What each process was allowed and took, in bytes.
    """

    model: MetagenBertModel
    kmeans: KMeansFit
    n_reads_drawn: dict[str, int]
    n_reads_used: dict[str, int]
    base_model: dict[str, Any]
    memory: dict[str, Any]

    __repr__ = short_repr

    @property
    def record(self) -> dict[str, Any]:
        """Content of `training_record.json`."""
        kmeans = asdict(self.kmeans)
        del kmeans["centroids"]
        kmeans["objective"] = [float(value) for value in self.kmeans.objective]
        kmeans["cluster_sizes"] = np.asarray(self.kmeans.cluster_sizes).tolist()
        return {
            "base_model": self.base_model,
            "kmeans": kmeans,
            "n_samples": len(self.n_reads_used),
            "n_reads_drawn": sum(self.n_reads_drawn.values()),
            "n_reads_used": sum(self.n_reads_used.values()),
            "memory": self.memory,
            **computed_by(self.model),
        }

    def save(self, folder: str | Path, *, locked: bool = False, **record: Any) -> Path:
        """Write checkpoint and record atomically to a folder that does not exist yet or is empty; return its path.

        Args:
            folder: The folder.
            locked: Whether the caller holds its lock.
            **record: Further fields of the record.
        """
        with atomic_directory(folder, locked=locked) as partial:
            self.model.save_pretrained(partial)
            write_json(partial / "training_record.json", self.record | record, indent=2)
        return Path(folder)


def fit_centroids(
    cohort: str | Path | Cohort,
    encoder: PreTrainedModel,
    processor: MetagenBertProcessor,
    *,
    n_clusters: int,
    **options: Any,
) -> CentroidFit:
    """Learn centroids from a cohort's reads (arXiv 2601.03295: "Glob" centroids), on the encoder's device.

    Args:
        cohort: A cohort, or the path of its CSV or TSV.
        encoder: Read encoder, on the device to use.
        processor: Tokenizer and preprocessing config.
        n_clusters: How many centroids.
        **options: As for `fit_several_centroids`.

    Returns:
        The model and its record.

    Raises:
        InputError: There are fewer usable reads than clusters, or an argument is out of range.
        SamplesFailedError: Samples cannot be used.
        MissingDependencyError: No faiss is installed.
    """
    return fit_several_centroids(cohort, encoder, processor, n_clusters=[n_clusters], **options)[0]


def fit_several_centroids(
    cohort: str | Path | Cohort,
    encoder: PreTrainedModel,
    processor: MetagenBertProcessor,
    *,
    n_clusters: Sequence[int],
    n_iterations: int = 20,
    reads_per_sample: int = 10_000,
    seed: int = 0,
    spherical: bool = False,
    min_points_per_centroid: int | None = None,
    max_points_per_centroid: int | None = None,
    initial: np.ndarray | None = None,
    batch_tokens: int | None = None,
    vectors: str | Path | None = None,
    max_memory: int = DEFAULT_MAX_MEMORY,
    on_iteration: Callable[[int, dict[int, float]], None] | None = None,
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> list[CentroidFit]:
    """Fit centroids for several numbers of clusters, from one draw of a cohort's reads and one pass over their vectors.

    The processes share the samples while reads are drawn and embedded, and the vectors, evenly, while they are
    clustered. Neither the draw nor the initial centroids depend on how many processes there are.

    Args:
        cohort: A cohort, or the path of its CSV or TSV.
        encoder: Read encoder, on the device to use.
        processor: Tokenizer and preprocessing config.
        n_clusters: Numbers of centroids.
        n_iterations: Of Lloyd's algorithm.
        reads_per_sample: Reads drawn from each sample, those whose number hashes lowest: the same ones however the
            files are read.
        seed: Of the draw and of k-means.
        spherical: Cluster directions: read vectors and centroids are scaled to unit length, here and whenever the
            checkpoint is used.
        min_points_per_centroid: With fewer reads per centroid the run says so and goes on, as FAISS does.
        max_points_per_centroid: Fit on a random sample of this many reads per centroid where there are more, drawn as
            FAISS draws it; on all reads by default.
        initial: Centroids to start from, float32 `(n_clusters, hidden_size)`, with one number of clusters; by default
            reads drawn at random.
        batch_tokens: Token budget of one pass through the encoder.
        vectors: Folder of the run that draws and embeds the reads, one part per sample, shared by all machines: an
            interrupted run resumes there, and other numbers of clusters need no new draw. A temporary one by default.
        max_memory: Bytes each process may take for reads, vectors and centroids, beside libraries, model and what the
            encoder needs for a batch. Vectors that do not fit are read from the disk in every iteration.
        on_iteration: Called after each iteration with its number and the objective by number of clusters.
        control: How the run proceeds. Its observer's `advance` gets a sample's reads seen, bytes read and bytes in all.
        **options: Fields of `RunControl` by keyword: `resume`, `overwrite`, `fail_fast`, `processes`, `observer`,
            `check`; in place of a control, or to change one.

    Returns:
        A model and its record for each of `n_clusters`.

    Raises:
        CheckpointError: The encoder cannot embed DNA with the processor's tokenizer.
        InputError: There are fewer usable reads than clusters, an argument is out of range, the memory allowed is not
            enough, or the preprocessing config allows more tokens than the encoder takes.
        SamplesFailedError: Samples cannot be used; the vectors of the others are kept. Raised by the main process, and
            `RankStopped` by the others.
        MissingDependencyError: No faiss is installed.
        RankError: Another process failed.
    """
    encoder = as_read_encoder(encoder)
    require_admitted(encoder, processor)
    if not isinstance(cohort, Cohort):
        cohort = read_cohort(cohort)
    control = resolve_control(control, options)
    processes = control.processes
    at_start = peak_memory()
    if reads_per_sample < 1:
        raise InputError(f"reads_per_sample is {reads_per_sample}; it must be at least 1.")
    hidden_size = int(encoder.config.hidden_size)
    device = encoder.device if encoder.device.type in DEVICES else torch.device("cpu")
    check_kmeans(n_clusters, hidden_size, n_iterations=n_iterations, seed=seed, device=device)
    needed = memory_needed(n_clusters, hidden_size, reads_per_sample, is_capped=max_points_per_centroid is not None)
    if needed > max_memory:
        raise InputError(
            f"{max_memory / 1e9:.2f} GB of memory were allowed and {needed / 1e9:.2f} GB are needed for "
            f"{reads_per_sample:,} reads per sample and {sum(n_clusters):,} clusters of {hidden_size} dimensions; "
            "allow more, or ask for fewer."
        )
    model = MetagenBertModel.from_encoder_and_centroids(
        encoder, np.zeros((1, hidden_size), np.float32), processor=processor, normalize_embeddings=spherical
    )
    check_batch_tokens(batch_tokens, model)

    def draw(sample: CohortSample, among: Sequence[int]) -> ItemResult:
        def seen(n_reads: int, bytes_done: int, bytes_total: int) -> None:
            control.observer.advance(sample.sample_id, n_reads, bytes_done, bytes_total)

        batch, n_reads = draw_reads(sample.reads, reads_per_sample, seed=seed, progress=seen, check=processes.check)
        sample_vectors, packed = embed_vectors(model, processor, batch, batch_tokens)
        if not np.isfinite(sample_vectors).all():
            raise InputError("the read encoder gives NaN or infinity; check its weights, or use float32.")
        stats = {"n_reads": n_reads, "n_drawn": len(batch), **packed.read_stats}
        return {"vectors": sample_vectors, "n_tokens": packed.lengths.astype(np.int32)}, stats

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> list[tuple[str, str, dict[str, int]]]:
        return [(name, str(part.path), part.stats) for name, part in parts.items()]

    with _folder(vectors, processes) as folder:
        run = RunFolder(
            folder,
            _fingerprint(model, reads_per_sample, seed),
            cohort,
            "samples",
            root=cohort.root,
            own_files=None if cohort.allow_shared_files else CohortSample.files,
            validate=_inconsistency,
        )
        outcome = run_items(run, draw, gather, control=control, share_batches=False)
        if outcome.failed and not processes.is_main:
            raise RankStopped("samples failed")
        outcome.raise_for_failures()
        parts = processes.all_gather(outcome.result)[0]
        parts = [(name, path, complete_read_stats(read_stats)) for name, path, read_stats in parts]
        n_vectors = sum(read_stats["n_windows"] for _, _, read_stats in parts)
        if n_vectors < max(n_clusters):
            raise InputError(
                f"{max(n_clusters)} clusters were asked for and the cohort gives {n_vectors} usable reads; ask for "
                "fewer clusters or draw more reads per sample."
            )
        scarce = [k for k in n_clusters if n_vectors < k * (min_points_per_centroid or 0)]
        if scarce and processes.is_main:
            control.observer.remark(
                f"{n_vectors:,} reads are fewer than {min_points_per_centroid} per centroid for K = "
                f"{', '.join(map(str, scarce))}; draw more reads per sample, or ask for fewer clusters"
            )
        files = [(Path(path), read_stats["n_windows"]) for _, path, read_stats in parts]
        points = Points.from_files(files, hidden_size, processes.rank, processes.size, max_memory - needed)
        fits = run_distributed_kmeans(
            points,
            n_clusters,
            n_iterations=n_iterations,
            seed=seed,
            spherical=spherical,
            max_points_per_centroid=max_points_per_centroid,
            initial=initial,
            device=str(device),
            processes=processes,
            progress=on_iteration,
        )
        far = [_far_distances([path for path, _ in files], fit.centroids) for fit in fits]
    for fit in fits if processes.is_main else ():
        if (remark := empty_clusters_remark(np.asarray(fit.cluster_sizes))) is not None:
            control.observer.remark(remark)
    memory = {
        "allowed_bytes": max_memory,
        "vectors_bytes": [points.n_local * hidden_size * 4, "on disk" if points.on_disk else "in memory"],
        "process_bytes_at_start": processes.all_gather(at_start),
        "peak_process_bytes": processes.all_gather(peak_memory()),
    }
    models = [
        MetagenBertModel.from_encoder_and_centroids(
            encoder, fit.centroids, processor=processor, normalize_embeddings=spherical
        )
        for fit in fits
    ]
    for fitted, record in zip(models, far, strict=True):
        fitted.config.far_distances = record
        how = "fitted" if initial is None else f"refined by {n_iterations} iterations"
        fitted.config.centroids_from = f"{how} on reads of {len(parts)} samples, seed {seed}"
    return [
        CentroidFit(
            fitted,
            fit,
            {name: read_stats["n_drawn"] for name, _, read_stats in parts},
            {name: read_stats["n_used"] for name, _, read_stats in parts},
            model_source(encoder),
            memory,
        )
        for fitted, fit in zip(models, fits, strict=True)
    ]


def _far_distances(files: Sequence[Path], centroids: np.ndarray) -> list[list[float]] | None:
    """Return `MetagenBertConfig.far_distances` of new centroids, by some vectors of each file; None without lengths."""
    n_rows = -(-MAX_FITTED_READS // len(files))
    distances, n_tokens = [], []
    for path in files:
        with safe_open(path, "numpy") as file:
            # Vectors that an earlier version drew lack them.
            if "n_tokens" not in file.keys():
                return None
            n_tokens.append(file.get_tensor("n_tokens")[:n_rows])
            vectors = torch.from_numpy(file.get_slice("vectors")[: len(n_tokens[-1])])
        distances.append(nearest_centroids(vectors, torch.from_numpy(centroids))[0].sqrt().numpy())
    return far_distances(np.concatenate(distances), np.concatenate(n_tokens))


def memory_needed(
    n_clusters: Sequence[int], hidden_size: int, reads_per_sample: int, *, is_capped: bool = False
) -> int:
    """Return the least bytes a process takes for reads, vectors and centroids: with its vectors read from the disk."""
    draw = reads_per_sample * (4 * hidden_size + BYTES_PER_DRAWN_READ)
    return max(draw, kmeans_memory(n_clusters, hidden_size, is_capped=is_capped))


def _fingerprint(model: MetagenBertModel, reads_per_sample: int, seed: int) -> dict[str, Any]:
    """Return what decides the vectors. The model's own centroids are zeros, so its hash is the encoder's."""
    assert model.processor is not None
    return {
        "read_encoder": public_name(model.encoder.name_or_path),
        "weights_sha256": model.weights_sha256,
        "contract": model.processor.preprocessing,
        "spherical": model.config.normalize_embeddings,
        "reads_per_sample": reads_per_sample,
        "seed": seed,
        **computed_by(model),
    }


def _inconsistency(arrays: dict[str, np.ndarray], read_stats: dict[str, int]) -> str | None:
    """Return why a sample's vectors and statistics do not fit, or None."""
    vectors = arrays.get("vectors")
    n_vectors = complete_read_stats(read_stats).get("n_windows")
    if vectors is None or len(vectors) != n_vectors:
        return f"it has not one vector for each of {n_vectors} reads, or windows of reads"
    return None


@contextmanager
def _folder(vectors: str | Path | None, processes: ProcessGroup) -> Iterator[Path]:
    """Yield the folder for vectors, or a temporary one of the main process."""
    if vectors is not None:
        yield Path(vectors)
        return
    with tempfile.TemporaryDirectory(prefix="biomeformer-") if processes.is_main else nullcontext() as name:
        yield Path(processes.all_gather(name)[0])
        processes.all_gather("done")


__all__ = ["DEFAULT_MAX_MEMORY", "CentroidFit", "fit_centroids", "fit_several_centroids", "memory_needed"]
