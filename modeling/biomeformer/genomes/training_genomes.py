"""The genomes that a model was trained on, as its training record lists them."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from ..checkpoints.source import open_checkpoint, read_json
from ..errors import CheckpointError, InputError

# Key of the training record.
TRAINING_GENOMES = "training_genomes"
RECORD = "training_record.json"


def training_genomes(model: PreTrainedModel) -> frozenset[str] | None:
    """Return the ids of the genomes that a checkpoint was trained on, or None if its record does not list them.

    Args:
        model: A model loaded from a folder or the Hub.

    Raises:
        CheckpointError: The record is damaged.
    """
    if not model.name_or_path:
        return None
    try:
        source = open_checkpoint(model.name_or_path, revision=getattr(model.config, "_commit_hash", None))
    except CheckpointError:
        # A model that was built in memory, or whose folder is gone.
        return None
    file = source.file(RECORD)
    if file is None:
        return None
    names = read_json(file).get(TRAINING_GENOMES)
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise CheckpointError(f"{file}: {TRAINING_GENOMES} is no list of names; save the model again.")
    return None if names is None else frozenset(names)


def read_ids(file: Path) -> list[str]:
    """Return the ids that a text file lists, one per line; blank lines and lines that begin with # are skipped.

    Raises:
        InputError: The file cannot be read, lists none, or one twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a text file with one id per line.") from error
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise InputError(f"{file} lists no id; give one per line.")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{file} lists {name!r} twice; list each id once.")
        seen.add(name)
    return names


__all__ = ["RECORD", "TRAINING_GENOMES", "read_ids", "training_genomes"]
