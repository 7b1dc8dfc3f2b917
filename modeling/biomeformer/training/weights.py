"""Weights that a run keeps for itself: written and read with a record of their checksum beside them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from ..errors import reason_of
from ..io.atomic import atomic_directory
from ..io.digests import FileDigest, check_files, digest_files
from ..io.records import DamagedFileError, RecordType

WEIGHTS, RECORD = "weights.safetensors", "weights.json"
ADVICE = "delete the folder of the run's states to train the stage from its start, or give --overwrite to start over"


class _WeightsRecord(msgspec.Struct):
    files: dict[str, FileDigest]


_RECORD = RecordType(_WeightsRecord, ADVICE)


def save_weights(module: nn.Module, folder: Path) -> None:
    """Write the weights of a module to a folder, replacing those in it as a whole."""
    with atomic_directory(folder, existing="replace") as partial:
        save_model(module, str(partial / WEIGHTS))
        _RECORD.write(partial / RECORD, {"files": digest_files(partial, [WEIGHTS])})


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load weights that `save_weights` wrote into a module.

    Raises:
        DamagedFileError: They are missing, damaged, or those of another model.
    """
    try:
        files = _RECORD.read(folder / RECORD).files
    except FileNotFoundError as error:
        raise DamagedFileError(f"{folder / RECORD} is missing; {ADVICE}.") from error
    if list(files) != [WEIGHTS]:
        raise DamagedFileError(f"{folder / RECORD} names other files than {WEIGHTS}; {ADVICE}.")
    check_files(folder, files, ADVICE)
    try:
        load_model(module, folder / WEIGHTS)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = reason_of(error)
        raise DamagedFileError(f"{folder / WEIGHTS} does not fit the model ({reason}); {ADVICE}.") from error


__all__ = ["load_weights", "save_weights"]
