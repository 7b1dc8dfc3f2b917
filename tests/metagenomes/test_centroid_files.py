"""Centroids that other programs wrote are read, and whatever is none is refused in one sentence."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch

from biomeformer.errors import InputError
from biomeformer.metagenomes.centroid_files import read_centroids

VALUES = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", np.longdouble])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_float_type_and_order(tmp_path, dtype, order):
    np.save(tmp_path / "c.npy", np.asarray(VALUES, dtype, order=order))
    centroids = read_centroids(tmp_path / "c.npy")
    assert centroids.dtype == np.float32 and centroids.flags.c_contiguous and centroids.flags.writeable
    np.testing.assert_allclose(centroids, VALUES, rtol=1e-3 if dtype == "<f2" else 1e-7)


def test_a_flat_index_gives_what_faiss_put_in(tmp_path):
    index = faiss.IndexFlatL2(8)
    index.add(VALUES)
    faiss.write_index(index, str(tmp_path / "index_5.faiss"))
    assert np.array_equal(read_centroids(tmp_path / "index_5.faiss"), VALUES)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_give_their_only_array_or_the_one_named(tmp_path, save):
    save(tmp_path / "one.npz", anything=VALUES)
    save(tmp_path / "two.npz", centroids=VALUES, sizes=np.arange(5))
    save(tmp_path / "other.npz", a=VALUES, b=VALUES + 1)
    assert np.array_equal(read_centroids(tmp_path / "one.npz"), VALUES)
    assert np.array_equal(read_centroids(tmp_path / "two.npz"), VALUES)
    assert np.array_equal(read_centroids(tmp_path / "other.npz", "b"), VALUES + 1)
    with pytest.raises(InputError, match=r"holds the arrays a, b; name the one of the centroids"):
        read_centroids(tmp_path / "other.npz")


def write(path, kind):
    if kind == "another metric":
        index = faiss.IndexFlatIP(8)
        index.add(VALUES)
        faiss.write_index(index, str(path))
    elif kind == "inverted lists":
        index = faiss.index_factory(8, "IVF2,Flat")
        index.train(VALUES)
        index.add(VALUES)
        faiss.write_index(index, str(path))
    elif kind == "torch":
        torch.save(torch.from_numpy(VALUES), path)
    elif kind == "objects":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind.startswith("cut"):
        (np.save if "npy" in kind else lambda f, v: write_index(f, v))(path, VALUES)
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "text":
        path.write_text("0.1,0.2\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "npz without end":
        np.savez(path, VALUES)
        path.write_bytes(path.read_bytes()[:-30])
    else:
        values = {
            "vector": VALUES[0],
            "no rows": VALUES[:0],
            "assignments": np.arange(10).reshape(5, 2),
            "complex": VALUES.astype(complex),
            "nan": np.where(np.arange(5)[:, None] == 3, np.nan, VALUES),
            "too large": VALUES.astype(float) * 1e60,
        }[kind]
        np.save(path, values)


def write_index(path, values):
    index = faiss.IndexFlatL2(values.shape[1])
    index.add(values)
    faiss.write_index(index, str(path))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("another metric", "is a flat index of inner products, which does not hold centroids for Euclidean"),
        ("inverted lists", "is a FAISS index of type 'IwFl'"),
        ("torch", "is an archive without a NumPy array, such as a pickle of PyTorch"),
        ("objects", "cannot be read as a NumPy array"),
        ("cut npy", "cannot be read as a NumPy array"),
        ("cut faiss", "has 153 bytes of them, so it is damaged"),
        ("text", "is neither a NumPy array nor a FAISS index"),
        ("empty", "is neither a NumPy array nor a FAISS index"),
        ("npz without end", "cannot be read as an .npz archive"),
        ("vector", r"holds an array of shape \(8,\)"),
        ("no rows", r"holds an array of shape \(0, 8\)"),
        ("assignments", "holds int64 numbers"),
        ("complex", "holds complex128 numbers"),
        ("nan", "1 of 5 centroids hold NaN, infinity or a number beyond float32, the first in row 3"),
        ("too large", "5 of 5 centroids hold NaN"),
    ],
)
def test_what_holds_no_centroids_is_refused(tmp_path, kind, message):
    path = tmp_path / ("c.npz" if kind == "npz without end" else "c.npy")
    write(path, kind)
    if path.suffix == ".npy" and not path.exists():
        path = path.with_name("c.npy.npz")
    with pytest.raises(InputError, match=message) as error:
        read_centroids(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_a_name_without_an_archive(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_centroids(tmp_path / "none.npy")
    np.save(tmp_path / "c.npy", VALUES)
    with pytest.raises(InputError, match="holds one array, so there is none to choose by name"):
        read_centroids(tmp_path / "c.npy", "centroids")
