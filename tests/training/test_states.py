"""Training states on a disk that damages them: verified before anything is loaded, and an older intact one is used."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from biomeformer.errors import InputError
from biomeformer.io.records import DamagedFileError
from own_files import read_training_run, write_training_run


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_training_run(folder)
    return folder


@pytest.fixture
def copy(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def flip(path: Path, seed: int) -> None:
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def test_a_flipped_bit_in_any_file_of_a_state_is_refused_by_name(written, copy):
    files = sorted(path for path in (copy / "run" / "state").rglob("*") if path.is_file())
    names = {path.name for path in files}
    assert names >= {"optimizer.bin", "random_states_0.pkl", "state.json", "model.safetensors", "weights.safetensors"}
    expected = read_training_run(Path(shutil.copytree(written, copy.parent / "first")))
    n_refused = 0
    for path in files:
        content = path.read_bytes()
        for seed in range(3):
            flip(path, seed)
            try:
                # Records may change where it means nothing, as in a blank.
                assert read_training_run(copy) == expected
            except DamagedFileError as error:
                n_refused += 1
                assert path.name in str(error) and "\n" not in str(error) and "pickle" not in str(error)
            path.write_bytes(content)
            shutil.copyfile(written / "run" / "history.csv", copy / "run" / "history.csv")
    assert n_refused >= 3 * (len(files) - 2)


def test_an_older_state_is_used_if_the_newest_is_damaged(written, copy):
    expected = read_training_run(Path(shutil.copytree(written, copy.parent / "first")))
    states = copy / "run" / "state"
    newer = Path(shutil.copytree(states / "1-1", states / "1-2"))
    os.utime(states / "1-1", (1, 1))
    flip(newer / "optimizer.bin", 0)
    assert read_training_run(copy) == expected


def test_a_history_that_was_edited_is_refused(copy):
    file = copy / "run" / "history.csv"
    file.write_text(file.read_text().replace("0.5", "0.4"))
    with pytest.raises(DamagedFileError, match=r"history.csv does not match its checksum"):
        read_training_run(copy)


def test_rows_after_the_state_and_parts_of_rows_are_dropped(copy):
    file = copy / "run" / "history.csv"
    before = read_training_run(copy)
    with file.open("a") as handle:
        handle.write("1,2,,0.0")
    assert read_training_run(copy) == before and file.read_text().count("\n") == 3


def test_a_run_record_that_was_edited_is_refused(copy):
    file = copy / "run" / "run.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match=r"run.json does not match its checksum, .*--overwrite"):
        read_training_run(copy)
