"""Checks of the output path, made before a command starts to work, and locks of folders that it holds to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..io.locks import FolderInUseError, locked_folder

if TYPE_CHECKING:
    from ..runs.output_folder import OutputFolder

# What the command that is under way holds.
_held = ExitStack()


def check_output_file(file: Path | None) -> None:
    """Check, before any work is done, that a file can be written.

    Raises:
        InputError: The path is a folder, or its parent folder does not exist.
    """
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"--output {file} cannot be written; give the name of a file in a folder that exists.")


def check_output(folder: Path) -> None:
    """Check, before any work is done, that results can be written to a new or empty folder.

    Raises:
        InputError: The path is a file, has content, or is not writable.
    """
    from ..runs.output_folder import OutputFolder

    with _named_option():
        OutputFolder(folder, "").check(can_overwrite=False)
    _check_writable(folder)


def open_output(folder: Path, writer: str, *, overwrite: bool, resume: bool = False) -> OutputFolder:
    """Check and lock, before any work is done, a folder of a command that has `--overwrite`.

    Args:
        folder: A new or empty folder, or any that the command wrote to if `overwrite`.
        writer: The command.
        overwrite: Whether what it wrote there may be replaced.
        resume: Whether the command goes on in the folder, whatever it holds.

    Returns:
        The folder, whose lock is held until the command has ended.

    Raises:
        InputError: The path is a file, has content that the command may not replace, is not writable, or in use.
    """
    from ..runs.output_folder import OutputFolder

    if resume:
        _check_writable(folder)
    else:
        check_overwritable(folder, writer, overwrite=overwrite)
    hold_output(folder)
    return OutputFolder(folder, writer)


def check_overwritable(folder: Path, writer: str, *, overwrite: bool) -> None:
    """Check the folder of a command that has `--overwrite`, as `open_output` does, and do not lock it."""
    from ..runs.output_folder import OutputFolder

    with _named_option():
        OutputFolder(folder, writer).check(overwrite=overwrite)
    _check_writable(folder)


def check_run_output(folder: Path, *, overwrite: bool = False) -> None:
    """Check, before any work is done, that a run can start or be resumed in a folder.

    Args:
        folder: A new or empty folder, or one of a run.
        overwrite: Whether a run there is to be deleted.

    Raises:
        InputError: The path is a file, has content that is no run's, or is not writable.
    """
    from ..runs.run_folder import check_run_folder

    with _named_option():
        check_run_folder(folder, overwrite=overwrite)
    _check_writable(folder)


def hold_output(folder: Path) -> None:
    """Lock a folder until the command has ended; the main process alone does.

    Raises:
        InputError: Another process writes to the folder.
    """
    if os.environ.get("RANK", "0") == "0":
        try:
            _held.enter_context(locked_folder(folder))
        except OSError as error:
            raise InputError(f"--output {folder} cannot be written: {error.strerror}; give another folder.") from error


def release_outputs() -> None:
    """Give back what `hold_output` took."""
    _held.close()


@contextmanager
def _named_option() -> Iterator[None]:
    """Name the option in errors about a folder."""
    try:
        yield
    except FolderInUseError:
        raise
    except InputError as error:
        raise InputError(f"--output {error}") from error


def _check_writable(folder: Path) -> None:
    ancestor = folder
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise InputError(f"--output {folder} cannot be made: {ancestor} is a file; give another folder.")
    # Partial output is written beside the folder.
    for parent in {ancestor, ancestor.parent if ancestor == folder else ancestor}:
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"--output {folder} cannot be written: no permission in {parent}; give another folder.")
