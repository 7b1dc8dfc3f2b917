"""Store of the vectors of distinct proteins on disk, looked up by the protein itself.

    STORE/store.json                            the preprocessing config
    STORE/segments/NAME.keys.safetensors        keys of a segment's proteins, and a checksum of each one's vector
    STORE/segments/NAME.vectors.f16             its vectors, memory-mapped

Vectors are verified as they are read, protein by protein, since a store can be larger than memory. Version 0.1 wrote
`NAME.keys.npy` and `NAME.vectors.npy` instead, which have no checksums; of these, form and finite values are checked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash

from ..errors import InputError
from ..io.atomic import atomic_write, is_partial, wrap_write_errors
from ..io.records import DamagedFileError, RecordType, read_arrays, write_arrays

FORMAT_VERSION = 2
# 16 bytes; numpy sorts and searches these quickly.
KEY = np.dtype("S16")
KEYS, VECTORS = ".keys.safetensors", ".vectors.f16"
OLD_KEYS, OLD_VECTORS = ".keys.npy", ".vectors.npy"
HALF = np.dtype("<f2")
REPAIR = "`biomeformer genome embed --overwrite` keeps the store and embeds only what it lacks"

logger = logging.getLogger(__name__)


class _StoreRecord(msgspec.Struct):
    """Content of `store.json`; `contract` is the preprocessing config."""

    format_version: int
    contract: dict[str, Any]


STORE_RECORD = RecordType(
    _StoreRecord,
    "restore it, or give another folder, to which all proteins are embedded again",
    [{"format_version", "contract"}],
)


@dataclass
class _Segment:
    """The vectors of one addition.

    Attributes:
        name: Name of its files.
        vectors: float16 `(n, hidden_size)`, memory-mapped.
        checksums: uint64 `(n,)`, of key and vector; None in segments of version 0.1.
        is_verified: Rows that were compared with their checksums before.
    """

    name: str
    vectors: np.ndarray
    checksums: np.ndarray | None
    is_verified: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.is_verified = np.zeros(len(self.vectors), bool)

    def read(self, keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return vectors, and which of them are as they were written; `keys` are those of the rows."""
        vectors = np.asarray(self.vectors[rows])
        if self.checksums is None:
            is_intact = np.isfinite(vectors).all(1)
        else:
            is_intact = _checksums(keys, vectors) == self.checksums[rows]
        self.is_verified[rows[is_intact]] = True
        return vectors, is_intact


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
        self._segments: list[_Segment] = []
        self._seen: set[str] = set()
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []
        # Segment and row of vectors that were found to be damaged.
        self._damaged: set[tuple[int, int]] = set()
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
        content = STORE_RECORD.read(record)
        if content.format_version not in (1, FORMAT_VERSION):
            raise InputError(f"{self.folder} is a store of another version; give another folder.")
        differing = sorted(key for key in self.preprocessing if content.contract.get(key) != self.preprocessing[key])
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
            STORE_RECORD.write(record, {"format_version": FORMAT_VERSION, "contract": self.preprocessing})

    def refresh(self) -> None:
        """Load the segments that other processes have added since.

        A segment whose files are damaged is left out, with a warning: the store lacks its proteins, so that they are
        embedded again when they are needed.
        """
        new = {}
        for suffix in (KEYS, OLD_KEYS):
            for path in self._parts.glob(f"[!.]*{suffix}"):
                name = path.name.removesuffix(suffix)
                if name not in self._seen:
                    new[name] = suffix
        for name, suffix in sorted(new.items()):
            self._seen.add(name)
            try:
                keys, segment = self._read_segment(name, suffix)
            except FileNotFoundError as error:
                logger.warning("%s is missing, so the segment's proteins are; %s", error.filename, REPAIR)
            except DamagedFileError as error:
                logger.warning("%s", error)
            else:
                self._add_segment(keys, segment)

    def _read_segment(self, name: str, suffix: str) -> tuple[np.ndarray, _Segment]:
        """Read the keys of a segment and map its vectors.

        Raises:
            FileNotFoundError: The vectors are missing.
            DamagedFileError: They do not have their form, or the keys do not match their checksum.
        """
        advice = f"its proteins are left out; {REPAIR}"
        path, checksums = self._parts / f"{name}{suffix}", None
        if suffix == KEYS:
            arrays = read_arrays(path, advice=advice)
            if arrays.keys() != {"keys", "checksums"}:
                raise DamagedFileError(f"{path} holds other arrays than keys and checksums; {advice}.")
            keys, checksums = arrays["keys"], arrays["checksums"]
            path = self._parts / f"{name}{VECTORS}"
            size, expected = path.stat().st_size, len(keys) * self.hidden_size * HALF.itemsize
            if size != expected or not len(keys):
                raise DamagedFileError(f"{path} has {size} bytes and not {expected}, so it is damaged; {advice}.")
            vectors: np.ndarray = np.memmap(path, HALF, "r", shape=(len(keys), self.hidden_size))
        else:
            try:
                # Mapped, so that a damaged shape takes no memory.
                keys = np.load(path, mmap_mode="r", allow_pickle=False)
                path = self._parts / f"{name}{OLD_VECTORS}"
                vectors = np.load(path, mmap_mode="r", allow_pickle=False)
            except FileNotFoundError:
                raise
            # numpy parses the header of a file as Python, which can fail in any way.
            except Exception as error:
                raise DamagedFileError(f"{path} is not a file of numpy's, so it is damaged; {advice}.") from error
            if vectors.dtype != HALF or vectors.shape != (len(keys), self.hidden_size):
                raise DamagedFileError(f"{path} does not have its type and shape, so it is damaged; {advice}.")
        if keys.dtype != np.uint8 or keys.shape != (len(vectors), KEY.itemsize):
            raise DamagedFileError(f"{path} does not have its type and shape, so it is damaged; {advice}.")
        return np.ascontiguousarray(keys).view(KEY).ravel(), _Segment(name, vectors, checksums)

    def _add_segment(self, keys: np.ndarray, segment: _Segment) -> None:
        """Index a segment; of equal keys the first stays the one that is returned."""
        rows = np.flatnonzero(~self.find(keys))
        self._segments.append(segment)
        self._index(keys[rows], np.stack([np.full(len(rows), len(self._segments) - 1), rows], 1))

    def _index(self, keys: np.ndarray, locations: np.ndarray) -> None:
        """Add keys that are not indexed yet, with segment and row of each."""
        run = _sorted(keys, locations)
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

    def find_intact(self, keys: np.ndarray) -> np.ndarray:
        """Return which keys the store has with a vector that is as it was written, bool `(n_keys,)`.

        Vectors that were not verified before are read for that.
        """
        locations = self._locate(keys)
        is_new = np.zeros(len(keys), bool)
        for number in np.unique(locations[locations[:, 0] >= 0, 0]):
            rows = np.flatnonzero(locations[:, 0] == number)
            is_new[rows] = ~self._segments[int(number)].is_verified[locations[rows, 1]]
        self._read(keys[is_new], locations[is_new])
        return self.find(keys)

    def get(self, keys: np.ndarray) -> np.ndarray:
        """Return vectors by key, float16 `(n_keys, hidden_size)`.

        Raises:
            InputError: The store lacks a key, or its vector is damaged.
        """
        locations = self._locate(keys)
        n_missing = int((locations[:, 0] < 0).sum())
        if n_missing:
            raise InputError(f"{self.folder} lacks {n_missing} of {len(keys)} proteins; {REPAIR}.")
        vectors, is_intact = self._read(keys, locations)
        if not is_intact.all():
            # Another segment may have them too.
            vectors[~is_intact] = self.get(keys[~is_intact])
        return vectors

    def _read(self, keys: np.ndarray, locations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read vectors and tell which are intact; what is not is no longer indexed, or at a copy that is intact."""
        vectors, is_intact = np.empty((len(keys), self.hidden_size), np.float16), np.ones(len(keys), bool)
        for number in np.unique(locations[:, 0]):
            rows = np.flatnonzero(locations[:, 0] == number)
            vectors[rows], is_intact[rows] = self._segments[int(number)].read(keys[rows], locations[rows, 1])
        if not is_intact.all():
            self._replace(np.unique(keys[~is_intact]), locations[~is_intact])
        return vectors, is_intact

    def _replace(self, keys: np.ndarray, locations: np.ndarray) -> None:
        """Take damaged vectors out of the index, and put copies in other segments there instead."""
        self._damaged |= {(int(number), int(row)) for number, row in locations}
        self._runs = [(known[keep], at[keep]) for known, at in self._runs if len(keep := ~np.isin(known, keys))]
        for number, segment in enumerate(self._segments):
            suffix = OLD_KEYS if segment.checksums is None else KEYS
            try:
                own, _ = self._read_segment(segment.name, suffix)
            except (FileNotFoundError, DamagedFileError):
                continue
            rows = np.flatnonzero(np.isin(own, keys) & ~self.find(own))
            rows = rows[[(number, int(row)) not in self._damaged for row in rows]]
            _, is_intact = segment.read(own[rows], rows)
            rows = rows[is_intact]
            self._index(own[rows], np.stack([np.full(len(rows), number), rows], 1))
        n_lacking = int((~self.find(keys)).sum())
        names = ", ".join(sorted({self._segments[int(number)].name for number in locations[:, 0]}))
        logger.warning(
            "%s: the vectors of %d proteins in segment %s are damaged and no longer used; %d of them have no copy and "
            "have to be embedded again",
            self.folder,
            len(keys),
            names,
            n_lacking,
        )

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
            with atomic_write(self._parts / f"{name}{VECTORS}") as partial:
                halves.astype(HALF, copy=False).tofile(partial)
            # Keys come last: a segment exists once they do.
            arrays = {"keys": keys.view(np.uint8).reshape(-1, KEY.itemsize), "checksums": _checksums(keys, halves)}
            write_arrays(self._parts / f"{name}{KEYS}", arrays, {})
        self._seen.add(name)
        own, segment = self._read_segment(name, KEYS)
        segment.is_verified[:] = True
        self._add_segment(own, segment)


def _checksums(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return a checksum of each vector and its key, uint64 `(n,)`."""
    content = np.ascontiguousarray(vectors).reshape(-1).view(np.uint8).data
    width = vectors.shape[1] * HALF.itemsize
    seeds = np.ascontiguousarray(keys).view("<u8")[::2].tolist()
    values = [xxhash.xxh3_64_intdigest(content[i * width : i * width + width], seed) for i, seed in enumerate(seeds)]
    return np.array(values, np.uint64)


def _sorted(keys: np.ndarray, locations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return keys in order, with their locations."""
    order = np.argsort(keys)
    return keys[order], locations[order]


__all__ = ["ProteinStore", "protein_keys"]
