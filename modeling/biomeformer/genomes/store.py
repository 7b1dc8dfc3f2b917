"""Store of the vectors of distinct proteins on disk, looked up by the protein itself."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.atomic import atomic_write, is_partial, wrap_write_errors

FORMAT_VERSION = 1
# 16 bytes; numpy sorts and searches these quickly.
KEY = np.dtype("S16")


def protein_keys(proteins: Sequence[str]) -> np.ndarray:
    """Return the first 128 bits of each protein's SHA-256, `(n_proteins,)` of 16 bytes each."""
    digests = b"".join(hashlib.sha256(protein.encode()).digest()[:16] for protein in proteins)
    return np.frombuffer(digests, KEY)


class ProteinStore:
    """An append-only store of float16 vectors, memory-mapped, of one encoder.

    Each addition is a segment of its own, written atomically under a unique name: several processes may add at once,
    and one that is killed leaves nothing that is read. A protein that two of them add is stored twice; the first one
    is returned.

    Args:
        folder: Folder of the store; created if it does not exist.
        preprocessing: Preprocessing config, which decides a vector; a store of another one is refused.

    Raises:
        InputError: The folder holds a store of another preprocessing config, or something else.
        RunError: It cannot be written to.
    """

    def __init__(self, folder: str | Path, preprocessing: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.preprocessing: dict[str, Any] = json.loads(json.dumps(preprocessing))
        self._segments: list[np.ndarray] = []
        self._seen: set[str] = set()
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        self._open()
        self.refresh()

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    @property
    def hidden_size(self) -> int:
        """Width of a vector."""
        return int(self.preprocessing["hidden_size"])

    @property
    def _parts(self) -> Path:
        return self.folder / "segments"

    def _open(self) -> None:
        record = self.folder / "store.json"
        if not record.is_file():
            self._create(record)
        content = json.loads(record.read_text())
        if content.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{self.folder} is a store of another version; give another folder.")
        differing = sorted(key for key in self.preprocessing if content["contract"].get(key) != self.preprocessing[key])
        if differing:
            raise InputError(
                f"{self.folder} holds vectors of another encoder (its {', '.join(differing)} differ); give another "
                "folder, or the encoder it was made with."
            )

    def _create(self, record: Path) -> None:
        """Write the record of a new store; other processes may do the same meanwhile."""
        if self.folder.is_dir():
            # Another process may be writing this very file, or was killed while it did.
            names = {path.name for path in self.folder.iterdir() if not is_partial(path)}
            if names - {"segments", record.name}:
                raise InputError(f"{self.folder} is a folder that holds something else; give a new one.")
        with wrap_write_errors(self.folder):
            self._parts.mkdir(parents=True, exist_ok=True)
            content = json.dumps({"format_version": FORMAT_VERSION, "contract": self.preprocessing}, indent=1) + "\n"
            with atomic_write(record) as partial:
                partial.write_text(content)

    def refresh(self) -> None:
        """Load the segments that other processes have added since."""
        for path in sorted(self._parts.glob("[!.]*.keys.npy")):
            name = path.name.removesuffix(".keys.npy")
            if name not in self._seen:
                self._load_segment(name)

    def _load_segment(self, name: str) -> None:
        """Load and index a segment; of equal keys the first stays the one that is returned."""
        keys = np.load(self._parts / f"{name}.keys.npy").view(KEY).ravel()
        vectors = np.load(self._parts / f"{name}.vectors.npy", mmap_mode="r")
        rows = np.flatnonzero(~self.find(keys))
        run = _sorted(keys[rows], np.stack([np.full(len(rows), len(self._segments)), rows], 1))
        self._segments.append(vectors)
        self._seen.add(name)
        # Runs at least double in size from the last to the first, so that a key is sorted a few times only.
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            keys, locations = self._runs.pop()
            run = _sorted(np.concatenate([keys, run[0]]), np.concatenate([locations, run[1]]))
        self._runs.append(run)

    def _locate(self, keys: np.ndarray) -> np.ndarray:
        """Return segment and row of each key, int64 `(n_keys, 2)`; -1 for a key that the store lacks."""
        locations = np.full((len(keys), 2), -1, np.int64)
        for known, known_locations in self._runs:
            if len(known):
                at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
                matches = known[at] == keys
                locations[matches] = known_locations[at[matches]]
        return locations

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return which keys the store has, bool `(n_keys,)`."""
        return np.asarray(self._locate(keys)[:, 0] >= 0)

    def get(self, keys: np.ndarray) -> np.ndarray:
        """Return vectors by key, float16 `(n_keys, hidden_size)`.

        Raises:
            KeyError: The store lacks a key.
        """
        locations = self._locate(keys)
        n_missing = int((locations[:, 0] < 0).sum())
        if n_missing:
            raise KeyError(f"{self.folder} lacks {n_missing} of {len(keys)} proteins")
        vectors = np.empty((len(keys), self.hidden_size), np.float16)
        for segment in np.unique(locations[:, 0]):
            rows = np.flatnonzero(locations[:, 0] == segment)
            vectors[rows] = self._segments[int(segment)][locations[rows, 1]]
        return vectors

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Add a segment, atomically.

        Args:
            keys: Of proteins, distinct.
            vectors: `(n_keys, hidden_size)`, finite in float16.

        Raises:
            InputError: A value does not fit into float16, or is NaN.
            RunError: It cannot be written.
        """
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(vectors, np.float16)
        if not np.isfinite(halves).all():
            raise InputError("the encoder gives values that float16 does not hold; check its weights.")
        if not len(keys):
            return
        name = uuid.uuid4().hex
        with wrap_write_errors(self.folder):
            # Keys come last: a segment exists once they do.
            for kind, array in (("vectors", halves), ("keys", keys.view(np.uint8).reshape(-1, KEY.itemsize))):
                with atomic_write(self._parts / f"{name}.{kind}.npy") as partial, partial.open("wb") as handle:
                    np.save(handle, array)
        self._load_segment(name)


def _sorted(keys: np.ndarray, locations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keys in order, with their locations."""
    order = np.argsort(keys)
    return keys[order], locations[order]


__all__ = ["ProteinStore", "protein_keys"]
