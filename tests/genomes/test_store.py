"""The store of protein vectors on a disk that damages it: no wrong vector, and what is damaged is embedded again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from biomeformer.errors import BiomeformerError, InputError
from biomeformer.genomes.store import ProteinStore, protein_keys

PREPROCESSING = {"hidden_size": 6, "weights_sha256": "0f"}
PROTEINS = [f"M{'ACDEFGHIKL'[i % 10] * (1 + i // 10)}" for i in range(40)]
KEYS = protein_keys(PROTEINS)
VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float16)


def filled(folder: Path) -> Path:
    """A store of four segments of ten proteins each."""
    store = ProteinStore(folder, PREPROCESSING)
    for begin in range(0, 40, 10):
        store.add(KEYS[begin : begin + 10], VECTORS[begin : begin + 10])
    return folder


def filled_by_version_0_1(folder: Path) -> Path:
    """The same as version 0.1 wrote it."""
    (folder / "segments").mkdir(parents=True)
    (folder / "store.json").write_text('{"format_version": 1, "contract": {"hidden_size": 6, "weights_sha256": "0f"}}')
    for begin in range(0, 40, 10):
        for kind, array in (("vectors", VECTORS), ("keys", KEYS.view(np.uint8).reshape(-1, 16))):
            np.save(folder / "segments" / f"{begin:032x}.{kind}.npy", array[begin : begin + 10])
    return folder


def mutate(folder: Path, rng: random.Random) -> None:
    """Damage a file of the store, or exchange two."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    match rng.choice(["flip", "flip", "flips", "zeros", "truncate", "grow", "delete", "swap"]):
        case "flip":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "flips":
            for _ in range(20):
                content[rng.randrange(len(content))] = rng.randrange(256)
        case "zeros":
            begin = rng.randrange(len(content))
            content[begin : begin + 64] = bytes(len(content[begin : begin + 64]))
        case "truncate":
            del content[rng.randrange(len(content)) :]
        case "grow":
            content += rng.randbytes(rng.choice([1, 12, 120]))
        case "delete":
            path.unlink()
            return
        case "swap":
            other = rng.choice([file for file in files if file.suffixes == path.suffixes])
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return
    path.write_bytes(content)


def test_four_hundred_damaged_stores_give_no_wrong_vector(tmp_path, caplog):
    original = filled(tmp_path / "original")
    n_lacking = n_refused = 0
    for seed in range(400):
        folder = Path(shutil.copytree(original, tmp_path / "store"))
        mutate(folder, random.Random(seed))
        caplog.clear()
        try:
            store = ProteinStore(folder, PREPROCESSING)
            has = store.find_intact(KEYS)
            assert np.array_equal(store.get(KEYS[has]), VECTORS[has]), seed
            if not has.all():
                n_lacking += 1
                # Without its keys a segment looks like one that a killed process has not finished.
                assert caplog.text or len(list(folder.rglob("*.keys.safetensors"))) == 3, seed
                with pytest.raises(InputError, match=r"lacks \d+ of 40 proteins; `biomeformer genome embed"):
                    store.get(KEYS)
                if seed % 20:
                    continue
                # What it lacks is embedded again, and another process finds it.
                store.add(KEYS[~has], VECTORS[~has])
                assert np.array_equal(store.get(KEYS), VECTORS), seed
                assert np.array_equal(ProteinStore(folder, PREPROCESSING).get(KEYS), VECTORS), seed
        except BiomeformerError as error:
            n_refused += 1
            assert "\n" not in str(error) and str(folder) in str(error), seed
        finally:
            shutil.rmtree(folder)
    assert n_lacking > 200 and n_refused > 20


def test_a_damaged_vector_is_found_when_it_is_read_and_its_copy_is_used(tmp_path, caplog):
    folder = filled(tmp_path / "store")
    # Another process added three of the proteins too.
    other = ProteinStore(tmp_path / "other", PREPROCESSING)
    other.add(KEYS[5:8], VECTORS[5:8])
    for path in (tmp_path / "other" / "segments").iterdir():
        shutil.copy(path, folder / "segments" / f"ffff{path.name}")
    for path in (folder / "segments").glob("*.f16"):
        if not path.name.startswith("ffff"):
            damaged = bytearray(path.read_bytes())
            damaged[12 * 6] ^= 1
            path.write_bytes(damaged)
    store = ProteinStore(folder, PREPROCESSING)
    intact = np.ones(40, bool)
    intact[[16, 26, 36]] = False
    assert store.find(KEYS).all() and np.array_equal(store.get(KEYS[intact]), VECTORS[intact])
    assert store.find(KEYS).all() and "the vectors of 3 proteins" not in caplog.text
    with pytest.raises(InputError, match="lacks 3 of 3"):
        store.get(KEYS[~intact])
    assert np.array_equal(store.find(KEYS), intact)
    assert "the vectors of 1 proteins" in caplog.text and "the vectors of 3 proteins" in caplog.text


def test_stores_of_version_0_1_are_read_and_extended(tmp_path):
    folder = filled_by_version_0_1(tmp_path / "store")
    store = ProteinStore(folder, PREPROCESSING)
    assert np.array_equal(store.get(KEYS), VECTORS)
    store.add(protein_keys(["MW"]), np.ones((1, 6)))
    assert np.array_equal(ProteinStore(folder, PREPROCESSING).get(KEYS), VECTORS)
    assert ProteinStore(folder, PREPROCESSING).get(protein_keys(["MW"])).tolist() == [[1] * 6]


def test_a_damaged_store_of_version_0_1_gives_no_raw_error(tmp_path):
    original = filled_by_version_0_1(tmp_path / "original")
    n_lacking = 0
    for seed in range(150):
        folder = Path(shutil.copytree(original, tmp_path / "store"))
        mutate(folder, random.Random(seed))
        try:
            store = ProteinStore(folder, PREPROCESSING)
            has = store.find_intact(KEYS)
            vectors = store.get(KEYS[has])
            assert vectors.dtype == np.float16 and np.isfinite(vectors).all()
            n_lacking += not has.all()
        except BiomeformerError as error:
            assert "\n" not in str(error), seed
        shutil.rmtree(folder)
    assert n_lacking > 30


def test_a_store_of_another_version_is_refused(tmp_path):
    folder = filled(tmp_path / "store")
    from biomeformer.genomes.store import STORE_RECORD

    STORE_RECORD.write(folder / "store.json", {"format_version": 3, "contract": PREPROCESSING})
    with pytest.raises(InputError, match="a store of another version"):
        ProteinStore(folder, PREPROCESSING)
