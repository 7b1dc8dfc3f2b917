"""Vectors of the reads that `fit-centroids --vectors` drew: their means, and centroids fitted on some samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError, TableError
from ..io.records import DamagedFileError
from ..runs.records import RUN, Part, read_part
from ..runs.run_folder import is_run_folder
from .centroids import DEFAULT_MAX_MEMORY
from .kmeans import KMeansFit, nearest_centroids, run_distributed_kmeans
from .points import Points

ADVICE = "give the folder of a finished `biomeformer fit-centroids --vectors`"


@dataclass(frozen=True)
class DrawnVectors:
    """The vectors of the reads drawn from each sample of a cohort.

    Attributes:
        folder: Folder of the run that drew them.
        parts: Part of each sample, with its vectors, in the order of the cohort.
        hidden_size: Dimensions.
        spherical: Whether they have unit length.
        fingerprint: What decided them: encoder, preprocessing config, reads per sample, seed.
    """

    folder: Path
    parts: dict[str, Part]
    hidden_size: int
    spherical: bool
    fingerprint: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> DrawnVectors:
        """Open the folder given to `fit-centroids --vectors`.

        Raises:
            InputError: It holds no such run, or an unfinished one.
            DamagedFileError: A file is damaged.
        """
        folder = Path(folder)
        record = RUN.read(folder / "run" / "run.json") if is_run_folder(folder) else None
        if record is None or "reads_per_sample" not in record.fingerprint:
            raise InputError(f"{folder} holds no vectors of drawn reads; {ADVICE}.")
        parts, hidden_size = {}, 0
        for name in record.samples:
            try:
                part, arrays = read_part(folder / "run" / "parts" / f"{name}.safetensors")
            except FileNotFoundError as error:
                raise InputError(
                    f"{folder} has no vectors of {name!r}, so its run is unfinished; give the command that draws them "
                    "again, which finishes it."
                ) from error
            if part.item_id != name or "vectors" not in arrays:
                raise DamagedFileError(f"{part.path} holds no vectors of {name!r}; {ADVICE}.")
            parts[name], hidden_size = part, arrays["vectors"].shape[1]
        return cls(folder, parts, hidden_size, bool(record.fingerprint.get("spherical")), record.fingerprint)

    def means(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Return the mean vector of each sample's reads, float64 `(n_samples, hidden_size)`.

        Raises:
            TableError: A sample has no vectors.
        """
        return np.array([part.arrays()["vectors"].mean(0, dtype=np.float64) for part in self._parts(sample_ids)])

    def fit(
        self,
        sample_ids: Collection[str],
        n_clusters: int,
        *,
        n_iterations: int = 20,
        seed: int = 0,
        max_points_per_centroid: int | None = None,
        max_memory: int = DEFAULT_MAX_MEMORY,
    ) -> KMeansFit:
        """Fit centroids on the reads of some samples, in the order of the cohort.

        Args:
            sample_ids: The samples.
            n_clusters: Number of centroids.
            n_iterations: Of Lloyd's algorithm.
            seed: Of the initial choice of points.
            max_points_per_centroid: As for `run_kmeans`.
            max_memory: Bytes that the vectors may take; more of them are read from the disk in each iteration.

        Raises:
            InputError: They have fewer reads than there are clusters.
            TableError: A sample has no vectors.
        """
        wanted = set(sample_ids)
        parts = self._parts([*(name for name in self.parts if name in wanted), *(wanted - self.parts.keys())])
        files = [(part.path, part.stats["n_used"]) for part in parts]
        points = Points.from_files(files, self.hidden_size, 0, 1, max_memory)
        options: dict[str, Any] = {"n_iterations": n_iterations, "seed": seed, "spherical": self.spherical}
        options["max_points_per_centroid"] = max_points_per_centroid
        return run_distributed_kmeans(points, [n_clusters], **options)[0]

    def counts(self, sample_ids: Sequence[str], centroids: np.ndarray) -> np.ndarray:
        """Count each sample's reads by nearest centroid.

        Args:
            sample_ids: The samples.
            centroids: float32 `(n_clusters, hidden_size)`.

        Returns:
            int64 `(n_samples, n_clusters)`.

        Raises:
            TableError: A sample has no vectors.
        """
        table = torch.from_numpy(np.ascontiguousarray(centroids, np.float32))
        rows = []
        for part in self._parts(sample_ids):
            _, nearest = nearest_centroids(torch.from_numpy(part.arrays()["vectors"]), table)
            rows.append(torch.bincount(nearest, minlength=len(table)).numpy())
        return np.array(rows)

    def _parts(self, sample_ids: Sequence[str]) -> list[Part]:
        missing = [name for name in sample_ids if name not in self.parts]
        if missing:
            raise TableError(
                f"{self.folder} has no vectors of {len(missing)} of {len(sample_ids)} samples (such as "
                f"{missing[0]!r}); draw reads of the same cohort."
            )
        return [self.parts[name] for name in sample_ids]


__all__ = ["DrawnVectors"]
