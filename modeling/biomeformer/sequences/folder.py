"""The folder of a dataset: written beside its place, moved there once it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

RECORD, CARD, CONFLICTS, DATA = "prepare.json", "README.md", "conflicts.tsv", "data"


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """See that a dataset can be written to a folder.

    Raises:
        InputError: It is a file, or has content that may not be replaced.
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
    """A folder to write the dataset into, and one for work; both are gone at the end, whatever happens.

    What the first holds takes its place in `folder` if all went well. A dataset that was there is replaced, other files
    beside it stay.

    Raises:
        InputError: As `check_folder`, or the folder cannot be made.
    """
    check_folder(folder, overwrite=overwrite)
    folder = folder.resolve()
    made = [parent for parent in folder.parents if not parent.exists()]
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    result, work = partial / "result", partial / "work"
    try:
        try:
            (result / DATA).mkdir(parents=True)
            work.mkdir()
        except OSError as error:
            raise InputError(f"output {folder} cannot be made: {error.strerror}; give another folder.") from error
        yield result, work
        folder.mkdir(exist_ok=True)
        if (folder / DATA).is_dir():
            os.replace(folder / DATA, partial / "replaced")
        for name in (DATA, CARD, CONFLICTS, RECORD):
            os.replace(result / name, folder / name)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise
    shutil.rmtree(partial, ignore_errors=True)


__all__ = ["CARD", "CONFLICTS", "DATA", "RECORD", "check_folder", "dataset_folder"]
