"""Read centroids that other programs wrote: NumPy arrays and FAISS indexes."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, reason_of
from ..io.limits import EXPANDED_BYTES

ADVICE = "give the float array (n_clusters, hidden_size) of k-means, as .npy, .npz, or a flat L2 index of FAISS"
PREFERRED = "centroids"
NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
# What `faiss.write_index` writes for an IndexFlatL2: type, dimensions, vectors, two reserved numbers, whether it is
# trained, metric; then how many float32 follow (faiss/impl/index_write.cpp).
FLAT_L2 = b"IxF2"
FLAT_HEADER = struct.Struct("<4siqqq?i")
METRIC_L2 = 1
KINDS = {b"IxFI": "a flat index of inner products", b"IxFl": "a flat index of another metric"}


def read_centroids(path: str | Path, array: str | None = None) -> np.ndarray:
    """Read centroids from a file, which is told by its content.

    Args:
        path: A `.npy` array of any float type and order, an `.npz` archive, or an index of FAISS that holds the
            centroids themselves (`IndexFlatL2`).
        array: Which array of an archive; by default its only one, or the one called `centroids`.

    Returns:
        float32 `(n_clusters, hidden_size)`.

    Raises:
        InputError: The file cannot be read, is of another kind, or does not hold an array of finite centroids.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(max(FLAT_HEADER.size, len(NPY)))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {ADVICE}.") from error
    if array is not None and not start.startswith(ZIP):
        raise InputError(f"{path} holds one array, so there is none to choose by name; leave out {array!r}.")
    if start.startswith(NPY):
        values = _read_npy(path)
    elif start.startswith(ZIP):
        values = _read_npz(path, array)
    elif start[:2] == b"Ix" or start[:2] == b"Iw":
        values = _read_flat_index(path, start)
    else:
        raise InputError(f"{path} is neither a NumPy array nor a FAISS index; {ADVICE}.")
    return _checked(path, values)


def _read_npy(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header that promises more than the file holds is noticed before memory is taken.
        return np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy parses the header as Python, with whatever error that has: SyntaxError, TokenError, RecursionError.
    except Exception as error:
        raise InputError(f"{path} cannot be read as a NumPy array ({_reason(error)}); {ADVICE}.") from error


def _read_npz(path: Path, array: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
        names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
        if not names:
            raise InputError(f"{path} is an archive without a NumPy array, such as a pickle of PyTorch; {ADVICE}.")
        if array is None:
            array = names[0] if len(names) == 1 else PREFERRED
        if array not in names:
            raise InputError(f"{path} holds the arrays {', '.join(sorted(names))}; name the one of the centroids.")
        size = members[f"{array}.npy"]
        if size > EXPANDED_BYTES.get():
            raise InputError(
                f"{path}: the array {array!r} expands to {size:,} bytes; allow more with {EXPANDED_BYTES.option}."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[array])
    except InputError:
        raise
    # As above; zipfile has its own beside them, and zlib and lzma theirs.
    except Exception as error:
        raise InputError(f"{path} cannot be read as an .npz archive ({_reason(error)}); {ADVICE}.") from error


def _read_flat_index(path: Path, start: bytes) -> np.ndarray:
    kind = start[:4]
    if kind != FLAT_L2:
        what = KINDS.get(kind, f"a FAISS index of type {kind.decode('ascii', 'replace')!r}")
        raise InputError(
            f"{path} is {what}, which does not hold centroids for Euclidean distances as they are; {ADVICE}."
        )
    if len(start) < FLAT_HEADER.size:
        raise InputError(f"{path} breaks off in its header, so it is incomplete; copy it again.")
    _, hidden_size, n_clusters, _, _, _, metric = FLAT_HEADER.unpack(start)
    n_values = path.stat().st_size - FLAT_HEADER.size - 8
    if metric != METRIC_L2 or hidden_size < 1 or n_clusters < 0 or n_values != 4 * hidden_size * n_clusters:
        raise InputError(
            f"{path} says that it holds {n_clusters:,} vectors of {hidden_size:,} dimensions and has "
            f"{max(n_values, 0):,} bytes of them, so it is damaged; copy it again."
        )
    with path.open("rb") as file:
        file.seek(FLAT_HEADER.size + 8)
        return np.fromfile(file, "<f4", hidden_size * n_clusters).reshape(n_clusters, hidden_size)


def _checked(path: Path, values: np.ndarray) -> np.ndarray:
    if values.ndim != 2 or not values.size:
        raise InputError(f"{path} holds an array of shape {values.shape}; {ADVICE}.")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{path} holds {values.dtype} numbers, which are no centroids of vectors; {ADVICE}.")
    with np.errstate(over="ignore"):
        # Centroids in float64 beyond the range of float32 become infinite.
        centroids = np.array(values, np.float32, order="C")
    bad = np.unique(np.argwhere(~np.isfinite(centroids))[:, 0])
    if len(bad):
        raise InputError(
            f"{path}: {len(bad):,} of {len(centroids):,} centroids hold NaN, infinity or a number beyond float32, the "
            f"first in row {bad[0]}; {ADVICE}."
        )
    return centroids


def _reason(error: BaseException) -> Any:
    return reason_of(error)


__all__ = ["read_centroids"]
