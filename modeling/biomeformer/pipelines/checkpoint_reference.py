"""Where a model is, for a pipeline to load by itself."""

from __future__ import annotations

from typing import Any


class CheckpointReference:
    """Where a model is, for a pipeline to load by itself.

    `transformers.pipeline` packs an error of loading into pages of tracebacks, and tries again in float32 first.

    Args:
        name: Folder, Hub id, or name of a checkpoint that ships in the package.
        **options: Of `from_pretrained`.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> CheckpointReference:
        """What `transformers.pipeline` calls to load a model."""
        return cls(name, **options)


__all__ = ["CheckpointReference"]
