"""What differs between the cards of different model classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...sinks import markdown, markdown_code
from ..folder import CheckpointFolder

Rows = dict[str, Any]


@dataclass(frozen=True)
class CardType:
    """How to write the card of a model class.

    Attributes:
        pipeline_tag: Pipeline tag of the Hub, such as `feature-extraction`.
        title: Short description of such a model, for a new card.
        tags: Tags of a new card.
        papers: arXiv numbers of the papers it implements.
        files: Files that such a checkpoint may have, besides those that every checkpoint has and its weights.
        parts: Subfolders that may hold a checkpoint of their own.
        usage: Returns code that loads and uses the model, given its id.
        usage_note: Explains what that code returns.
        facts: Returns the rows that describe the model.
        training: Returns the rows that describe its training.
        benchmark: Script that evaluates such checkpoints, if any.
        evaluated_sha256: Returns the SHA-256 of the weights that a benchmark evaluated, given its JSON and the
            checkpoint's name; None if it has no results for that name.
        evaluation: Returns a benchmark's JSON as Markdown sections.
        task: What the model's metrics are about.
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
    parts: tuple[str, ...] = ()
    benchmark: str | None = None
    evaluated_sha256: Callable[[Mapping[str, Any], str], str | None] = lambda evaluation, name: None
    evaluation: Callable[[Mapping[str, Any], str, CheckpointFolder], str] | None = None


def versions(record: Mapping[str, Any]) -> Rows:
    """Return the row of package versions that a training record holds."""
    packages = record.get("versions")
    if not packages:
        return {}
    return {"Versions": ", ".join(f"{markdown(package)} {markdown(version)}" for package, version in packages.items())}


def started_from(record: Mapping[str, Any]) -> Rows:
    """Return the row of the base model that a training record names."""
    base = record.get("base_model") or {}
    if not base.get("id"):
        return {}
    commit = f" at {markdown_code(base['revision'])}" if base.get("revision") else ""
    return {"Base model": f"{markdown_code(base['id'])}{commit}"}


def target(record: Mapping[str, Any]) -> Rows:
    """Return the rows of the label column and of the number of samples or genomes per class."""
    label = record.get("target")
    if not label:
        return {}
    classes = ", ".join(f"{n:,} {markdown(name)}" for name, n in label["classes"].items())
    kind = label.get("kind", "classification")
    if kind == "regression":
        return {"Label": f"{markdown(label['column'])}, a number", "Samples": f"{sum(label['classes'].values()):,}"}
    several = kind == "multilabel"
    return {"Label": markdown(label["column"]), "Labels, of which a sample has any" if several else "Classes": classes}


__all__ = ["CardType", "Rows", "started_from", "target", "versions"]
