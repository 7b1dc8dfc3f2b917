"""What differs between kinds of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..folder import CheckpointFolder

Rows = dict[str, Any]


@dataclass(frozen=True)
class CardType:
    """A kind of checkpoint.

    Attributes:
        pipeline_tag: The Hub's task.
        title: What such a model is, for a new card.
        tags: For a new card.
        papers: arXiv numbers of what it implements.
        files: Patterns of the files it has, beside those that every checkpoint has.
        usage: Code that loads and uses it, by its id.
        usage_note: What that code gives.
        facts: Rows on the model.
        training: Rows on how it was trained.
        benchmark: Script that measures checkpoints of this kind, if there is one.
        evaluated_sha256: SHA-256 of the weights that a benchmark's JSON is about, by the checkpoint's name.
        evaluation: A benchmark's JSON as sections of the card.
        task: What its figures are about.
    """

    pipeline_tag: str
    title: str
    tags: tuple[str, ...]
    papers: tuple[str, ...]
    files: tuple[str, ...]
    usage: Callable[[str], str]
    usage_note: str
    facts: Callable[[CheckpointFolder], Rows]
    training: Callable[[CheckpointFolder], Rows]
    task: str
    benchmark: str | None = None
    evaluated_sha256: Callable[[Mapping[str, Any], str], str | None] = lambda evaluation, name: None
    evaluation: Callable[[Mapping[str, Any], str, CheckpointFolder], str] | None = None


def versions(record: Mapping[str, Any]) -> Rows:
    """Versions of what made a model."""
    found = record.get("versions")
    return {"Versions": ", ".join(f"{package} {version}" for package, version in found.items())} if found else {}


def started_from(record: Mapping[str, Any]) -> Rows:
    """What a model was made from."""
    base = record.get("base_model") or {}
    if not base.get("id"):
        return {}
    return {"Made from": f"`{base['id']}`" + (f" at `{base['revision']}`" if base.get("revision") else "")}


def target(record: Mapping[str, Any]) -> Rows:
    """Samples or genomes of each class that a classifier was fitted on."""
    found = record.get("target")
    if not found:
        return {}
    classes = ", ".join(f"{n:,} {name}" for name, n in found["classes"].items())
    return {"Label": found["column"], "Classes": classes}


__all__ = ["CardType", "Rows", "started_from", "target", "versions"]
