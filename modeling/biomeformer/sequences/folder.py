"""The folder of a prepared dataset: written to a partial folder and renamed once complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ..errors import InputError
from ..io.atomic import atomic_directory
from ..io.digests import FileDigest
from ..io.records import RecordType

RECORD, CARD, CONFLICTS, DATA = "prepare.json", "README.md", "conflicts.tsv", "data"
WORK = ".work"


class PreparationRecord(TypedDict):
    """Content of `prepare.json`; `files` are the Parquet files, absent in datasets of version 0.1."""

    biomeformer: str
    task: str
    label_names: list[str]
    inputs: list[dict[str, Any]]
    genome: str | None
    settings: dict[str, Any]
    tallies: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    token_lengths: dict[str, Any] | None
    files: NotRequired[dict[str, FileDigest]]


ADVICE = "prepare the sequences again"
PREPARE_RECORD = RecordType(PreparationRecord, ADVICE, [set(PreparationRecord.__annotations__) - {"files"}])


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that a dataset can be written to a folder.

    Raises:
        InputError: It is a file, or has content that must not be replaced.
    """
    if folder.is_dir():
        content = {path.name for path in folder.iterdir()}
        if content and not overwrite:
            raise InputError(f"output {folder} is a folder that is not empty; give a new one, or overwrite.")
        if content and RECORD not in content:
            raise InputError(
                f"output {folder} holds no {RECORD}, so it is no dataset of this command and is not overwritten; give "
                "a new folder."
            )
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"output {folder} is a file, not a folder; give a new one.")


@contextmanager
def dataset_folder(folder: Path, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Yield a partial folder for the dataset and a work folder; publish the first on success, else delete both.

    An existing dataset in `folder` is replaced; other files in it are kept.

    Raises:
        InputError: As for `check_folder`, or the folder cannot be created.
    """
    check_folder(folder, overwrite=overwrite)
    folder = folder.resolve()
    with ExitStack() as stack:
        try:
            result = stack.enter_context(atomic_directory(folder, existing="merge" if overwrite else "refuse"))
            work = result / WORK
            for path in (result / DATA, work):
                path.mkdir()
        except OSError as error:
            raise InputError(f"output {folder} cannot be made: {error.strerror}; give another folder.") from error
        yield result, work
        shutil.rmtree(work)


__all__ = ["ADVICE", "CARD", "CONFLICTS", "DATA", "PREPARE_RECORD", "RECORD", "check_folder", "dataset_folder"]
