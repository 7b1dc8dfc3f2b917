"""Checks of where a command writes, made before it works."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError


def check_output_file(file: Path | None) -> None:
    """See, before any work is done, that a file can be written.

    Raises:
        InputError: It is a folder, or lies in none.
    """
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"--output {file} cannot be written; give the name of a file in a folder that exists.")


def check_output(folder: Path, *, overwrite: bool = False, can_overwrite: bool = False) -> None:
    """See, before any work is done, that results can be written to a folder.

    Args:
        folder: A new or empty folder; one with content where `overwrite`.
        overwrite: Whether the folder may have content.
        can_overwrite: Whether the command has `--overwrite`, for the advice.

    Raises:
        InputError: It is a file, has content, or cannot be written to.
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
    # Work in progress lies beside the folder.
    for place in {ancestor, ancestor.parent if ancestor == folder else ancestor}:
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"--output {folder} cannot be written: no permission in {place}; give another folder.")
