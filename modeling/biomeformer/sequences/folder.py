"""The folder of a prepared dataset: written to a partial folder and renamed once complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import InputError
from ..runs.output_folder import OutputFolder

RECORD, CARD, CONFLICTS, DATA = "prepare.json", "README.md", "conflicts.tsv", "data"
WORK = ".work"


def check_folder(folder: Path, *, overwrite: bool) -> OutputFolder:
    """Check that a dataset can be written to a folder.

    Raises:
        InputError: It is a file, or has content that must not be replaced.
    """
    output = OutputFolder(folder, "sequences prepare")
    try:
        output.check(overwrite=overwrite)
    except InputError as error:
        raise InputError(f"output {error}") from error
    return output


@contextmanager
def dataset_folder(folder: Path, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Yield a partial folder for the dataset and a work folder; publish the first on success, else delete both.

    The folder is locked meanwhile. An existing dataset in it is replaced; other files in it are kept.

    Raises:
        InputError: As for `check_folder`, the folder is in use, or it cannot be created.
    """
    output = check_folder(folder, overwrite=overwrite)
    with ExitStack() as stack:
        try:
            result = stack.enter_context(output.publish(locked=False))
            work = result / WORK
            for path in (result / DATA, work):
                path.mkdir()
        except OSError as error:
            raise InputError(f"output {folder} cannot be made: {error.strerror}; give another folder.") from error
        yield result, work
        shutil.rmtree(work)


__all__ = ["CARD", "CONFLICTS", "DATA", "RECORD", "check_folder", "dataset_folder"]
