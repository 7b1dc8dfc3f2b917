"""Checks of the output path, made before a command starts to work."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError


def check_output_file(file: Path | None) -> None:
    """Check, before any work is done, that a file can be written.

    Raises:
        InputError: The path is a folder, or its parent folder does not exist.
    """
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"--output {file} cannot be written; give the name of a file in a folder that exists.")


def check_output(folder: Path, *, overwrite: bool = False, can_overwrite: bool = False) -> None:
    """Check, before any work is done, that results can be written to a folder.

    Args:
        folder: A new or empty folder, or any folder if `overwrite`.
        overwrite: Whether the folder may have content.
        can_overwrite: Whether the command has `--overwrite`, for the advice.

    Raises:
        InputError: The path is a file, has content, or is not writable.
    """
    if folder.is_dir():
        if any(folder.iterdir()) and not overwrite:
            advice = "give a new one, or --overwrite" if can_overwrite else "give a new one"
            raise InputError(f"--output {folder} is a folder that is not empty; {advice}.")
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"--output {folder} is a file, not a folder; give a new one.")
    ancestor = folder
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise InputError(f"--output {folder} cannot be made: {ancestor} is a file; give another folder.")
    # Partial output is written beside the folder.
    for parent in {ancestor, ancestor.parent if ancestor == folder else ancestor}:
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"--output {folder} cannot be written: no permission in {parent}; give another folder.")
