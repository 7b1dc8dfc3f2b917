"""The files that are generated from a folder and its card entry: card, checksums, evaluation results."""

from __future__ import annotations

from pathlib import Path

from .cards import model_texts
from .folder import CARD, CheckpointFolder
from .manifest import TABLE_CLASS, CardEntry
from .table_card import table_card
from .training_datasets import KINDS


def generated(folder: Path, entry: CardEntry) -> dict[str, str]:
    """Return the generated files of a folder by name: card and, for a checkpoint, evaluation results and checksums."""
    if entry.class_name in KINDS:
        return {CARD: KINDS[entry.class_name].card(entry, folder)}
    if entry.class_name == TABLE_CLASS:
        return {CARD: table_card(entry, folder)}
    return model_texts(entry, CheckpointFolder(folder))


def write_generated(folder: Path, entry: CardEntry) -> list[Path]:
    """Write the generated files into a folder, and return their paths."""
    paths = []
    for name, text in generated(folder, entry).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


__all__ = ["generated", "write_generated"]
