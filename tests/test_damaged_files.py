"""Own files that were damaged: the reader gives the value that was written, or one sentence, and nothing else."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from own_files import KINDS, MUTATIONS, mutate, outcome

# Per kind and mutation.
N_SEEDS = 3


@pytest.fixture(scope="module", params=list(KINDS))
def written(request, tmp_path_factory) -> tuple[str, Path, str]:
    """Name of a kind, a folder of its files, and what its reader reads."""
    kind, folder = KINDS[request.param], tmp_path_factory.mktemp("own") / "files"
    folder.mkdir()
    kind.write(folder)
    return request.param, folder, kind.read(shutil.copytree(folder, folder.parent / "first"))


def test_a_damaged_file_is_refused_in_one_sentence_or_means_the_same(written, tmp_path):
    name, original, expected = written
    kind, n_refused, faults = KINDS[name], 0, []
    for mutation in MUTATIONS:
        for seed in range(N_SEEDS):
            folder = Path(shutil.copytree(original, tmp_path / "files"))
            if mutate(kind, folder, random.Random(f"{name} {mutation} {seed}"), mutation):
                result = outcome(kind, folder, expected, mutation)
                n_refused += result == "refused"
                if result not in ("equal", "refused"):
                    faults.append((mutation, seed, result))
            shutil.rmtree(folder)
    assert not faults
    # A damaged fold is trained again.
    assert n_refused >= 10 or name == "folds"
