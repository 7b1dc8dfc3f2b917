"""Names of the Parquet files in folders for `datasets.load_dataset`.

`datasets` keeps what it has read in a cache. The key is the folder's name, and either the patterns of the card's
`configs:` block or, without one, the paths and times of the files. So two folders of one name whose cards name the same
files are one dataset to it: the second is answered with the rows of the first. Therefore cards here have no `configs:`
block, and the name of each file holds a digest of its content, in the form that `datasets` recognises as a shard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .digests import digest_file

DATA = "data"
DIGEST_CHARACTERS = 16
_SHARD = re.compile(r"(?P<split>\w+)-\d{5}-of-\d{5}(-[0-9a-f]+)?\.parquet")


def shard_path(folder: Path, split: str, index: int = 0, n_shards: int = 1) -> Path:
    """Return the path under which to write a shard, before `name_by_content` renames it."""
    return folder / f"{split}-{index:05d}-of-{n_shards:05d}.parquet"


def name_by_content(path: Path) -> Path:
    """Rename a finished file so that its name holds a digest of its content; return the new path.

    Args:
        path: Made by `shard_path`.
    """
    digest = digest_file(path)["xxh3"].rpartition(":")[2][:DIGEST_CHARACTERS]
    return path.rename(path.with_name(f"{path.stem}-{digest}{path.suffix}"))


def is_shard(name: str, split: str) -> bool:
    """Return whether a path within a dataset is a file of a split, under its present name or that of version 0.1."""
    folder, _, file = name.rpartition("/")
    match = _SHARD.fullmatch(file)
    return folder == DATA and (file == f"{split}.parquet" or (match is not None and match["split"] == split))


def shards(names: Iterable[str], split: str) -> list[str]:
    """Return those of some paths within a dataset that are files of a split, in order."""
    return sorted(name for name in names if is_shard(name, split))


__all__ = ["DATA", "is_shard", "name_by_content", "shard_path", "shards"]
