"""Draft a `card.toml`: filled in from the folder's files, with TODOs for what they do not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..metagenomes.abundance_table import dataset_file
from ..metrics.targets import METRIC_NAMES
from .card_types import card_type_of
from .folder import CheckpointFolder
from .manifest import ENTRY, TABLE_CLASS, TO_DO
from .training_datasets import training_dataset

HINTS = {
    "summary": "what it is, in two or three sentences, and from what it was made",
    "intended_use": "what others should use it for",
    "limits": "what it cannot do, and what it has not been evaluated on",
    "training_data": "samples, genomes or sequences, where they come from, and who may use them",
    "how": "what was run, with the settings that matter",
    "source": "the study, how samples, genomes or sequences were collected, and where the raw data are available",
    "privacy": "what the participants consented to and how identifiers were replaced, or that nobody's data are in it",
}
COMMENT = """\
# What the files beside this one do not say; the rest of the card is read from them. Fill in every {todo}, then write
# the card: biomeformer publish card {folder}
"""
SCORES = ("roc_auc", "pr_auc", "balanced_accuracy", "r2", "mae", "spearman")
N_METRICS = 6


def is_table(folder: Path) -> bool:
    """Return whether a folder holds an abundance table exported as a dataset."""
    return dataset_file(folder, str(folder)) is not None and not (folder / "config.json").is_file()


def new_entry(folder: Path, repo_id: str, license_id: str | None = None, title: str | None = None) -> str:
    """Return the text of a new `card.toml`.

    Args:
        folder: A checkpoint, an export for `datasets`, prepared sequences, or a dataset of embedded genomes.
        repo_id: `NAMESPACE/NAME` on the Hub.
        license_id: Licence identifier, such as `cc-by-4.0`; a TODO by default.
        title: Title of the card; the repository's name by default.

    Raises:
        InputError: No card type covers the checkpoint's class.
        CheckpointError: The folder holds no checkpoint.
    """
    name = repo_id.split("/")[-1]
    lines = [COMMENT.format(todo=TO_DO, folder=folder), f"id = {quoted(repo_id)}"]
    tags: tuple[str, ...]
    texts: tuple[str, ...]
    metrics: list[dict[str, str]] = []
    bases: list[dict[str, str]] = []
    kind = training_dataset(folder)
    is_dataset = kind is not None or is_table(folder)
    if kind is not None:
        lines.append(f"class = {quoted(kind.class_name)}")
        tags, texts = kind.tags, ("source", "privacy")
    elif is_table(folder):
        lines.append(f"class = {quoted(TABLE_CLASS)}")
        tags, texts = ("biology", "metagenomics", "microbiome", "biomeformer"), ("source", "privacy")
    else:
        checkpoint = CheckpointFolder(folder)
        card_type = card_type_of(checkpoint.class_name, str(folder))
        lines.append(f"class = {quoted(checkpoint.class_name)}")
        tags, texts = card_type.tags, ("training_data", "how")
        metrics = _metrics(checkpoint.record, card_type.task)
        bases = _bases(checkpoint.record)
    lines += [
        f"title = {quoted(title or name)}",
        f"license = {quoted(license_id or f'{TO_DO}: such as cc-by-4.0')}",
        f"tags = [{', '.join(map(quoted, tags))}]",
    ]
    lines += [f'{field} = """\n{TO_DO}: {HINTS[field]}\n"""' for field in ("summary", "intended_use", "limits", *texts)]
    if not is_dataset:
        lines.append("# Datasets on the Hub that it was trained on.\ndatasets = []")
    for base in bases:
        lines.append("[[base_model]]\n" + _fields(base))
    for metric in metrics:
        lines.append("[[metrics]]\n" + _fields(metric))
    return "\n".join(lines) + "\n"


def write_entry(folder: Path, repo_id: str, license_id: str | None = None, title: str | None = None) -> Path:
    """Write a new `card.toml` and return its path; see `new_entry`."""
    text = new_entry(folder, repo_id, license_id, title)
    path = folder / ENTRY
    path.write_text(text, encoding="utf-8")
    return path


def quoted(text: str) -> str:
    """Return text as a TOML string."""
    return json.dumps(text, ensure_ascii=False)


def _fields(values: Mapping[str, str]) -> str:
    return "\n".join(f"{name} = {quoted(value)}" for name, value in values.items())


def _metrics(record: Mapping[str, Any], task: str) -> list[dict[str, str]]:
    """Return the metrics that a training record holds, as fields of `[[metrics]]`."""
    scores = record.get("scores")
    target = (record.get("target") or {}).get("column")
    if isinstance(scores, list) and scores:
        metrics = []
        for key in SCORES:
            if isinstance(scores[0].get(key), (int, float)):
                parts = {"key": key, "low": f"{key}_low", "high": f"{key}_high"}
                paths = {end: f"scores/0/{part}" for end, part in parts.items() if _is_number(scores[0].get(part))}
                dataset = "its own samples, cross-validated"
                metrics.append(_metric(key, METRIC_NAMES[key], f"{target}: {task}", dataset) | _all_or_key(paths))
        return metrics
    if isinstance(scores, dict):
        return [
            _metric(key, key.replace("_", " "), task, "the test split of its dataset")
            | _all_or_key({end: f"scores/{key}/{part}" for end, part in PARTS.items() if _is_number(values.get(part))})
            for key, values in list(scores.items())[:N_METRICS]
            if isinstance(values, dict) and _is_number(values.get("value"))
        ]
    return []


PARTS = {"key": "value", "low": "low", "high": "high"}


def _metric(key: str, name: str, task: str, dataset: str) -> dict[str, str]:
    return {"type": key, "name": name, "task": task, "dataset": dataset, "run": "training_record.json"}


def _all_or_key(paths: dict[str, str]) -> dict[str, str]:
    """Return the paths of value and interval, or of the value alone if a bound of the interval is missing."""
    return paths if len(paths) == len(PARTS) else {"key": paths["key"]}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bases(record: Mapping[str, Any]) -> list[dict[str, str]]:
    base = record.get("base_model")
    if not isinstance(base, dict) or not base.get("revision"):
        return []
    return [{"id": str(base["id"]), "revision": str(base["revision"])}]


__all__ = ["is_table", "new_entry", "quoted", "write_entry"]
